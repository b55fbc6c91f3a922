"""Schedules that open questions compare: HiMAP's own, and others at equal cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.costs.formulas import flops
from himap.pruning.budget import Budget, meet
from himap.pruning.resolve import resolve

if TYPE_CHECKING:
    from himap.models.model import Model
    from himap.models.sizes import Dims
    from himap.pruning.stage import Schedule, Stage

REFERENCE, UNPRUNED = "himap", "unpruned"
EQUAL = 0.01  # by how much the cost of two schedules may differ


def reference(model: Model) -> Schedule:
    """Return HiMAP's schedule of this model for questions."""
    return resolve(REFERENCE, model.dims, model=model.name, schedules=model.extras.get("schedules"))


def of_equal_cost(dims: Dims, stages: tuple[Stage, ...], target: float) -> tuple[Stage, ...] | None:
    """Return stages that keep as much as costs the target's FLOPs; None where they must leave their layers or miss it."""
    try:
        found = meet(dims, stages, Budget("flops", target))
    except ValueError:  # below the least that these stages cost
        return None
    # `meet` moves stages toward the input where their layers are too deep for the budget: that would be another question
    moved = [stage.layer for stage in found] != [stage.layer for stage in stages]
    return None if moved or abs(flops(dims, found) / target - 1) > EQUAL else found
