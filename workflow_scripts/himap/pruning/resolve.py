"""Methods, and how a method becomes a schedule for one model.

A method is what a YAML file in `methods/` or a config's entry defines, in one of these forms:

* `stages`: a list of {layer, keep, criterion}, or one list per kind of task (`qa`, `caption`, `open`); a `layer` between 0
  and 1 is a share of the model's depth, so that a method carries over to a model of another depth; instead of a number,
  `keep` and `layer` may be a rule by which each input finds its own (`himap.pruning.adaptive`);
* `like: other`, with `criterion` or `criteria` (one per stage) put in its place, and `only: [0]` to use some stages
  (`relative: true`: each keeps its share of what the other's stages before it left, instead of the same tokens);
* `every_layer: {criterion}` and `flops_of: other`: the same share dropped at every layer, at the other's cost;
* `before_decoder: {criterion}` and `flops_of: other`: dropped once, before the first layer;
* `downsample: true` and `flops_of: other`: a smaller image instead.

With `flops_of` or `tokens_of: 192` (image tokens in the mean of the layers; also a share, as 1/3), stages meet that budget
too (`himap.pruning.budget`). `depth: 32` says for how many layers the stages are written: on another depth they move in
proportion. `positions: renumber` counts the positions of what is left again after each stage.

`rerank: true` ranks again at every generated token without a cache, as the released code does. `models` holds stages of
single models: {model: {stages: ...}}. What depends on a model's sizes is computed here, by the paper's cost formula:

    resolve("uniform", dims, kind="caption")  # a Schedule with a stage at every layer but the last
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypedDict, cast

from himap.costs.formulas import flops
from himap.models.sizes import Dims
from himap.pruning.budget import (
    Budget,
    at_layers,
    count_before,
    geometric,
    meet,
    nearest_grid,
    share_per_layer,
    token_budget,
)
from himap.pruning.stage import POSITIONS, Schedule, Stage, read_stages
from himap.registry import unknown
from himap.yaml_files import read_mapping

FORMS = ("stages", "like", "every_layer", "before_decoder", "downsample")
MATCHED = ("every_layer", "before_decoder", "downsample")  # forms that meet another method's cost
Point = tuple[int, float]  # layer and share of one stage of a grid


class Scored(TypedDict):
    """Tokens chosen by a score, as many as a cost allows."""

    criterion: str


class Method(TypedDict, total=False):
    """A method's definition, as YAML and configs hold it; exactly one of FORMS is there."""

    title: str
    about: str
    stages: object  # a list of stages, or {kind: list}; read by `read_stages`
    like: str
    criterion: str
    criteria: list[str]
    only: list[int]
    relative: bool
    every_layer: Scored
    before_decoder: Scored
    downsample: bool
    flops_of: str
    tokens_of: int | float | str  # image tokens in the mean of the layers: a count, a share, or a fraction as text
    budget_by: str  # "layers": a budget is met by moving the stages
    budget_layers: list[int]  # where the stages are if a budget is to be met
    depth: int  # of the decoder that the stages' layers are written for
    positions: str  # "keep" (the default) or "renumber"
    rerank: bool
    protocol: str  # "other": a benchmark is asked its other way, where that is contested
    dtype: str
    models: dict[str, Method]  # of which only `stages` counts


def load_all() -> dict[str, Method]:
    """Return the methods that come with the library, by name."""
    # a copy, since callers lay their own keys over it and the files are read once
    return deepcopy(_read_all())


@cache
def _read_all() -> dict[str, Method]:
    folder = Path(__file__).parent / "methods"
    return {path.stem: cast(Method, read_mapping(path)) for path in sorted(folder.glob("*.yaml"))}


def resolve(
    name: str,
    dims: Dims,
    *,
    methods: Mapping[str, Mapping[str, object]] | None = None,
    kind: str = "qa",
    model: str | None = None,
    schedules: Mapping[str, object] | None = None,
) -> Schedule:
    """Return a method's schedule for one model and kind of task, checked against the model's sizes.

    `methods` are laid over the built-in ones. `schedules` are the model's own stages by method and kind, as the file
    beside a checkpoint holds them; they come before the method's.
    """
    known = {**_read_all(), **(methods or {})}
    if name not in known:
        raise unknown("method", name, known)
    method = check_form(name, known[name])
    if "like" in method and has_budget(method) and (form := _matched_form(method["like"], known)):
        method = cast(Method, {**form, **method})  # its form alone says how it meets a budget
        del method["like"]  # a definition has one form, and it is the other's now

    def other(reference: str) -> Schedule:
        return resolve(reference, dims, methods=methods, kind=kind, model=model, schedules=schedules)

    schedule = Schedule(name=name, rerank=bool(method.get("rerank", False)))
    # the most special source first: the checkpoint's own file, the method's entry for the model, its form
    if schedules and name in schedules:
        schedule = replace(schedule, stages=_for_kind(schedules[name], kind, name, dims.layers))
    elif model and model in method.get("models", {}):
        schedule = replace(schedule, stages=_for_kind(method["models"][model]["stages"], kind, name, dims.layers))
    elif "like" in method:
        like = other(method["like"])
        schedule = replace(
            schedule,
            stages=_replaced(name, method, like.stages, dims),
            # what `like` takes over, without the other's name and `rerank`
            image_grid=like.image_grid,
            positions=like.positions,
        )
    elif "stages" in method:
        stages = _for_kind(method["stages"], kind, name, method.get("depth", dims.layers))
        schedule = replace(schedule, stages=_scaled(stages, method, dims))
    if "positions" in method:
        schedule = replace(schedule, positions=method["positions"])
    if has_budget(method):
        budget = token_budget(method["tokens_of"], dims) if "tokens_of" in method else None
        # by the paper's formula, whatever convention a table shows
        budget = budget or Budget("flops", flops(dims, other(method["flops_of"]).stages))
        if any(form in method for form in MATCHED):
            schedule = _matched(schedule, method, dims, budget)
        else:
            stages = _at_budget_layers(schedule.stages, _inherited(method, known), dims)
            by_layers = _inherited(method, known).get("budget_by") == "layers"
            schedule = replace(schedule, stages=meet(dims, stages, budget, by_layers=by_layers))
    schedule.check(dims)
    return schedule


def has_budget(method: Mapping[str, object]) -> bool:
    """Return whether a definition is to meet a budget."""
    return "tokens_of" in method or "flops_of" in method


def _matched_form(name: str, known: Mapping[str, Mapping[str, object]]) -> Mapping[str, object] | None:
    """Return the form of the method that a chain of `like` ends in, if that form has a budget of its own."""
    root = _inherited({"like": name}, known)
    form = {key: root[key] for key in MATCHED if key in root}
    return form or None


def _inherited(method: Mapping[str, object], known: Mapping[str, Mapping[str, object]]) -> Mapping[str, object]:
    """Return a definition laid over those that it is like, for what says how a budget is met."""
    other = method.get("like")
    return method if other not in known else {**_inherited(known[str(other)], known), **method}


def _scaled(stages: tuple[Stage, ...], method: Method, dims: Dims) -> tuple[Stage, ...]:
    """Return stages written for a decoder of some depth at the same depths of another."""
    if "depth" not in method:
        return stages
    for index, stage in enumerate(stages):
        if stage.after is not None:
            raise ValueError(
                f"stages[{index}].layer: a layer that each input finds does not move with `depth`; leave `depth` out, and give "
                "`from` and `to` as shares of the model's depth"
            )
    return at_layers(stages, [stage.layer * dims.layers / method["depth"] for stage in stages], dims)


def _at_budget_layers(stages: tuple[Stage, ...], method: Mapping[str, object], dims: Dims) -> tuple[Stage, ...]:
    """Return stages at the layers where they are if a budget is to be met; mostly where they are anyway."""
    layers = cast("list[int] | None", method.get("budget_layers"))
    if layers is None:
        return stages
    if len(layers) != len(stages):
        raise ValueError(f"budget_layers: {len(layers)} layers for {len(stages)} stages")
    # `budget_layers` are written for the same depth as the stages
    scale = dims.layers / cast(int, method.get("depth", dims.layers))
    return at_layers(stages, [layer * scale for layer in layers], dims)


def check_form(name: str, method: Mapping[str, object]) -> Method:
    """Return a definition that has one form; raise ValueError for an unknown key, no form, or two forms at once."""
    for key in method:
        if key not in Method.__annotations__:
            raise unknown(f"key in method {name!r}", key, Method.__annotations__)
    forms = [form for form in FORMS if form in method]
    if len(forms) != 1:
        raise ValueError(
            f"method {name!r} has {' and '.join(forms) or 'no form'}; give exactly one of {', '.join(FORMS)}"
        )
    if forms[0] in MATCHED and not has_budget(method):
        raise ValueError(
            f"method {name!r}: {forms[0]} needs flops_of, the method whose cost it is to match, or tokens_of, a number of image tokens"
        )
    if "tokens_of" in method and "flops_of" in method:
        raise ValueError(f"method {name!r} has tokens_of and flops_of; give one budget")
    if method.get("positions", "keep") not in POSITIONS:
        raise unknown(f"positions in method {name!r}", method["positions"], POSITIONS)
    return cast(Method, method)


def two_stages(
    k1: Sequence[int], r1: Sequence[float], k2: Sequence[int], r2: Sequence[float]
) -> list[tuple[Point, Point]]:
    """Return the schedules ((k1, r1), (k2, r2)) of a grid whose deep stage comes later.

    As in the paper, the deep stage's share `r2` is of what the shallow one left; the points say it of all tokens.
    """
    points = product(k1, r1, k2, r2)
    # rounded, since 0.3 * 0.5 would be another share than 0.15
    return [((shallow, a), (deep, round(a * b, 6))) for shallow, a, deep, b in points if deep > shallow]


def kind_taken(stages: Mapping[str, object], kind: str) -> str | None:
    """Return the kind whose stages a kind of task takes: its own; else open questions those of captions; else `qa`."""
    choices = (kind, "caption" if kind == "open" else kind, "qa")
    return next((choice for choice in choices if stages.get(choice) is not None), None)


def _for_kind(stages: object, kind: str, name: str, layers: int) -> tuple[Stage, ...]:
    """Return the stages of a kind of task in a decoder of some layers, from one list for all of them or a list per kind."""
    if isinstance(stages, Mapping):
        taken = kind_taken(stages, kind)
        if taken is None:
            raise ValueError(f"method {name!r} has no stages for {kind!r}; it has {', '.join(stages)}")
        stages = stages[taken]
    return read_stages(stages, layers=layers)


def _replaced(name: str, method: Method, stages: tuple[Stage, ...], dims: Dims) -> tuple[Stage, ...]:
    """Return another method's stages with other criteria, or only some of them."""
    for index in method.get("only", []):
        if index >= len(stages):
            raise ValueError(f"method {name!r}: only: {index} is beyond the {len(stages)} stages of {method['like']!r}")
    if method.get("relative"):
        if any(stage.mass is not None for stage in stages):
            raise ValueError(
                f"method {name!r}: relative: {method['like']!r} keeps a number of tokens that each input finds, so what a stage "
                "keeps of it is not known; leave out `relative`"
            )
        shares = [
            stage.keep if isinstance(stage.keep, float) else stage.keep / dims.tokens_per_image for stage in stages
        ]
        # 0.125 of all after 0.5 of all is 0.25 of what was left
        before = [1.0, *shares[:-1]]
        stages = tuple(
            replace(stage, keep=share / left) for stage, share, left in zip(stages, shares, before, strict=True)
        )
    chosen = [stages[index] for index in method["only"]] if "only" in method else list(stages)
    # an empty text leaves a stage its own criterion
    criteria = method.get("criteria") or len(chosen) * [method.get("criterion", "")]
    if len(criteria) != len(chosen):
        raise ValueError(f"method {name!r}: {len(criteria)} criteria for {len(chosen)} stages of {method['like']!r}")
    return tuple(
        replace(stage, criterion=criterion or stage.criterion)
        for stage, criterion in zip(chosen, criteria, strict=True)
    )


def _matched(schedule: Schedule, method: Method, dims: Dims, budget: Budget) -> Schedule:
    """Return the schedule with stages, or a smaller grid of image tokens, whose cost comes nearest to the budget."""
    if "downsample" in method:
        return replace(schedule, image_grid=nearest_grid(dims, budget))
    if "before_decoder" in method:
        stage = Stage(0, count_before(dims, budget), method["before_decoder"]["criterion"])
        return replace(schedule, stages=(stage,))
    criterion = method["every_layer"]["criterion"]
    # exactly one of MATCHED's forms is left here
    drops = geometric(dims, share_per_layer(dims, budget))
    return replace(schedule, stages=tuple(Stage(drop.layer, drop.keep, criterion) for drop in drops))
