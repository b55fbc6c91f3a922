"""Intervals of results, written once for every metric that is a function of sums over samples; paired.py compares two.

The random unit is a picture (a cluster), not a question. So every interval is computed from what each picture contributes
to the result: how far the result moves when the picture is replaced by the mean of the others (the jackknife). That is
exact for means and needs no random draws. Two kinds of interval follow:

* a result between 0 and `top` (a share, a mean of soft scores): Wilson's score interval, with the number of samples that
  would give the contributions' variance, and Student's t because pictures may be few. It has a width even at 0 and 100 %.
* a result without bounds: plus and minus Student's t times the standard error.

`measure_coverage.py` measures how often these intervals contain the truth; docs/statistics.md has its table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEVEL = 0.95  # of every interval of this project


@dataclass(frozen=True)
class Estimate:
    """A result that is `statistic` of the column sums of `values`.

    The rows of a cluster are one random unit (the questions about one picture). Variance is taken within each stratum,
    since strata have fixed sizes. `top` is the highest possible result, None if there is none; the lowest is 0. `binary`
    says that the result is a mean of right and wrong answers, for which McNemar's test is made.
    """

    values: Array  # [n, k]
    statistic: Callable[[Array], Array]  # [..., k] -> [...]
    clusters: Array | None = None  # [n] labels
    strata: Array | None = None  # [n] labels
    binary: bool = False
    top: float | None = None

    def point(self) -> float:
        """Return the result itself."""
        # A function of sums, so that a bootstrap, a swap or a jackknife only needs other sums and never the answers.
        return float(self.statistic(self.values.sum(axis=0)))

    @property
    def shared(self) -> bool:
        """Return whether some cluster has several rows."""
        return self.clusters is not None and len(np.unique(self.clusters)) < len(self.values)

    @property
    def pictures(self) -> int:
        """Return the number of clusters."""
        return len(self.values) if self.clusters is None else len(np.unique(self.clusters))


@dataclass(frozen=True)
class Contributions:
    """What each of m clusters contributes to a result: deviations whose mean square divided by m is its variance."""

    deviations: Array  # [m], of mean zero within each stratum
    strata: Array  # [m] integers

    @property
    def freedom(self) -> int:
        """Return the degrees of freedom: clusters less strata."""
        return len(self.strata) - int(self.strata.max()) - 1

    @property
    def variance(self) -> float:
        """Return the variance of the result as if its mean were known: divided by m, not by m - 1."""
        return float((self.deviations**2).sum()) / len(self.deviations) ** 2


def mean_of(
    scores: Any, scale: float = 100.0, clusters: Any = None, binary: bool = False, top: float | None = None
) -> Estimate:
    """Return the mean of a column of scores, times a scale; the scale is also its highest value unless `top` is given."""
    column = np.asarray(scores, dtype=np.float64)
    values = np.stack([column, np.ones_like(column)], axis=1)
    labels = None if clusters is None else np.asarray(clusters)
    top = scale if top is None else top
    return Estimate(values, lambda sums: scale * sums[..., 0] / sums[..., 1], labels, binary=binary, top=top)


def interval(estimate: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a result, NaN where the result is not finite."""
    parts = contributions(estimate, [estimate.values], lambda sums: estimate.statistic(sums[0]))
    result = estimate.point()
    if not np.isfinite(result):
        return float("nan"), float("nan")
    independent = estimate.binary and not estimate.shared  # the variance of right and wrong follows from their mean
    quantile = students_t(level, None if independent else parts.freedom)
    variance = parts.variance if independent else parts.variance * unbiased(parts)
    if estimate.top is not None:
        low, high = score_interval(result / estimate.top, variance / estimate.top**2, estimate.pictures, quantile)
        return low * estimate.top, high * estimate.top
    if variance == 0:  # nothing varied; but what n pictures never show may still be true of 3 in n (the rule of three)
        return spread_around(result, abs(result) * unseen(estimate.pictures, level))
    return spread_around(result, quantile * sqrt(variance))


def contributions(estimate: Estimate, matrices: Sequence[Array], statistic: Callable[[Any], Array]) -> Contributions:
    """Return how far the result moves when each cluster is replaced by the mean of the others in its stratum."""
    matrix = np.stack([cluster_sums(estimate, values) for values in matrices])  # [matrices, m, k]
    strata = pooled(cluster_strata(estimate, matrix.shape[1]))
    sizes = np.bincount(strata).astype(np.float64)[strata]  # [m], of each cluster's stratum
    if (sizes < 2).any():  # only possible if there is one cluster in all: nothing is known of others
        return Contributions(np.zeros(matrix.shape[1]), strata)
    total = matrix.sum(axis=1)  # [matrices, k]
    stratum_sums = [matrix[:, strata == stratum].sum(axis=1) for stratum in range(int(strata.max()) + 1)]
    within = np.stack(stratum_sums, axis=1)  # [matrices, strata, k]
    # The stratum without the cluster has sizes - 1 clusters; their mean takes its place: [matrices, m, k].
    others = (within[:, strata] - matrix * sizes[:, None]) / (sizes - 1)[:, None]
    moved = statistic(total) - statistic(total[:, None] + others)  # [m]
    moved = np.where(np.isfinite(moved), moved, 0.0)
    moved -= (np.bincount(strata, moved) / np.bincount(strata))[strata]  # of mean zero within each stratum
    return Contributions(moved * len(strata) * (sizes - 1) / sizes, strata)


def pooled(strata: Array) -> Array:
    """Return strata as integers; strata of a single cluster are merged, since one cluster has no variance."""
    _, labels, counts = np.unique(strata, return_inverse=True, return_counts=True)
    if len(counts) == 1:
        return labels
    alone = counts == 1
    if alone.sum() == 1:  # nothing to merge it with: it joins the smallest of the other strata
        alone[np.argmin(np.where(alone, counts.max() + 1, counts))] = True
    labels = np.where(alone[labels], len(counts), labels)
    return np.unique(labels, return_inverse=True)[1]


def unbiased(parts: Contributions) -> float:
    """Return the factor from a variance over m to one over the degrees of freedom."""
    return len(parts.strata) / parts.freedom if parts.freedom else 1.0


def score_interval(share: float, variance: float, pictures: int, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a share, for the number of independent samples that would give this variance.

    If the share has no variance (all right or all wrong), each picture counts as one sample.
    """
    if not np.isfinite(quantile):  # one picture
        return 0.0, 1.0
    # A share of n independent samples has variance p (1 - p) / n; solved for n it is the effective number of samples.
    n = share * (1 - share) / variance if variance > 0 and 0 < share < 1 else float(pictures)
    square = quantile**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = quantile * sqrt(max(0.0, share * (1 - share) / n + square / (4 * n * n))) / (1 + square / n)
    # At 0 and 1 the bound is the share itself; rounding must not put the share outside its own interval.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def share_interval(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval of a share of independent successes."""
    share = successes / n
    return score_interval(share, share * (1 - share) / n, n, students_t(level, None))


def spread_around(middle: float, half: float) -> tuple[float, float]:
    """Return middle minus half and middle plus half."""
    return middle - half, middle + half


def unseen(pictures: int, level: float = LEVEL) -> float:
    """Return the share of pictures that may differ although none of the seen ones does: the rule of three, for any level."""
    return float(1 - ((1 - level) / 2) ** (1 / pictures))


def students_t(level: float, freedom: int | None) -> float:
    """Return the two-sided quantile of Student's t; for None that of the normal distribution, for 0 infinity."""
    from scipy.special import ndtri, stdtrit

    middle = (1 + level) / 2
    if freedom is None:
        return float(ndtri(middle))
    return float(stdtrit(freedom, middle)) if freedom > 0 else inf


def mean_interval(values: Any, top: float | None = None, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a mean of independent values, which lie between 0 and `top` if that is given."""
    column = np.asarray(values, dtype=np.float64)
    return interval(Estimate(with_ones(column), lambda sums: sums[..., 0] / sums[..., 1], top=top), level)


def with_ones(column: Array) -> Array:
    """Return a column with a column of ones beside it, so that the mean is the quotient of their sums."""
    return np.stack([column, np.ones_like(column)], axis=1)


def mean_of_intervals(points: Sequence[float], edges: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean of independent results and its interval, whose sides combine theirs (Zou and Donner, 2008)."""
    middle = float(np.mean(points))
    # Each side combines its own distances, as standard errors add up in squares, so that the interval may be lopsided.
    below, above = (hypot(*(point - edge[side] for point, edge in zip(points, edges, strict=True))) for side in (0, 1))
    return middle, middle - below / len(points), middle + above / len(points)


def difference_of_intervals(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return second minus first of two independent results, each (point, low, high), and its interval."""
    # Zou and Donner: the difference is least where the second is at its lower edge and the first at its upper one.
    difference = second[0] - first[0]
    below = hypot(second[0] - second[1], first[2] - first[0])
    above = hypot(second[2] - second[0], first[0] - first[1])
    return difference, difference - below, difference + above


def cluster_sums(estimate: Estimate, values: Array) -> Array:
    """Return values [n, k] summed within each cluster: [clusters, k]."""
    if estimate.clusters is None:
        return values
    _, index = np.unique(estimate.clusters, return_inverse=True)
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)  # `sums[index] += values` would count a cluster's last row only
    return sums


def cluster_strata(estimate: Estimate, n: int) -> Array:
    """Return the stratum of each cluster, in the order of `cluster_sums`."""
    if estimate.strata is None:
        return np.zeros(n, dtype=np.int64)
    labels = np.unique(estimate.strata, return_inverse=True)[1]
    if estimate.clusters is None:
        return labels
    # A cluster lies within one stratum (an MME image in its subtask), so that its first row says which.
    first = np.unique(estimate.clusters, return_index=True)[1]
    return labels[first]


def floor_of_guessing(n_options: list[int]) -> float:
    """Return the accuracy in percent of guessing uniformly among each sample's options."""
    return 100.0 * float(np.mean([1 / n for n in n_options if n])) if n_options else float("nan")


def floor_of_most_common(answers: list[str]) -> float:
    """Return the accuracy in percent of always giving the most common answer."""
    _, counts = np.unique(np.asarray(answers, dtype=str), return_counts=True)
    return 100.0 * float(counts.max()) / len(answers) if len(answers) else float("nan")
