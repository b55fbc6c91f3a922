"""A pruning schedule as data, and everything that can be wrong with it.

A `Stage` drops image tokens once on their way through the layers; a `Schedule` is what a method comes down to on one
model: its stages, whether tokens are ranked again for every generated token, and the size of the image.

    stages = read_stages([{"layer": 2, "keep": 0.5, "criterion": "instruction_attention"}], layers=32)
    Schedule(stages).to_json()

Instead of a number, `keep` and `layer` may be a rule by which each input finds its own (`himap.pruning.adaptive`).

Stages come from a config, from a checkpoint's schedules.json, from the command line or from a notebook. All of them
pass through `himap.pruning.checks`, the only place where a stage is checked, before any forward pass. No torch is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from himap.costs.formulas import Drop
from himap.models.sizes import Dims
from himap.pruning import criteria
from himap.pruning.adaptive import LEAST, After, Mass, layer_at
from himap.pruning.checks import is_whole, stage_problems
from himap.registry import unknown

SCHEDULE_KEYS = ("name", "stages", "rerank", "image_grid", "positions")
POSITIONS = ("keep", "renumber")


@dataclass(frozen=True)
class Stage(Drop):
    """From `layer` on, only the `keep` image tokens with the highest score by `criterion` remain.

    With `mass` each input finds how many, at most `keep`; with `after` from which layer on, at the earliest `layer`.
    """

    criterion: str
    mass: Mass | None = None
    after: After | None = None

    @property
    def is_fixed(self) -> bool:
        """Return whether layer and count are the same for every input."""
        return self.mass is None and self.after is None

    @property
    def latest(self) -> int:
        """Return the last layer before which the stage may act."""
        return self.layer if self.after is None else self.after.to

    def to_json(self) -> dict[str, Any]:
        """Return the stage as {"layer", "keep", "criterion"}."""
        # With a rule, `layer` holds the earliest layer and `keep` the most tokens; both are ends of the written rule.
        layer: object = self.layer
        if self.after is not None:
            layer = {"after": self.after.signal, "below": self.after.below, "from": self.layer, "to": self.after.to}
        keep: object = self.keep
        if self.mass is not None:
            keep = {"mass": self.mass.share, "floor": self.mass.floor, "ceiling": self.keep}
        return {"layer": layer, "keep": keep, "criterion": self.criterion}


def as_acted(stages: Sequence[Stage], counts: Sequence[int], layers: Sequence[int]) -> tuple[Stage, ...]:
    """Return stages as they acted on one input: at the layers and with the counts that it found."""
    return tuple(
        # without `mass` the share stays as written, since costs turn it into a count for any total
        replace(stage, layer=layer, keep=stage.keep if stage.mass is None else count, mass=None, after=None)
        for stage, count, layer in zip(stages, counts, layers, strict=True)
    )


def as_costly_as_possible(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return stages at their latest layers with the most tokens that they may keep: a bound of what any input costs."""
    return tuple(replace(stage, layer=stage.latest, mass=None, after=None) for stage in stages)


@dataclass(frozen=True)
class Schedule:
    """A method resolved for one model and kind of task."""

    stages: tuple[Stage, ...] = ()
    name: str = "unnamed"
    rerank: bool = False  # the released code's way: no cache, tokens are ranked again for each generated token
    image_grid: tuple[int, int] | None = None  # rows and columns of image tokens if the image is made smaller
    positions: str = "keep"  # whether the tokens that are left keep their positions, or are counted again

    @property
    def is_fixed(self) -> bool:
        """Return whether every input is pruned at the same layers and to the same counts."""
        return all(stage.is_fixed for stage in self.stages)

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
        # where pictures differ, a count may be more than one picture has and fewer than another
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
    # a text is a sequence too, of its characters
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"stages: {values!r} is no list; give a list of objects with layer, keep and criterion")
    # the checks read what a config holds, so stages made in code are written out for them
    listed = [value.to_json() if isinstance(value, Stage) else value for value in values]
    for path, problem in stage_problems(listed, layers=layers, image_tokens=image_tokens):
        raise ValueError(f"stages{path}: {problem}")
    return tuple(value if isinstance(value, Stage) else _read_stage(value, layers) for value in values)


def _read_stage(value: Mapping[str, Any], layers: int | None) -> Stage:
    """Return a checked stage. Raise ValueError for a relative layer where the model's depth is not known."""
    layer, keep, after, mass = value["layer"], value["keep"], None, None
    # {"after": "instruction_share", "below": 0.5, "from": 2, "to": 6}
    if isinstance(layer, Mapping):
        after = After(layer["after"], float(layer["below"]), _number(layer["to"], layers))
        layer = layer["from"]
    # {"mass": 0.9, "floor": 0.05, "ceiling": 0.5}
    if isinstance(keep, Mapping):
        mass = Mass(float(keep["mass"]), keep.get("floor", LEAST))
        keep = keep.get("ceiling", 1.0)
    return Stage(_number(layer, layers), keep, value["criterion"], mass, after)


def _number(layer: int | float, layers: int | None) -> int:
    """Return a layer's number. Raise ValueError for a share of a depth that is not known."""
    number = layer if layers is None else layer_at(layer, layers)
    if isinstance(number, float):
        raise ValueError(
            f"stages: layer {layer} is a share of a depth that is not known here; give the number of the layer"
        )
    return number


def _read_grid(value: object) -> tuple[int, int] | None:
    """Read rows and columns of image tokens; None is the image as it is."""
    if value is None:
        return None
    sides = list(value) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(is_whole(side) and side > 0 for side in sides):
        raise ValueError(f"image_grid: {value!r} is no grid of image tokens; give [rows, columns]")
    return sides[0], sides[1]
