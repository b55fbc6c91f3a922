"""Intervals cover, pairs sharpen, tests are exact, and all of it is fast and repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from himap.metrics import statistics
from himap.metrics.statistics import Estimate, interval, mcnemar, mean_of, paired
from scipy.stats import binomtest


def test_an_interval_of_a_mean_is_as_wide_as_theory_says():
    scores = np.random.default_rng(1).random(2000) < 0.75
    low, high = interval(mean_of(scores))
    expected = 1.96 * 100 * np.sqrt(scores.mean() * (1 - scores.mean()) / 2000)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.05)
    assert low < 100 * scores.mean() < high


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        low, high = interval(mean_of(generator.random(200) < 0.6), draws=400)
        covered += low <= 60 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval():
    estimate = mean_of(np.arange(50.0))
    assert interval(estimate) == interval(estimate)
    assert interval(estimate, seed=1) != interval(estimate)


def test_rows_of_a_cluster_are_drawn_together():
    scores = np.repeat(np.random.default_rng(3).random(100) < 0.5, 10).astype(float)
    clusters = np.repeat(np.arange(100), 10).astype(str)
    alone, together = interval(mean_of(scores)), interval(mean_of(scores, clusters=clusters))
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.15)


def test_a_stratum_keeps_its_size():
    values = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 7)
    estimate = Estimate(values, lambda sums: sums[..., 0] - sums[..., 1], strata=np.array(["a"] * 5 + ["b"] * 7))
    assert interval(estimate) == (-2.0, -2.0)
    free = Estimate(values, lambda sums: sums[..., 0] - sums[..., 1])
    assert interval(free)[0] < -2.0 < interval(free)[1]


def test_clusters_within_strata():
    values = np.ones((8, 1))
    clusters, strata = np.array(list("wwxxyyzz")), np.array(list("aaaabbbb"))
    assert interval(Estimate(values, lambda sums: sums[..., 0], clusters, strata)) == (8.0, 8.0)


def test_memory_is_bounded_by_drawing_in_pieces(monkeypatch):
    estimate = mean_of(np.random.default_rng(0).random(300))
    whole = interval(estimate, draws=100)
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 3000)
    assert list(statistics.pieces(100, 300)) == [10] * 10
    assert interval(estimate, draws=100) == pytest.approx(whole)


@pytest.mark.parametrize(("losses", "wins"), [(0, 0), (1, 0), (3, 9), (20, 20), (2, 30)])
def test_mcnemar_is_the_exact_binomial_test(losses: int, wins: int):
    first = np.array([1] * losses + [0] * wins + [1] * 5 + [0] * 5)
    second = np.array([0] * losses + [1] * wins + [1] * 5 + [0] * 5)
    expected = binomtest(losses, losses + wins).pvalue if losses + wins else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_a_paired_comparison_is_sharper_than_two_intervals():
    generator = np.random.default_rng(4)
    first = generator.random(1000)
    second = first + 0.02 + 0.01 * generator.standard_normal(1000)
    compared = paired(mean_of(first), mean_of(second))
    assert compared.difference == pytest.approx(2.0, abs=0.1)
    assert compared.interval[0] > 1.8
    assert compared.interval[1] < 2.2
    assert interval(mean_of(second))[0] < interval(mean_of(first))[1]
    assert compared.p_value < 0.001
    assert compared.test == "paired permutation"


def test_no_difference_has_a_large_p_value():
    scores = np.random.default_rng(5).random(200)
    compared = paired(mean_of(scores), mean_of(scores))
    assert (compared.difference, compared.interval, compared.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_permutation_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(6)
    p_values = []
    for _ in range(200):
        first, second = generator.random(60), generator.random(60)
        p_values.append(paired(mean_of(first), mean_of(second), draws=200).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.1
    assert 0.4 < np.mean(p_values) < 0.6


def test_right_and_wrong_is_compared_by_mcnemar():
    first, second = np.array([1, 1, 0, 0, 1.0]), np.array([1, 1, 1, 1, 1.0])
    compared = paired(mean_of(first, binary=True), mean_of(second, binary=True))
    assert compared.test == "McNemar exact"
    assert compared.p_value == pytest.approx(0.5)
    assert compared.difference == pytest.approx(40.0)


def test_swaps_are_made_by_cluster():
    first = np.zeros(40)
    second = np.repeat([1.0, 0.0, 1.0, 1.0], 10)
    clusters = np.repeat(np.arange(4), 10)
    compared = paired(mean_of(first, clusters=clusters), mean_of(second, clusters=clusters))
    assert compared.p_value == pytest.approx(0.25, abs=0.05)  # 3 clusters differ: 2 of 8 sign patterns are as extreme


def test_different_samples_are_not_compared():
    with pytest.raises(ValueError, match="5 and 4 samples pairwise"):
        paired(mean_of(np.ones(5)), mean_of(np.ones(4)))


def test_floors():
    assert statistics.floor_of_guessing([2, 4, 4]) == pytest.approx(100 / 3)
    assert statistics.floor_of_most_common(["A", "B", "B", "C"]) == 50.0
