"""Checks of methods: each by itself, then resolved on every model and kind of task that it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

from himap.models.families import ONE_SIZE
from himap.models.sizes import Dims
from himap.pruning.checks import looks_too_low, stage_problems
from himap.pruning.criteria import get as criterion_named
from himap.pruning.criteria import names as criterion_names
from himap.pruning.resolve import FORMS, kind_taken, resolve
from himap.pruning.stage import Schedule
from himap.registry import hint
from himap.workflow.config.checks._raw import Problem, depth_of, items, section
from himap.workflow.config.checks.models import sizes_of_models
from himap.workflow.config.checks.uses import Use, definitions, taken_from
from himap.workflow.config.schema import Method


def check_methods(raw: Mapping[str, Any], used: set[Use]) -> Iterator[Problem]:
    """Yield the problems of each method by itself, and of definitions that never end at stages."""
    methods = section(raw, "methods")
    for name in methods:
        yield from check_method(raw, name, used)
    yield from check_vanilla(section(methods, "vanilla"))
    yield from check_cycles(methods)


CLASS_TOKEN = ("llava",)  # families whose models give a view of the vision tower
ROW_AND_COLUMN = ("qwen2_5_vl", "qwen3_vl")  # families whose rotary positions are those of a whole picture
ALTERED = ("rerank", "protocol", "dtype")  # what makes another run of a method without stages


def check_vanilla(method: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the method that all others are compared with drops tokens."""
    entries = [method, *(section(method, "models", model) for model in section(method, "models"))]
    stages = [entry.get("stages") for entry in entries]
    # Stages are one list, or lists by kind of task; both forms end here as lists.
    lists = [stage for form in stages for stage in (form.values() if isinstance(form, Mapping) else [form])]
    if any(lists) or any(method.get(form) for form in FORMS if form != "stages") or any(map(method.get, ALTERED)):
        yield (
            "methods.vanilla",
            "must stay the model as it is (`stages: []`), as all others are compared with it; give this method another name",
        )


def check_method(raw: Mapping[str, Any], name: str, used: set[Use]) -> Iterator[Problem]:
    """Yield the problems of one method: unknown criteria and methods, stages that do not fit a model that it runs on."""
    methods, models = section(raw, "methods"), section(raw, "models")
    method, at = section(methods, name), f"methods.{name}"
    ways = [key for key in FORMS if method.get(key) is not None]
    if len(ways) != 1:
        yield at, f"must say what it does by exactly one of {', '.join(FORMS)}; it has {', '.join(ways) or 'none'}"
    for key in ("like", "flops_of"):
        if isinstance(other := method.get(key), str) and other not in methods:
            yield f"{at}.{key}", f"unknown method {other!r}" + hint(other, methods)
    budgets = [key for key in ("flops_of", "tokens_of") if method.get(key) is not None]
    if any(method.get(key) for key in ("every_layer", "before_decoder", "downsample")) and not budgets:
        yield (
            f"{at}.flops_of",
            "is required: the method whose FLOPs are to be met; or give tokens_of, a number of image tokens",
        )
    if len(budgets) == 2:
        yield f"{at}.tokens_of", "is a second budget beside flops_of; give one of them"
    for key in ("budget_by", "budget_layers"):
        if method.get(key) is not None and method.get("stages") is None:
            yield f"{at}.{key}", "is only allowed together with `stages`"
    for key in ("criterion", "criteria", "only", "relative"):
        if method.get(key) is not None and not method.get("like"):
            yield f"{at}.{key}", "is only allowed together with `like`"
    yield from check_criteria(method, at)
    special = section(method, "models")
    # Where the method really runs: stages of its own for a model replace the general ones there.
    runs_on = {(model, kind) for model, kind, other in used if other == name and model in models}
    general = {(model, kind) for model, kind in runs_on if model not in special}
    # Stages written for some depth are moved to the model's own before they run, so they must fit that depth.
    depth = method.get("depth")
    yield from check_stages(
        raw, method.get("stages"), f"{at}.stages", general, depth if isinstance(depth, int) else None
    )
    for model in special:
        own = {task for task in runs_on if task[0] == model}
        yield from check_stages(raw, section(special, model).get("stages"), f"{at}.models.{model}.stages", own)


def check_criteria(method: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """Yield the unknown criteria that a method names outside its stages."""
    named = [(f"{at}.criterion", method.get("criterion"))]
    named += [(f"{at}.criteria[{index}]", criterion) for index, criterion in items(method.get("criteria"))]
    named += [
        (f"{at}.{key}.criterion", section(method, key).get("criterion")) for key in ("every_layer", "before_decoder")
    ]
    for path, criterion in named:
        if isinstance(criterion, str) and criterion not in criterion_names():
            yield path, f"unknown criterion {criterion!r}" + hint(criterion, criterion_names())


def check_stages(
    raw: Mapping[str, Any], stages: Any, at: str, runs_on: set[tuple[str, str]], depth: int | None = None
) -> Iterator[Problem]:
    """Yield what the library says of a method's stages on the models and kinds in use, and stages that drop nothing.

    With a `depth` that the stages are written for, they are checked against a decoder of so many layers.
    """
    if isinstance(stages, Mapping):
        for key, listed in stages.items():
            own = {(model, kind) for model, kind in runs_on if kind_taken(stages, kind) == key}
            yield from check_stages(raw, listed if isinstance(listed, list) else None, f"{at}.{key}", own, depth)
        return
    listed = stages if isinstance(stages, list) else []
    models = {model: depth_of(raw, model) for model in sorted({model for model, _ in runs_on})}
    if depth is not None:
        models = {f"a decoder of depth {depth}": depth}
    # A method that nothing runs is checked too, without knowing a depth.
    for model, layers in (models or {"the model": None}).items():
        for path, problem in stage_problems(listed, layers=layers, model=model):
            yield at + path, problem
    keeps = [stage.get("keep") if isinstance(stage, Mapping) else None for stage in listed]
    for index, (before, keep) in enumerate(pairwise(keeps), start=1):
        # The library allows this for computed schedules; written by hand it is a share taken for one of what is left.
        if keep == before and isinstance(keep, int | float):
            yield (
                f"{at}[{index}].keep",
                f"{keep} is what the stage before keeps, so nothing is dropped; shares are of the original image tokens",
            )


def check_cycles(methods: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the methods whose definitions by reference never end at a method with stages."""
    for name in methods:
        chain = definitions(methods, name)
        if chain[-1] in chain[:-1]:
            yield f"methods.{name}", f"is defined in a circle: {' -> '.join(chain)}"


def cross_problem(schedule: Schedule, dims: Dims, family: str) -> str | None:
    """Return why a schedule cannot be run where text looks at image tokens by cross-attention, if it cannot."""
    for stage in schedule.stages if dims.cross else ():
        criterion = criterion_named(stage.criterion)
        if criterion.in_sequence or criterion.merges:
            return (
                f"{stage.criterion!r} needs image tokens in the sequence, but {family} looks at them by cross-attention; "
                "leave the model out, or choose a criterion by the attention of the text"
            )
        if problem := looks_too_low(stage, dims, family):
            return problem
    return None


def check_resolved(raw: Mapping[str, Any], asked: set[Use], used: set[Use]) -> Iterator[Problem]:
    """Yield what is wrong with methods, valid by themselves, on a model and kind of task that they run on."""
    methods, sizes = sound_methods(raw, used), sizes_of_models(raw)

    @cache
    def trouble(model: str, kind: str, name: str) -> str | None:
        try:
            # Also raises for budgets that no schedule of this depth can meet.
            schedule = resolve(name, sizes[model], methods=methods, kind=kind, model=model)
            family = section(raw, "models", model).get("family", "llava")
            looking = [stage.criterion for stage in schedule.stages if criterion_named(stage.criterion).needs_tower]
            if schedule.renumbers and schedule.stages and family in ROW_AND_COLUMN:
                return f"on {model}: {family} counts rows and columns, so `positions: renumber` has no meaning; leave the model out"
            if schedule.image_grid and family in ONE_SIZE:
                return f"on {model}: {family} reads every picture at one size, so no smaller image has fewer tokens; leave the model out"
            if problem := cross_problem(schedule, sizes[model], family):
                return f"on {model}: {problem}"
            if looking and family not in CLASS_TOKEN:
                return f"on {model}: {looking[0]!r} looks at the class token of the vision tower, which {family} has none of"
            reading = [stage.criterion for stage in schedule.stages if criterion_named(stage.criterion).needs_text]
            if reading and not section(raw, "models", model).get("text_tower"):
                return (
                    f"on {model}: {reading[0]!r} compares pictures with the question by CLIP's text tower; name that CLIP as "
                    f"`models.{model}.text_tower` (docs/rivals.md), or leave the method out"
                )
        except ValueError as error:
            return f"on {model} ({kind}): {str(error).removeprefix(f'method {name!r}: ')}"
        return None

    for model, kind, name in sorted(asked):
        if model in sizes and name in methods and trouble(model, kind, name):
            chosen = [other for other in taken_from(raw, model, name) if other in methods]
            root = next(
                other for other in reversed(chosen) if trouble(model, kind, other)
            )  # the cause alone is reported, not every method that follows from it
            yield f"methods.{root}", str(trouble(model, kind, root))


def sound_methods(raw: Mapping[str, Any], used: set[Use]) -> dict[str, dict[str, Any]]:
    """Return the methods without a mistake of their own or in what they are defined by, as the library takes them."""
    methods = section(raw, "methods")
    sound: dict[str, dict[str, Any]] = {}
    for name in methods:
        with suppress(ValueError):
            if not any(check_method(raw, name, used)):
                sound[name] = Method.model_validate(methods[name]).model_dump(exclude_none=True, by_alias=True)
    chains = [definitions(methods, name) for name in sound]
    # A method defined by a broken one would only repeat that one's message.
    return {chain[0]: sound[chain[0]] for chain in chains if set(chain) <= set(sound) and chain[-1] not in chain[:-1]}
