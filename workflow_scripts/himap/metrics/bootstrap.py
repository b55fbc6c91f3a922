"""Intervals by drawing pictures again, for results that no formula in `statistics` covers, such as differences of ratios of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from himap.metrics.paired import DRAWS, SEED
from himap.metrics.statistics import LEVEL

Array = NDArray[Any]


def bootstrap(groups: Sequence[Array], statistic: Callable[..., Array], seed: int = SEED) -> tuple[float, float, float]:
    """Return a statistic of the column means of groups of pictures, each [n, k], with its 95 % percentile interval.

    Each group is drawn again for itself, with replacement. `statistic` gets the means [..., k] of every group and returns [...].
    """
    generator = np.random.default_rng(seed)
    drawn = []
    for group in groups:
        weights = generator.multinomial(len(group), np.full(len(group), 1 / len(group)), size=DRAWS)  # [draws, n]
        drawn.append(weights @ group / len(group))  # [draws, k]
    values = np.asarray(statistic(*drawn), dtype=float)
    # A draw in which the statistic divides by 0 is NaN and is left out.
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(statistic(*(group.mean(axis=0) for group in groups))), float(low), float(high)
