"""A pruning schedule as data, and everything that can be wrong with it.

A `Stage` drops image tokens once on their way through the layers; a `Schedule` is what a method comes down to on one
model: its stages, whether tokens are ranked again for every generated token, and the size of the image.

    stages = read_stages([{"layer": 2, "keep": 0.5, "criterion": "instruction_attention"}], layers=32)
    Schedule(stages).to_json()

Stages come from a config, from a checkpoint's schedules.json, from the command line or from a notebook. All of them
pass through `stage_problems`, the only place where a stage is checked, before any forward pass. No torch is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from himap.costs.formulas import Drop, keep_count
from himap.models.sizes import Dims
from himap.pruning import criteria
from himap.registry import hint, unknown

STAGE_KEYS = ("layer", "keep", "criterion")
SCHEDULE_KEYS = ("name", "stages", "rerank", "image_grid", "positions")
POSITIONS = ("keep", "renumber")
Problem = tuple[str, str]  # a path below the list of stages, as in "[0].layer", and what is wrong there


@dataclass(frozen=True)
class Stage(Drop):
    """From `layer` on, only the `keep` image tokens with the highest score by `criterion` remain."""

    criterion: str

    def to_json(self) -> dict[str, int | float | str]:
        """Return the stage as {"layer", "keep", "criterion"}."""
        return asdict(self)


@dataclass(frozen=True)
class Schedule:
    """A method resolved for one model and kind of task."""

    stages: tuple[Stage, ...] = ()
    name: str = "unnamed"
    rerank: bool = False  # the released code's way: no cache, tokens are ranked again for each generated token
    image_grid: tuple[int, int] | None = None  # rows and columns of image tokens if the image is made smaller
    positions: str = "keep"  # whether the tokens that are left keep their positions, or are counted again

    @property
    def renumbers(self) -> bool:
        """Return whether positions are counted again after each stage."""
        return self.positions == "renumber"

    @classmethod
    def from_json(cls, value: object) -> Schedule:
        """Read what `to_json` wrote; keys may be missing. Raise ValueError that names what is wrong."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is no schedule; give an object with {', '.join(SCHEDULE_KEYS)}")
        for key in value:
            if key not in SCHEDULE_KEYS:
                raise unknown("key in a schedule", key, SCHEDULE_KEYS)
        name, rerank = value.get("name", "unnamed"), value.get("rerank", False)
        if not isinstance(name, str):
            raise ValueError(f"name: {name!r} is no text")
        if not isinstance(rerank, bool):
            raise ValueError(f"rerank: {rerank!r} is neither true nor false")
        positions = value.get("positions", "keep")
        if positions not in POSITIONS:
            raise unknown("positions", positions, POSITIONS)
        grid = _read_grid(value.get("image_grid"))
        return cls(read_stages(value.get("stages", [])), name, rerank, grid, positions)

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as scripts are told it, {"name", "stages", "rerank", "image_grid"}, and positions if counted again."""
        return {
            "name": self.name,
            "stages": [stage.to_json() for stage in self.stages],
            "rerank": self.rerank,
            "image_grid": None if self.image_grid is None else list(self.image_grid),
            # left out where they are kept: a key that changes nothing must not make stored results stale
            **({"positions": self.positions} if self.renumbers else {}),
        }

    def check(self, dims: Dims) -> None:
        """Raise ValueError that names what does not fit a model of these sizes."""
        image_tokens = None if dims.varies else dims.tokens_per_image
        read_stages(self.stages, layers=dims.layers, image_tokens=image_tokens)
        for index, stage in enumerate(self.stages):
            if criteria.get(stage.criterion).merges and not self.renumbers:
                raise ValueError(
                    f"stages[{index}].criterion: {stage.criterion!r} merges tokens, and a merged token has no position to "
                    "keep; add `positions: renumber` to the method"
                )


def read_stages(values: object, *, layers: int | None = None, image_tokens: int | None = None) -> tuple[Stage, ...]:
    """Read a list of stages, and check it against a model's sizes where they are given.

    Raise a ValueError that names the stage, the key, the value and what is allowed.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"stages: {values!r} is no list; give a list of objects with layer, keep and criterion")
    for path, problem in stage_problems(values, layers=layers, image_tokens=image_tokens):
        raise ValueError(f"stages{path}: {problem}")
    return tuple(value if isinstance(value, Stage) else _read_stage(value, layers) for value in values)


def _read_stage(value: Mapping[str, Any], layers: int | None) -> Stage:
    """Return a checked stage. Raise ValueError for a relative layer where the model's depth is not known."""
    layer = value["layer"] if layers is None else layer_at(value["layer"], layers)
    if isinstance(layer, float):
        raise ValueError(
            f"stages: layer {layer} is a share of a depth that is not known here; give the number of the layer"
        )
    return Stage(layer, value["keep"], value["criterion"])


def layer_at(layer: int | float, layers: int) -> int:
    """Return the number of a layer that may be given as a share of the model's depth."""
    return max(1, int(layer * layers + 0.5)) if isinstance(layer, float) else layer


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
    for index, value in enumerate(values):
        stage = value.to_json() if isinstance(value, Stage) else value
        if not isinstance(stage, Mapping):
            yield f"[{index}]", f"{stage!r} is no stage; give an object with layer, keep and criterion"
            continue
        layer = stage.get("layer")
        if layers is not None and _is_share(layer):
            layer = layer_at(layer, layers)
        keep: Any = stage.get("keep")
        wrong = keep_problem(keep)
        problems = {
            **{str(key): "unknown key" + hint(key, STAGE_KEYS) for key in stage if key not in STAGE_KEYS},
            "layer": _layer_problem(layer, below, layers, model),
            "keep": f"{keep!r} {wrong}" if wrong else _order_problem(keep, kept, image_tokens),
            "criterion": _criterion_problem(stage.get("criterion"), layer),
            **{key: "missing; a stage needs layer, keep and criterion" for key in STAGE_KEYS if key not in stage},
        }
        yield from ((f"[{index}].{key}", problem) for key, problem in problems.items() if problem)
        # one wrong stage must not hide or cause problems of those that follow it
        below = max(below, layer) if _is_whole(layer) or _is_share(layer) else below
        kept += [] if wrong else [keep]


def keep_problem(keep: object) -> str | None:
    """Return why a stage's `keep` is neither a share nor a count, to be read after the value."""
    if isinstance(keep, bool) or not isinstance(keep, int | float):  # True is an int to Python
        return "is no number; give a share in (0, 1] or a count of image tokens"
    if isinstance(keep, float) and not 0 < keep <= 1:
        return "is outside (0, 1]; give a share of the original image tokens, or a whole number as a count"
    if isinstance(keep, int) and keep < 0:
        return "is no count; give 0 to drop all image tokens, or how many stay"
    return None


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and 0 < value < 1


def _layer_problem(layer: object, below: int | float, layers: int | None, model: str) -> str | None:
    """Return what is wrong with a stage's layer, if anything."""
    # not the last layer: nothing would run on what remains
    allowed = "from 0 on, or a share of the depth between 0 and 1" if layers is None else f"0 to {layers - 2}"
    if _is_share(layer):  # the depth is not known; a share and a number cannot be compared
        return f"{layer} must be above {below}, where the stage before is" if 0 < below < 1 and layer <= below else None
    if not _is_whole(layer) or layer < 0:
        return f"{layer!r} is no layer (allowed: {allowed})"
    if layers is not None and layer > layers - 2:
        return f"{layer} is not below the last layer of {model} (allowed: {allowed})"
    if layer <= below and _is_whole(below):
        return f"{layer} must be above the layer of the stage before ({below}); put stages in order of their layers"
    return None


def _order_problem(keep: int | float, kept: Sequence[int | float], image_tokens: int | None) -> str | None:
    """Return what is wrong with a `keep` after those of earlier stages: it must not be more than what is left."""
    if 0 in kept:
        return f"{keep}: the stage before keeps 0, so no image token is left; remove this stage"
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


def _criterion_problem(criterion: object, layer: object) -> str | None:
    """Return what is wrong with a stage's criterion: unknown, or with no attention to look at."""
    known = criteria.names()
    if not isinstance(criterion, str) or criterion not in known:
        return f"unknown criterion {criterion!r}" + hint(criterion, known)
    if layer != 0 and criteria.get(criterion).at_input:
        return f"{criterion!r} makes tokens for the decoder's input; its stage is at layer 0"
    if layer == 0 and criteria.get(criterion).needs_attention:
        free = [name for name in known if not criteria.get(name).needs_attention]
        return f"{criterion!r} looks at the layer below, and layer 0 has none; allowed there: {', '.join(free)}"
    return None


def _read_grid(value: object) -> tuple[int, int] | None:
    """Read rows and columns of image tokens; None is the image as it is."""
    if value is None:
        return None
    sides = list(value) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(_is_whole(side) and side > 0 for side in sides):
        raise ValueError(f"image_grid: {value!r} is no grid of image tokens; give [rows, columns]")
    return sides[0], sides[1]
