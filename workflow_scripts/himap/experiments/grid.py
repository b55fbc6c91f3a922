"""A grid of two-stage schedules: every combination of a shallow and a later, deep stage, and the unpruned model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from himap.pruning.resolve import Point, two_stages
from himap.pruning.stage import Schedule, Stage

if TYPE_CHECKING:
    from himap.experiments.answers import AnswerRow
    from himap.models.sizes import Dims


NOWHERE: Point = (0, 1.0)  # both points of the unpruned model: all tokens stay before the first layer


class GridRow(TypedDict):
    """A line of a grid's result file; `r1` and `r2` are shares of all image tokens."""

    sample_id: str
    k1: int
    r1: float
    k2: int
    r2: float
    prediction: str


@dataclass(frozen=True)
class Grid:
    """Every combination of a shallow stage (k1, r1) and a later, deep stage (k2, r2)."""

    k1: Sequence[int]  # layers
    r1: Sequence[float]  # shares of the image tokens that stay
    k2: Sequence[int]
    r2: Sequence[float]  # shares of what the shallow stage left
    criteria: Sequence[str] = ("instruction_attention", "image_attention")  # of the shallow and of the deep stage

    def schedules(self, dims: Dims) -> dict[Schedule, tuple[Point, Point]]:
        """Return each schedule with its two points, the unpruned one first; raise ValueError for a stage that does not fit the model."""
        pairs = two_stages(self.k1, self.r1, self.k2, self.r2)
        schedules = {Schedule(self.stages(*pair), name=f"{pair[0]} {pair[1]}"): pair for pair in pairs}
        if not schedules:
            raise ValueError("the grid has no schedule whose deep stage comes after its shallow one")
        for schedule in schedules:
            schedule.check(dims)
        # what the losses of all others are measured from, on the same samples
        return {Schedule((), name="unpruned"): (NOWHERE, NOWHERE), **schedules}

    def stages(self, shallow: Point, deep: Point) -> tuple[Stage, Stage]:
        """Return one schedule's stages; a share written as `1` is a share here, never a count of one token."""
        first, second = self.criteria
        return Stage(shallow[0], float(shallow[1]), first), Stage(deep[0], float(deep[1]), second)


def grid_row(answer: AnswerRow, shallow: Point, deep: Point) -> GridRow:
    """Return an answer under a grid's schedule as a line of the result file."""
    (k1, r1), (k2, r2) = shallow, deep
    return {
        "sample_id": answer["sample_id"],
        "k1": k1,
        "r1": r1,
        "k2": k2,
        "r2": r2,
        "prediction": answer["prediction"],
    }
