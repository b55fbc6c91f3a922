"""Two methods on the same samples: the interval of their difference and a test for no difference.

The interval is that of a result without bounds after one picture won and one lost are added (Bonett and Price, 2012), so
that it is not empty for methods that never differ: it is then about 3 over the number of pictures wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np

from himap.metrics.statistics import (
    LEVEL,
    Array,
    Estimate,
    cluster_sums,
    contributions,
    spread_around,
    students_t,
)

DRAWS = 2000  # the smallest p value is then 1/2001
SEED = 0  # fixed, so that the same samples always give the same p value
ENUMERATED = 12  # up to this many pictures that differ, all swaps are tried: at most 4096
CELLS_AT_ONCE = 8_000_000  # how many cells of random swaps are in memory at a time


@dataclass(frozen=True)
class Comparison:
    """Second minus first result on the same samples, its 95 % interval, and the p value of a test for no difference.

    `least` is the smallest p value that the test can give with the number of pictures that differ here.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    test: str  # "McNemar exact" or "paired permutation"
    n: int
    pictures: int
    least: float = 0.0


def paired(first: Estimate, second: Estimate, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL) -> Comparison:
    """Return second minus first on the same samples in the same order, compared picture by picture."""
    if first.values.shape != second.values.shape:
        raise ValueError(
            f"cannot compare results of {len(first.values)} and {len(second.values)} samples pairwise; "
            "score both on the same"
        )
    difference = second.point() - first.point()
    changed = int(changed_clusters(first, second).sum())
    if both_binary(first, second):
        p_value, test = mcnemar(first.values[:, 0], second.values[:, 0]), "McNemar exact"
        least = least_p(changed)
    else:
        p_value, test = swap_test(first, second, draws, seed), "paired permutation"
        least = least_p(changed, draws)
    edges = paired_interval(first, second, level)
    return Comparison(difference, edges, p_value, test, len(first.values), first.pictures, least)


def paired_interval(first: Estimate, second: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of second minus first, after pictures that one of the two wins outright are added.

    The fewer pictures differ, the less their variance says about pictures that were not seen. So up to one picture won
    and one lost are added: two if no picture differs, none if all do. Their size is the root mean square of the pictures
    that differ, or the largest possible difference if none does.
    """
    parts = contributions(
        first, [first.values, second.values], lambda sums: second.statistic(sums[1]) - first.statistic(sums[0])
    )
    difference = second.point() - first.point()
    if not np.isfinite(difference):
        return float("nan"), float("nan")
    # Deviations have mean zero; with the difference added they say about what each picture alone would give.
    single = (parts.deviations + difference)[changed_clusters(first, second)]
    most = first.top if first.top is not None else max(abs(first.point()), abs(second.point()))
    size = sqrt(float((single**2).mean())) if (single != 0).any() else most
    m = len(parts.deviations)  # pictures that were seen
    added = 2 * (1 - len(single) / m)
    whole = m + added  # pictures, with those that were added
    # Variance around the mean of all `whole` pictures: half of the added ones lie at +size and half at -size, so they
    # leave the sum as it is and pull the mean from `difference` to difference * m / whole.
    squares = float((parts.deviations**2).sum()) + added * size**2
    variance = squares / whole + added * m * difference**2 / whole**2
    if both_binary(first, second):
        quantile = students_t(level, None)
    elif parts.freedom:
        quantile, variance = students_t(level, parts.freedom), variance * whole / (whole - 1)
    else:  # one picture
        return -most, most
    return spread_around(difference * m / whole, quantile * sqrt(variance / whole))


def both_binary(first: Estimate, second: Estimate) -> bool:
    """Return whether two results are of independent right and wrong answers."""
    return first.binary and second.binary and not first.shared


def changed_clusters(first: Estimate, second: Estimate) -> Array:
    """Return which clusters differ between two results."""
    # By all columns: two wrong answers may count differently, as a false yes and a false no do in F1.
    changed: Array = (cluster_sums(first, first.values) != cluster_sums(first, second.values)).any(axis=1)
    return changed


# ---- tests


def mcnemar(first: Array, second: Array) -> float:
    """Return the p value of McNemar's exact two-sided test: do both methods win equally many of the samples that differ?"""
    # Only samples that one of the two wins say anything; those that both have right or wrong drop out.
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return sign_test(int((first & ~second).sum()), int((second & ~first).sum()))


def sign_test(losses: int, wins: int) -> float:
    """Return the p value of the two-sided binomial test with probability one half."""
    n, smaller = losses + wins, min(losses, wins)
    tail = sum(comb(n, k) for k in range(smaller + 1))
    return min(1.0, float(2 * tail / 2**n)) if n else 1.0  # whole numbers until here, so that n may be large


def swap_test(first: Estimate, second: Estimate, draws: int = DRAWS, seed: int = SEED) -> float:
    """Return the p value of a permutation test: how often methods swapped picture by picture differ at least as much.

    All swaps are tried if few pictures differ, else random ones.
    """
    a, b = cluster_sums(first, first.values), cluster_sums(first, second.values)  # [m, k]
    start, gap = a.sum(0), (b - a)[(a != b).any(axis=1)]  # swapping a picture that is the same changes nothing
    end = b.sum(0)
    observed = abs(second.point() - first.point())
    tolerance = 1e-9 * max(1.0, observed)  # equal differences must count as equal whatever the order of summing
    extreme = count = 0
    for swapped in swaps(len(gap), draws, seed):
        moved = swapped @ gap  # [draws, k]: what goes from one method to the other
        extreme += int(
            (np.abs(first.statistic(end - moved) - first.statistic(start + moved)) >= observed - tolerance).sum()
        )
        count += len(swapped)
    drawn = int(len(gap) > ENUMERATED)  # the observed assignment is itself one of those that could be drawn
    return (extreme + drawn) / (count + drawn)


def swaps(m: int, draws: int, seed: int) -> Iterator[Array]:
    """Yield blocks of 0 and 1 [draws, m] that say which of m pictures are swapped: every way once if m is small, else random."""
    if m <= ENUMERATED:
        yield ((np.arange(2**m)[:, None] >> np.arange(m)) & 1).astype(np.float64)  # the binary digits of 0 to 2^m - 1
        return
    generator = np.random.default_rng(seed)
    for size in pieces(draws, m):
        yield generator.integers(0, 2, size=(size, m)).astype(np.float64)


def least_p(changed: int, draws: int | None = None) -> float:
    """Return the smallest p value of a two-sided test in which `changed` pictures differ, with `draws` if swaps are drawn."""
    exact = min(1.0, 2.0 ** (1 - min(changed, 60)))  # smaller ones are all shown as < 0.001
    return exact if draws is None or changed <= ENUMERATED else max(exact, 1 / (draws + 1))


def pieces(draws: int, width: int) -> Iterator[int]:
    """Yield the sizes of the blocks in which swaps are drawn, so that memory stays bounded."""
    step = max(1, CELLS_AT_ONCE // max(1, width))
    for start in range(0, draws, step):
        yield min(step, draws - start)
