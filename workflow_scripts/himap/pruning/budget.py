"""Schedules that meet a budget: a mean number of image tokens, or the FLOPs of another method.

A budget is met by every form of method. Stages keep their layers, and all their shares are raised to one power: that
keeps their order, reaches everything between all tokens and one, and turns PyramidDrop's 1/2, 1/4, 1/8 into λ, λ², λ³ as
its author does. `budget_by: layers` moves the layers first, for methods whose shares say nothing (VTW keeps none).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from statistics import fmean

from himap.costs.formulas import Drop, flops, image_tokens_per_layer, keep_count
from himap.models.sizes import Dims
from himap.pruning.stage import Stage

HALVINGS = 60  # of an interval, to the precision of a double
LARGEST_POWER = 64.0  # beyond which every share but 1 is a single token


@dataclass(frozen=True)
class Budget:
    """What a schedule is to cost on a model: `target` image tokens in the mean of the layers, or FLOPs of the prefill."""

    unit: str  # "tokens" or "flops"
    target: float

    def cost(self, dims: Dims, stages: Sequence[Drop], n_image: int | None = None) -> float:
        """Return what stages cost, in the budget's unit."""
        if self.unit == "flops":
            return flops(dims, stages, n_image=n_image)
        return mean_tokens(dims, stages, n_image)

    def miss(self, dims: Dims, stages: Sequence[Drop], n_image: int | None = None) -> float:
        """Return how far stages are from the target."""
        return abs(self.cost(dims, stages, n_image) - self.target)


def mean_tokens(dims: Dims, stages: Sequence[Drop], n_image: int | None = None) -> float:
    """Return the image tokens that enter a layer, in the mean of all layers that look at them."""
    tokens = image_tokens_per_layer(dims, stages, dims.tokens_per_image if n_image is None else n_image)
    return fmean(tokens[layer] for layer in dims.cross or range(dims.layers))


def token_budget(value: object, dims: Dims) -> Budget:
    """Return the budget of a mean number of image tokens: a count, a share, or a fraction as text ("1/3")."""
    total, wrong = dims.tokens_per_image, f"tokens_of: {value!r} is no number of image tokens"
    way = f"give a count from 1 to {total}, or a share such as 0.25 or 1/3"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{wrong}; {way}")
    try:
        # reads numbers and texts such as "1/3"; ZeroDivisionError is "1/0", OverflowError infinity
        number = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{wrong}; {way}") from None
    # 192 is a count and 1 one token; "1/3" and 0.25 are shares of the model's tokens
    target = float(number) if isinstance(value, int) else float(number * total)
    if not 1 <= target <= total:
        raise ValueError(f"tokens_of: {value!r} is {target:g} image tokens of a model that has {total}; {way}")
    return Budget("tokens", target)


# ---- stages


def meet(dims: Dims, stages: tuple[Stage, ...], budget: Budget, *, by_layers: bool = False) -> tuple[Stage, ...]:
    """Return the stages whose cost is nearest to a budget. Raise ValueError if no layers and shares reach it."""
    if not stages:
        raise ValueError("a method that drops nothing meets no budget; give it stages")
    for index, stage in enumerate(stages):
        if not stage.is_fixed:
            raise ValueError(
                f"stages[{index}]: each input finds its own layer or number of tokens, so no formula meets a budget; "
                "leave out `flops_of` and `tokens_of`, and choose `mass` and `below` by what validation samples keep"
            )
    if by_layers:
        stages = min(_at_depths(stages, dims.layers - 2, dims), key=lambda moved: budget.miss(dims, moved))
    # VTW: a share of 0 stays 0 under any power, so only its layer can meet the budget
    if all(stage.keep == 0 for stage in stages):
        return stages
    # layers too deep for the budget move toward the input, as little as needed
    depths = _at_depths(stages, stages[-1].layer, dims)
    # cost falls as stages move toward the input, and `depths` begins with the deepest
    reachable = (moved for moved in [stages, *depths] if _least(dims, moved, budget) <= budget.target)
    moved = next(reachable, None)
    if moved is None:
        least = _least(dims, [stages, *depths][-1], budget)
        raise ValueError(
            f"a budget of {budget.target:g} {budget.unit} is below {least:g}, the least that stages after the first layer cost; "
            "give a larger budget"
        )
    return _nearest(lambda power: _to_power(dims, moved, power), dims, budget)


def _least(dims: Dims, stages: tuple[Stage, ...], budget: Budget) -> float:
    """Return what stages cost if almost nothing is kept."""
    return budget.cost(dims, _to_power(dims, stages, LARGEST_POWER))


def _to_power(dims: Dims, stages: tuple[Stage, ...], power: float) -> tuple[Stage, ...]:
    """Return stages with all shares raised to a power, each a whole number of tokens."""
    total = dims.tokens_per_image
    shares = [keep_count(stage.keep, total) / total for stage in stages]
    counts = [0 if share == 0 else max(1, int(total * share**power + 0.5)) for share in shares]
    # as shares again: a prompt with two pictures has twice as many tokens
    return tuple(
        replace(stage, keep=count / total if count else 0) for stage, count in zip(stages, counts, strict=True)
    )


def _nearest(stages_at: Callable[[float], tuple[Stage, ...]], dims: Dims, budget: Budget) -> tuple[Stage, ...]:
    """Return the stages nearest to a budget; their cost falls as the power grows, so bisection finds them."""
    low, high = 0.0, LARGEST_POWER
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if budget.cost(dims, stages_at(middle)) > budget.target:
            low = middle
        else:
            high = middle
    # counts are whole numbers, so the cost jumps over the target: the nearer side counts
    return min(stages_at(low), stages_at(high), key=lambda stages: budget.miss(dims, stages))


def _at_depths(stages: tuple[Stage, ...], deepest: int, dims: Dims) -> list[tuple[Stage, ...]]:
    """Return the stages with their last at every layer up to `deepest`, the deepest first, and the others moved in proportion."""
    last = max(1, stages[-1].layer)
    return [
        at_layers(stages, [stage.layer * depth / last for stage in stages], dims)
        for depth in range(deepest, len(stages) - 1, -1)
    ]


def at_layers(stages: Sequence[Stage], layers: Sequence[float], dims: Dims) -> tuple[Stage, ...]:
    """Return stages at other layers, rounded, in their order and inside the model; what was at layer 0 stays there."""
    moved: list[Stage] = []
    for index, (stage, layer) in enumerate(zip(stages, layers, strict=True)):
        # one layer for each stage, in order; a stage at layer 0 is one before the decoder
        lowest = moved[-1].layer + 1 if moved else min(1, stage.layer)
        # not the last layer, and room for the stages that follow
        highest = dims.layers - 2 - (len(stages) - 1 - index)
        moved.append(replace(stage, layer=min(max(lowest, int(layer + 0.5)), highest)))
    return tuple(moved)


# ---- the forms that have a budget alone


@cache
def nearest_grid(dims: Dims, budget: Budget) -> tuple[int, int]:
    """Return the smaller grid of image tokens, in the proportions of the model's own, whose cost is nearest to the budget."""
    rows, columns = dims.grid
    # row counts decide; columns follow in proportion
    grids = [(side, max(1, round(columns * side / rows))) for side in range(1, rows + 1)]
    return min(grids, key=lambda grid: budget.miss(dims, [], grid[0] * grid[1]))


@cache
def count_before(dims: Dims, budget: Budget) -> int | float:
    """Return how many tokens enter the decoder at a cost nearest to the budget, as a stage's `keep`."""
    counts = range(1, dims.tokens_per_image + 1)
    return _kept(dims, min(counts, key=lambda count: budget.miss(dims, [Drop(0, count)])))


def geometric(dims: Dims, share: float) -> list[Drop]:
    """Return stages that keep, at every layer after the first that meets image tokens, the same share of what was left before."""
    # the first layer has to look at all tokens before attention can rank them
    first = 1 + (dims.cross[0] if dims.cross else 0)
    counts = [keep_count(share ** (number + 1), dims.tokens_per_image) for number in range(dims.layers - 1 - first)]
    return [Drop(layer, _kept(dims, count)) for layer, count in enumerate(counts, start=first)]


def _kept(dims: Dims, count: int) -> int | float:
    """Return a count of a typical picture's tokens as a stage's `keep`: as a share of them where pictures differ."""
    return count / dims.tokens_per_image if dims.varies else count


@cache
def share_per_layer(dims: Dims, budget: Budget) -> float:
    """Return the share, kept at every layer, that spends the budget; cost grows with the share, so bisection finds it."""
    low, high = 0.0, 1.0
    for _ in range(50):  # to the precision of a double
        middle = (low + high) / 2
        if budget.cost(dims, geometric(dims, middle)) > budget.target:
            high = middle
        else:
            low = middle
    return low
