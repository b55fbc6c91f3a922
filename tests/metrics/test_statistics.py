"""Intervals cover, pairs sharpen, tests are exact, and all of it is fast and repeatable."""

from __future__ import annotations

from pathlib import Path

import measure_coverage
import numpy as np
import pytest
from himap.metrics import paired as pairs
from himap.metrics import statistics
from himap.metrics.paired import mcnemar, paired
from himap.metrics.statistics import Estimate, interval, mean_of
from scipy.stats import binomtest


def test_an_interval_of_a_mean_is_as_wide_as_theory_says():
    scores = np.random.default_rng(1).random(2000) < 0.75
    low, high = interval(mean_of(scores))
    expected = 1.96 * 100 * np.sqrt(scores.mean() * (1 - scores.mean()) / 2000)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.05)
    assert low < 100 * scores.mean() < high


@pytest.mark.parametrize("pictures", measure_coverage.PICTURES)
@pytest.mark.parametrize("simulated", measure_coverage.SIMULATIONS)
@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say(simulated: str, pictures: int):
    coverage = measure_coverage.measure(measure_coverage.SIMULATIONS[simulated], pictures, sets=1500, seed=1)
    least = 0.93 - 3 * (0.95 * 0.05 / 1500) ** 0.5
    few_differ = "pair" in simulated and pictures < 60  # then no test of whole numbers can be as sharp as 0.95
    # Near a ceiling eight pictures get intervals that are too wide, never too narrow (docs/statistics.md says so).
    near_ceiling = 0.99 if pictures == 8 and simulated.startswith("share near 0.9,") else 0.985
    most = 1.0 if few_differ or (pictures, simulated[:15]) == (8, "share near 0.98") else near_ceiling
    assert least <= coverage <= most


@pytest.mark.slow
@pytest.mark.parametrize(("simulated", "pictures"), [("soft accuracy", 8), ("pair: 15 % lost, 15 % won", 20)])
def test_the_coverage_in_the_documentation_is_what_the_script_measures(simulated: str, pictures: int):
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {simulated} |"))
    printed = line.strip("| ").split(" | ")[1 + measure_coverage.PICTURES.index(pictures)]
    draw = measure_coverage.SIMULATIONS[simulated]
    assert printed == f"{measure_coverage.measure(draw, pictures, sets=4000, seed=0):.3f}"


def test_the_script_writes_its_table_into_the_page_and_leaves_the_rest(tmp_path: Path):
    page = tmp_path / "statistics.md"
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    page.write_text(text)
    measure_coverage.main(["--sets", "2", "--write", str(page)])
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == len(measure_coverage.SIMULATIONS) + 2
    outside = [
        part
        for whole in (text, page.read_text())
        for part in (whole.split("<!-- coverage")[0], whole.split("end -->")[1])
    ]
    assert outside[:2] == outside[2:]


def test_few_pictures_with_several_questions_each_are_not_taken_for_many():
    coverage = measure_coverage.measure(measure_coverage.share(0.5, 18), 8, sets=300, seed=2)
    assert coverage >= 0.92  # 0.87 by drawing eight pictures again and again


def test_what_never_varied_still_has_a_width():
    all_right, all_wrong = np.ones(10), np.zeros(10)
    assert interval(mean_of(all_right, binary=True)) == pytest.approx((72.2, 100.0), abs=0.1)  # Wilson
    assert interval(mean_of(all_wrong, top=1000.0))[0] == 0.0
    assert interval(mean_of(all_wrong, top=1000.0))[1] > 250
    pictures = np.repeat(np.arange(8), 9)
    low, high = interval(mean_of(np.ones(72), clusters=pictures, binary=True))
    assert (low, high) == (pytest.approx(58.9, abs=0.5), 100.0)  # eight pictures, not 72 answers
    one = Estimate(np.ones((20, 1)), lambda sums: sums[..., 0] / 20)
    assert interval(one) == pytest.approx((1 - 0.168, 1 + 0.168), abs=0.001)


@pytest.mark.parametrize(("n", "half"), [(8, 27.7), (100, 2.72), (2017, 0.137)])
def test_answers_that_never_differ_leave_a_doubt_of_about_three_over_n(n: int, half: float):
    scores = np.resize([1.0, 0.0], n)
    compared = paired(mean_of(scores, binary=True), mean_of(scores, binary=True))
    assert (compared.difference, compared.p_value, compared.least) == (0.0, 1.0, 1.0)
    assert compared.interval == pytest.approx((-half, half), rel=0.01)


def test_no_p_value_lies_below_the_least_that_the_pictures_can_give():
    pictures = np.repeat(np.arange(8), 18)
    generator = np.random.default_rng(1)
    first = generator.random(144) < 0.3
    second = first | (generator.random(144) < 0.5)
    compared = paired(mean_of(first, clusters=pictures), mean_of(second, clusters=pictures))
    assert compared.test == "paired permutation"
    assert (compared.p_value, compared.least) == (2 / 256, 2 / 256)
    assert compared.pictures == 8


def test_a_stratum_of_one_picture_adds_to_the_width():
    values, strata = np.array([[5.0], [9.0], [1.0], [4.0]]), np.array(list("abcc"))
    low, high = interval(Estimate(values, lambda sums: sums[..., 0], strata=strata))
    assert high - low > 2 * 4


def test_rows_of_a_cluster_are_drawn_together():
    scores = np.repeat(np.random.default_rng(3).random(100) < 0.5, 10).astype(float)
    clusters = np.repeat(np.arange(100), 10).astype(str)
    alone, together = interval(mean_of(scores)), interval(mean_of(scores, clusters=clusters))
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.15)


def test_a_stratum_keeps_its_size():
    values = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 7)
    held = Estimate(values, lambda sums: sums[..., 0] - sums[..., 1], strata=np.array(["a"] * 5 + ["b"] * 7))
    free = Estimate(values, lambda sums: sums[..., 0] - sums[..., 1])
    assert interval(free)[1] - interval(free)[0] > 4 * (interval(held)[1] - interval(held)[0])


def test_swaps_are_drawn_in_pieces_so_that_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(pairs, "CELLS_AT_ONCE", 3000)
    assert list(pairs.pieces(100, 300)) == [10] * 10
    assert [len(part) for part in pairs.swaps(300, 100, 0)] == [10] * 10


def test_the_same_samples_always_give_the_same_interval_and_p_value():
    first, second = np.arange(50.0) / 50, np.roll(np.arange(50.0), 3) / 50
    assert paired(mean_of(first), mean_of(second)) == paired(mean_of(first), mean_of(second))


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
    assert (compared.difference, compared.p_value) == (0.0, 1.0)
    assert compared.interval[0] < 0 < compared.interval[1]


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
    assert compared.p_value == 0.25  # 3 clusters differ: 2 of 8 sign patterns are as extreme


def test_different_samples_are_not_compared():
    with pytest.raises(ValueError, match="5 and 4 samples pairwise"):
        paired(mean_of(np.ones(5)), mean_of(np.ones(4)))


def test_floors():
    assert statistics.floor_of_guessing([2, 4, 4]) == pytest.approx(100 / 3)
    assert statistics.floor_of_most_common(["A", "B", "B", "C"]) == 50.0
