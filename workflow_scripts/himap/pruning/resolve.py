"""Methods, and how a method becomes a schedule for one model.

A method is what a YAML file in `methods/` or a config's entry defines, in one of these forms:

* `stages`: a list of {layer, keep, criterion}, or one list per kind of task (`qa`, `caption`, `open`); a `layer` between 0
  and 1 is a share of the model's depth, so that a method carries over to a model of another depth;
* `like: other`, with `criterion` or `criteria` (one per stage) put in its place, and `only: [0]` to use some stages
  (`relative: true`: each keeps its share of what the other's stages before it left, instead of the same tokens);
* `every_layer: {criterion}` and `flops_of: other`: the same share dropped at every layer, at the other's cost;
* `before_decoder: {criterion}` and `flops_of: other`: dropped once, before the first layer;
* `downsample: true` and `flops_of: other`: a smaller image instead.

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

from himap.costs.formulas import Drop, flops, keep_count
from himap.models.sizes import Dims
from himap.pruning.stage import Schedule, Stage, read_stages
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
    rerank: bool
    protocol: str  # "other": a benchmark is asked its other way, where that is contested
    dtype: str
    models: dict[str, Method]  # of which only `stages` counts


def load_all() -> dict[str, Method]:
    """Return the methods that come with the library, by name."""
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

    def other(reference: str) -> tuple[Stage, ...]:
        return resolve(reference, dims, methods=methods, kind=kind, model=model, schedules=schedules).stages

    schedule = Schedule(name=name, rerank=bool(method.get("rerank", False)))
    if schedules and name in schedules:
        schedule = replace(schedule, stages=_for_kind(schedules[name], kind, name, dims))
    elif model and model in method.get("models", {}):
        schedule = replace(schedule, stages=_for_kind(method["models"][model]["stages"], kind, name, dims))
    elif "like" in method:
        schedule = replace(schedule, stages=_replaced(name, method, other(method["like"]), dims))
    elif "stages" in method:
        schedule = replace(schedule, stages=_for_kind(method["stages"], kind, name, dims))
    else:
        schedule = _matched(schedule, method, dims, flops(dims, other(method["flops_of"])))
    schedule.check(dims)
    return schedule


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
    if forms[0] in MATCHED and "flops_of" not in method:
        raise ValueError(f"method {name!r}: {forms[0]} needs flops_of, the method whose cost it is to match")
    return cast(Method, method)


def two_stages(
    k1: Sequence[int], r1: Sequence[float], k2: Sequence[int], r2: Sequence[float]
) -> list[tuple[Point, Point]]:
    """Return the schedules ((k1, r1), (k2, r2)) of a grid: the deep stage comes later and keeps no more."""
    points = product(k1, r1, k2, r2)
    return [((shallow, more), (deep, less)) for shallow, more, deep, less in points if deep > shallow and less <= more]


def kind_taken(stages: Mapping[str, object], kind: str) -> str | None:
    """Return the kind whose stages a kind of task takes: its own; else open questions those of captions; else `qa`."""
    choices = (kind, "caption" if kind == "open" else kind, "qa")
    return next((choice for choice in choices if stages.get(choice) is not None), None)


def _for_kind(stages: object, kind: str, name: str, dims: Dims) -> tuple[Stage, ...]:
    """Return the stages of a kind of task, from one list for all of them or a list per kind."""
    if isinstance(stages, Mapping):
        taken = kind_taken(stages, kind)
        if taken is None:
            raise ValueError(f"method {name!r} has no stages for {kind!r}; it has {', '.join(stages)}")
        stages = stages[taken]
    return read_stages(stages, layers=dims.layers)


def _replaced(name: str, method: Method, stages: tuple[Stage, ...], dims: Dims) -> tuple[Stage, ...]:
    """Return another method's stages with other criteria, or only some of them."""
    for index in method.get("only", []):
        if index >= len(stages):
            raise ValueError(f"method {name!r}: only: {index} is beyond the {len(stages)} stages of {method['like']!r}")
    if method.get("relative"):
        shares = [
            stage.keep if isinstance(stage.keep, float) else stage.keep / dims.tokens_per_image for stage in stages
        ]
        before = [1.0, *shares[:-1]]
        stages = tuple(
            replace(stage, keep=share / left) for stage, share, left in zip(stages, shares, before, strict=True)
        )
    chosen = [stages[index] for index in method["only"]] if "only" in method else list(stages)
    criteria = method.get("criteria") or len(chosen) * [method.get("criterion", "")]
    if len(criteria) != len(chosen):
        raise ValueError(f"method {name!r}: {len(criteria)} criteria for {len(chosen)} stages of {method['like']!r}")
    return tuple(
        replace(stage, criterion=criterion or stage.criterion)
        for stage, criterion in zip(chosen, criteria, strict=True)
    )


def _matched(schedule: Schedule, method: Method, dims: Dims, budget: float) -> Schedule:
    """Return the schedule with stages, or a smaller grid of image tokens, whose cost comes nearest to `budget`."""
    if "downsample" in method:
        return replace(schedule, image_grid=_nearest_grid(dims, budget))
    if "before_decoder" in method:
        stage = Stage(0, _kept(dims, _count_before(dims, budget)), method["before_decoder"]["criterion"])
        return replace(schedule, stages=(stage,))
    criterion = method["every_layer"]["criterion"]
    drops = _geometric(dims, _share_per_layer(dims, budget))
    return replace(schedule, stages=tuple(Stage(drop.layer, drop.keep, criterion) for drop in drops))


@cache
def _nearest_grid(dims: Dims, budget: float) -> tuple[int, int]:
    """Return the smaller grid of image tokens, in the proportions of the model's own, whose cost is nearest to the budget."""
    rows, columns = dims.grid
    grids = [(side, max(1, round(columns * side / rows))) for side in range(1, rows + 1)]
    return min(grids, key=lambda grid: abs(flops(dims, [], n_image=grid[0] * grid[1]) - budget))


@cache
def _count_before(dims: Dims, budget: float) -> int:
    """Return the count of tokens that enters the decoder at a cost nearest to the budget."""
    counts = range(1, dims.tokens_per_image + 1)
    return min(counts, key=lambda count: abs(flops(dims, [Drop(0, count)]) - budget))


def _geometric(dims: Dims, share: float) -> list[Drop]:
    """Return stages that keep, at every layer after the first, the same share of what the layer before had."""
    counts = [keep_count(share**layer, dims.tokens_per_image) for layer in range(1, dims.layers - 1)]
    return [Drop(layer, _kept(dims, count)) for layer, count in enumerate(counts, start=1)]


def _kept(dims: Dims, count: int) -> int | float:
    """Return a count of a typical picture's tokens as a stage's `keep`: as a share of them where pictures differ."""
    return count / dims.tokens_per_image if dims.varies else count


@cache
def _share_per_layer(dims: Dims, budget: float) -> float:
    """Return the share, kept at every layer, that spends the budget; cost grows with the share, so bisection finds it."""
    low, high = 0.0, 1.0
    for _ in range(50):  # to the precision of a double
        middle = (low + high) / 2
        if flops(dims, _geometric(dims, middle)) > budget:
            high = middle
        else:
            low = middle
    return low
