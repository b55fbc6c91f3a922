"""Everything that can be wrong with a list of stages, as data: from a config, a checkpoint's file, a command line, a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from himap.costs.formulas import keep_count
from himap.pruning import criteria
from himap.pruning.adaptive import LEAST, after_problems, layer_at, mass_problems
from himap.registry import hint

if TYPE_CHECKING:
    from himap.models.sizes import Dims
    from himap.pruning.stage import Stage

STAGE_KEYS = ("layer", "keep", "criterion")
Problem = tuple[str, str]  # a path below the list of stages, as in "[0].layer", and what is wrong there


def stage_problems(
    values: Sequence[object],
    *,
    layers: int | None = None,
    image_tokens: int | None = None,
    model: str = "the model",
) -> Iterator[Problem]:
    """Yield everything that is wrong with a list of stages on `model`, or on any model where no sizes are given."""
    below: int | float = -1  # the layer of the stage before
    kept: list[int | float] = []  # what earlier stages keep
    for index, stage in enumerate(values):
        if not isinstance(stage, Mapping):
            yield f"[{index}]", f"{stage!r} is no stage; give an object with layer, keep and criterion"
            continue
        # both are the layer itself, unless each input finds it between `from` and `to`
        first, latest = (_end_of(stage.get("layer"), key, layers) for key in ("from", "to"))
        least, most = _counts_of(stage.get("keep"))
        # By path, so that a key that is missing is called so, and not a None of the wrong type.
        problems = {
            **{f".{key}": "unknown key" + hint(key, STAGE_KEYS) for key in stage if key not in STAGE_KEYS},
            **_layer_problems(stage.get("layer"), first, below, layers, model),
            **(keeps := _keep_problems(stage.get("keep"), least, most, kept, image_tokens)),
            ".criterion": _criterion_problem(stage.get("criterion"), first) or _rule_problem(stage),
            **{f".{key}": "missing; a stage needs layer, keep and criterion" for key in STAGE_KEYS if key not in stage},
        }
        yield from ((f"[{index}]{path}", problem) for path, problem in problems.items() if problem)
        # one wrong stage must not hide or cause problems of those that follow it
        below = max(below, latest) if is_whole(latest) or _is_share(latest) else below
        kept += [] if keeps and keep_problem(most) else [most]


def looks_too_low(stage: Stage, dims: Dims, model: str) -> str | None:
    """Return why a stage finds nothing to look at where text looks at image tokens by cross-attention, if it does not."""
    looks = stage.after is not None or (stage.keep != 0 and criteria.get(stage.criterion).needs_attention)
    if not looks or not dims.cross or stage.layer > dims.cross[0]:
        return None
    return (
        f"{stage.criterion!r} at layer {stage.layer} has no cross-attention below it to look at; "
        f"the first in {model} is layer {dims.cross[0]}, so {dims.cross[0] + 1} is the lowest layer that works"
    )


def _layer_problems(
    layer: object, first: object, below: int | float, layers: int | None, model: str
) -> dict[str, str | None]:
    """Return what is wrong with a stage's layer, by path; `first` is its number, or the earliest where each input finds it."""
    if isinstance(layer, Mapping) and (problems := list(after_problems(layer, layers, model))):
        return {f".layer{path}": problem for path, problem in problems}
    return {".layer": _layer_problem(first, below, layers, model)}


def _keep_problems(
    keep: object, least: Any, most: Any, kept: Sequence[int | float], image_tokens: int | None
) -> dict[str, str | None]:
    """Return what is wrong with a stage's `keep`, by path; `least` and `most` differ where each input finds the count."""
    if isinstance(keep, Mapping) and (problems := list(mass_problems(keep, keep_problem))):
        return {f".keep{path}": problem for path, problem in problems}
    if wrong := keep_problem(most):
        return {".keep": f"{most!r} {wrong}"}
    return {".keep": _order_problem(least, kept, image_tokens) or _ends_problem(least, most, image_tokens)}


def _end_of(layer: object, key: str, layers: int | None) -> object:
    """Return a stage's layer, or one end of those that an input may find, as a number where the depth is known."""
    end = layer.get(key) if isinstance(layer, Mapping) else layer
    return layer_at(end, layers) if layers is not None and _is_share(end) else end


def _counts_of(keep: object) -> tuple[Any, Any]:
    """Return the least and the most that a stage keeps: the same, unless each input finds the count."""
    if not isinstance(keep, Mapping):
        return keep, keep
    # an end that is left out is none, whether the key is missing or empty
    return keep.get("floor") or LEAST, keep.get("ceiling") or 1.0


def keep_problem(keep: object) -> str | None:
    """Return why a stage's `keep` is neither a share nor a count, to be read after the value."""
    if isinstance(keep, bool) or not isinstance(keep, int | float):  # True is an int to Python
        return "is no number; give a share in (0, 1] or a count of image tokens"
    # The type decides: 1.0 is a share and keeps all tokens, 1 is a count and keeps one.
    if isinstance(keep, float) and not 0 < keep <= 1:
        return "is outside (0, 1]; give a share of the original image tokens, or a whole number as a count"
    if isinstance(keep, int) and keep < 0:
        return "is no count; give 0 to drop all image tokens, or how many stay"
    return None


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and 0 < value < 1


def _layer_problem(layer: object, below: int | float, layers: int | None, model: str) -> str | None:
    """Return what is wrong with a stage's layer, if anything."""
    # not the last layer: nothing would run on what remains
    allowed = "from 0 on, or a share of the depth between 0 and 1" if layers is None else f"0 to {layers - 2}"
    if _is_share(layer):  # the depth is not known; a share and a number cannot be compared
        return f"{layer} must be above {below}, where the stage before is" if 0 < below < 1 and layer <= below else None
    if not is_whole(layer) or layer < 0:
        return f"{layer!r} is no layer (allowed: {allowed})"
    if layers is not None and layer > layers - 2:
        return f"{layer} is not below the last layer of {model} (allowed: {allowed})"
    if layer <= below and is_whole(below):
        return f"{layer} must be above the layer of the stage before ({below}); put stages in order of their layers"
    return None


def _order_problem(keep: int | float, kept: Sequence[int | float], image_tokens: int | None) -> str | None:
    """Return what is wrong with a `keep` after those of earlier stages: it must not be more than what is left."""
    if 0 in kept:
        return f"{keep}: the stage before keeps 0, so no image token is left; remove this stage"
    # shares with shares and counts with counts: 0.5 and 100 have an order only in a picture of known size
    alike = [earlier for earlier in kept if isinstance(earlier, float) == isinstance(keep, float)]
    if isinstance(keep, float) and alike and keep > min(alike):
        return (
            f"{keep} is more than the {min(alike)} that is left; "
            "shares are of the original image tokens and fall from stage to stage"
        )
    # a share and a count can be compared only if the number of image tokens is known
    if image_tokens is None:
        return f"{keep} is more than the {min(alike)} that are left" if alike and keep > min(alike) else None
    count = keep_count(keep, image_tokens)
    left = min([image_tokens, *(keep_count(earlier, image_tokens) for earlier in kept)])
    return f"{keep} is {count} image tokens, but only {left} are left" if count > left else None


def _ends_problem(floor: int | float, ceiling: int | float, image_tokens: int | None) -> str | None:
    """Return what is wrong with the ends of a count that each input finds."""
    # two shares or two counts have an order of their own
    if isinstance(floor, float) == isinstance(ceiling, float):
        wrong = floor > ceiling
    else:
        wrong = image_tokens is not None and keep_count(floor, image_tokens) > keep_count(ceiling, image_tokens)
    return f"at least {floor} and at most {ceiling} image tokens cannot both be kept" if wrong else None


def _criterion_problem(criterion: object, layer: object) -> str | None:
    """Return what is wrong with a stage's criterion: unknown, or with no attention to look at."""
    known = criteria.names()
    if not isinstance(criterion, str) or criterion not in known:
        return f"unknown criterion {criterion!r}" + hint(criterion, known)
    # such tokens come from the projector, which only the decoder's input takes
    if layer != 0 and criteria.get(criterion).at_input:
        return f"{criterion!r} makes tokens for the decoder's input; its stage is at layer 0"
    if layer == 0 and criteria.get(criterion).needs_attention:
        free = [name for name in known if not criteria.get(name).needs_attention]
        return f"{criterion!r} looks at the layer below, and layer 0 has none; allowed there: {', '.join(free)}"
    return None


def _rule_problem(stage: Mapping[Any, Any]) -> str | None:
    """Return why a known criterion cannot be used by a stage whose layer or count each input finds, if it cannot."""
    criterion, names = stage.get("criterion"), criteria.names()
    if criterion not in names:
        return None
    if isinstance(stage.get("keep"), Mapping) and not criteria.get(criterion).amounts:
        adding = [name for name in names if criteria.get(name).amounts]
        return f"{criterion!r} gives no amounts that add up, so no tokens hold a share of them; allowed with mass: {', '.join(adding)}"
    if isinstance(stage.get("layer"), Mapping) and criteria.get(criterion).merges:
        return f"{criterion!r} merges tokens, which only a stage at the same layer for every input can do; give the layer's number"
    return None
