"""Bootstrap intervals and paired tests, written once for every metric that is a function of sums over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import comb, hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DRAWS = 2000
SEED = 0
CELLS_AT_ONCE = 8_000_000  # how many resampled positions are held in memory together


@dataclass(frozen=True)
class Estimate:
    """A result that is `statistic` of the column sums of `values`.

    Rows of one cluster are drawn together (the questions of one image); drawing stays within a stratum, so that its
    size does not change. `binary` says that the result is the mean of right and wrong, which McNemar's test is for.
    """

    values: Array  # [n, k]
    statistic: Callable[[Array], Array]  # [..., k] -> [...]
    clusters: Array | None = None  # [n] labels
    strata: Array | None = None  # [n] labels
    binary: bool = False

    def point(self) -> float:
        """The result itself."""
        return float(self.statistic(self.values.sum(axis=0)))


@dataclass(frozen=True)
class Comparison:
    """Two results on the same samples: second minus first, 95 % interval, p value of no difference and its test."""

    difference: float
    interval: tuple[float, float]
    p_value: float
    test: str
    n: int


def mean_of(scores: Any, scale: float = 100.0, clusters: Array | None = None, binary: bool = False) -> Estimate:
    """The mean of a column of scores, times a scale."""
    column = np.asarray(scores, dtype=np.float64)
    values = np.stack([column, np.ones_like(column)], axis=1)
    return Estimate(values, lambda sums: scale * sums[..., 0] / sums[..., 1], clusters, binary=binary)


def interval(estimate: Estimate, draws: int = DRAWS, seed: int = SEED, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of an estimate."""
    return percentiles(resampled(estimate, [estimate.values], draws, seed)[0], level)


def paired(first: Estimate, second: Estimate, draws: int = DRAWS, seed: int = SEED, level: float = 0.95) -> Comparison:
    """Second minus first on the same samples in the same order, by resampling the same samples of both."""
    if first.values.shape != second.values.shape:
        raise ValueError(
            f"cannot compare results of {len(first.values)} and {len(second.values)} samples pairwise; "
            "score both on the same"
        )
    before, after = resampled(first, [first.values, second.values], draws, seed)
    difference = second.point() - first.point()
    if first.binary and second.binary:
        p_value, test = mcnemar(first.values[:, 0], second.values[:, 0]), "McNemar exact"
    else:
        p_value, test = swap_test(first, second, draws, seed), "paired permutation"
    return Comparison(difference, percentiles(after - before, level), p_value, test, len(first.values))


def mcnemar(first: Array, second: Array) -> float:
    """Exact two-sided McNemar test: are the samples that just one method gets right split evenly between the two?"""
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return sign_test(int((first & ~second).sum()), int((second & ~first).sum()))


def sign_test(losses: int, wins: int) -> float:
    """Two-sided binomial test with probability one half."""
    n, smaller = losses + wins, min(losses, wins)
    tail = sum(comb(n, k) for k in range(smaller + 1))
    return min(1.0, float(2 * tail / 2**n)) if n else 1.0


def swap_test(first: Estimate, second: Estimate, draws: int = DRAWS, seed: int = SEED) -> float:
    """Permutation test: how often do methods swapped at random, cluster by cluster, differ at least as much?"""
    a, b = cluster_sums(first, first.values), cluster_sums(first, second.values)  # [m, k]
    observed = abs(second.point() - first.point())
    generator = np.random.default_rng(seed)
    extreme, tolerance = 0, 1e-9 * max(1.0, observed)
    for size in pieces(draws, len(a)):
        swapped = generator.integers(0, 2, size=(size, len(a))).astype(np.float64)  # [draws, m]
        moved = swapped @ (b - a)
        extreme += int(
            (
                np.abs(first.statistic(b.sum(0) - moved) - first.statistic(a.sum(0) + moved)) >= observed - tolerance
            ).sum()
        )
    return (extreme + 1) / (draws + 1)


def resampled(estimate: Estimate, matrices: list[Array], draws: int, seed: int) -> list[Array]:
    """Bootstrap distribution of the statistic for each matrix of values, all with the same draws of clusters."""
    matrix = np.concatenate([cluster_sums(estimate, values) for values in matrices], axis=1)  # [m, k * matrices]
    strata = cluster_strata(estimate, len(matrix))
    groups = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    generator = np.random.default_rng(seed)
    sums = []
    for size in pieces(draws, len(matrix)):
        total = np.zeros((size, matrix.shape[1]))
        for members in groups:
            total += draw_counts(generator, size, len(members)) @ matrix[members]
        sums.append(total)
    width = estimate.values.shape[1]
    total = np.concatenate(sums)
    return [estimate.statistic(total[:, start : start + width]) for start in range(0, total.shape[1], width)]


def draw_counts(generator: np.random.Generator, size: int, n: int) -> Array:
    """How often each of n units appears in each of `size` resamples of n units: [size, n]."""
    drawn = generator.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def pieces(draws: int, width: int) -> Iterator[int]:
    """Sizes of the portions in which the draws are made, so that memory stays bounded."""
    step = max(1, CELLS_AT_ONCE // max(1, width))
    for start in range(0, draws, step):
        yield min(step, draws - start)


def cluster_sums(estimate: Estimate, values: Array) -> Array:
    """Values summed within each cluster: [clusters, k]."""
    if estimate.clusters is None:
        return values
    _, index = np.unique(estimate.clusters, return_inverse=True)
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def cluster_strata(estimate: Estimate, n: int) -> Array:
    """The stratum of each cluster, in the order of cluster_sums."""
    if estimate.strata is None:
        return np.zeros(n, dtype=np.int64)
    labels = np.unique(estimate.strata, return_inverse=True)[1]
    if estimate.clusters is None:
        return labels
    first = np.unique(estimate.clusters, return_index=True)[1]
    return labels[first]


def percentiles(values: Array, level: float) -> tuple[float, float]:
    """The middle `level` of a distribution; draws without a defined value are left out."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def error_of_mean(errors: Iterable[float]) -> float:
    """The standard error of a mean of independent values that have these standard errors."""
    held = list(errors)
    return hypot(*held) / max(1, len(held))


def floor_of_guessing(n_options: list[int]) -> float:
    """Accuracy in percent of guessing uniformly among each sample's options."""
    return 100.0 * float(np.mean([1 / n for n in n_options if n])) if n_options else float("nan")


def floor_of_most_common(answers: list[str]) -> float:
    """Accuracy in percent of always giving the commonest answer."""
    _, counts = np.unique(np.asarray(answers, dtype=str), return_counts=True)
    return 100.0 * float(counts.max()) / len(answers) if len(answers) else float("nan")
