"""Rank correlation with its interval."""

from __future__ import annotations

from math import atanh, sqrt, tanh
from typing import Any

import numpy as np

from himap.metrics.statistics import Array, students_t


def spearman(first: Any, second: Any) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where one of the two does not vary."""
    x, y = (mean_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def mean_ranks(values: Array) -> Array:
    """Return the rank of each value from 1 on, ties at their mean rank; NaN for all where one is NaN."""
    # not scipy's: importing its statistics takes longer than all the correlations of a question
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The cumulative count is the last rank of a group of ties, their mean lies (counts - 1) / 2 below it:
    # 3, 7, 7 have the ranks 1, 2.5, 2.5.
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def spearman_interval(rho: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rank correlation of n pairs (Bonett and Wright, 2000)."""
    if n < 4 or not abs(rho) < 1:  # n - 3 must be above 0, and atanh finite; NaN too ends here
        return float("nan"), float("nan")
    # On the scale of Fisher's z; 1 + rho²/2 is what Bonett and Wright put for the variance of ranks.
    half = students_t(level, None) * sqrt((1 + rho**2 / 2) / (n - 3))
    return tanh(atanh(rho) - half), tanh(atanh(rho) + half)
