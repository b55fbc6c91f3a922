"""Rank correlation with its interval."""

from __future__ import annotations

from math import atanh, sqrt, tanh
from typing import Any

import numpy as np

from himap.metrics.statistics import students_t


def spearman(first: Any, second: Any) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if any(np.ptp(values) == 0 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def spearman_interval(rho: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rank correlation of n pairs (Bonett and Wright, 2000)."""
    if n < 4 or not abs(rho) < 1:
        return float("nan"), float("nan")
    half = students_t(level, None) * sqrt((1 + rho**2 / 2) / (n - 3))
    return tanh(atanh(rho) - half), tanh(atanh(rho) + half)
