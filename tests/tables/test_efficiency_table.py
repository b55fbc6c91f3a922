"""The table of time and memory, from made-up timings whose medians are known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from himap.figures import get as figure_named
from himap.files import write_text
from himap.paths import Paths
from himap.results import RANDOM_WEIGHTS
from himap.tables.efficiency import COLUMNS, forms, groups, median_interval, records

TITLE = "Efficiency"
RANDOM = "16 layers of width 768, 576 image and 95 text tokens"
SETTINGS: dict[str, Any] = {
    "models": {"llava": {"published": None}}, "benchmarks": ["scienceqa"], "order": ["vanilla", "himap"],
    "methods": {"vanilla": "Vanilla", "himap": "HiMAP"}, "random_weights": RANDOM,
}  # fmt: skip
PREFILL = {("vanilla", "flash"): 0.2, ("himap", "flash"): 0.1, ("vanilla", "eager"): 0.4}


def timing(method: str, kernel: str, size: int, number: int, drift: float) -> dict[str, Any]:
    """A batch on a machine that has slowed down by `drift`."""
    prefill = PREFILL[method, kernel] * size * drift
    scoring = 0.01 * drift * (method == "himap")
    return {
        "sample_id": "a", "method": method, "round": number, "batch_size": size, "seconds_vision": 0.05 * drift,
        "seconds_prefill": prefill, "seconds_scoring": scoring, "seconds_answer": 0.03, "steps": 3,
        "seconds_total": 0.05 * drift + prefill + 0.03, "image_tokens": 576.0, "text_tokens": 95.0,
        "tokens_per_layer": 216.0 if scoring else 576.0, "ideal_speedup": 2.5 if scoring else 1.0,
        "cache_mb": size * (30.0 if scoring else 66.0), "kernel": kernel, "peak_mb": 150.0, "tflops_formula": 0.174,
        "tflops_counted": 0.175, "device": "cpu",
    }  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six rounds of two methods and the eager kernel on a model and on random weights; the machine gets slower all the time."""
    rows = [
        timing(method, kernel, size, number, drift=1 + 0.5 * number)
        for size, number, (method, kernel) in itertools.product((1, 8), range(6), PREFILL)
    ]
    for file in (Paths(tmp_path).latency("llava", "scienceqa"), Paths(tmp_path).random_latency):
        write_text(file, pd.DataFrame(rows).to_csv(index=False))
    return tmp_path


def test_each_row_names_kernel_parts_and_how_much_of_the_ideal_is_reached(results: Path) -> None:
    frame = records(SETTINGS, str(results))
    assert len(frame) == 2 * 2 * 3  # places, batch sizes, rows
    row = frame[(frame["model"] == "llava") & (frame["batch_size"] == 8)].set_index(["method", "kernel"])
    himap, eager = row.loc[("himap", "flash")], row.loc[("vanilla", "eager")]
    assert himap["speedup"] == pytest.approx(2.0)  # in each round, though the machine is three times slower in the last
    assert (himap["speedup_low"], himap["speedup_high"]) == pytest.approx((2.0, 2.0))
    assert himap["share_of_ideal"] == pytest.approx(0.8)
    assert eager["speedup"] == pytest.approx(0.5)  # against the best kernel, never the other way round
    drift = 2.25
    assert himap["first_token_ms"] == pytest.approx(1000 * drift * (0.05 + 0.8))
    assert himap["prefill_ms"] + himap["scoring_ms"] == pytest.approx(1000 * drift * 0.8)
    assert himap["step_ms"] == pytest.approx(10)
    assert himap["answers_per_second"] == pytest.approx(8 / (drift * 0.85 + 0.03))
    assert himap["cache_mb"] == pytest.approx(30)  # of one prompt


def test_all_forms_mark_random_weights_and_keep_the_order_of_the_columns(results: Path) -> None:
    frame = records(SETTINGS, str(results))
    written = forms(frame, TITLE)
    assert set(written) == {"csv", "md", "tex", "html"}
    for form in ("md", "html", "tex"):
        assert RANDOM_WEIGHTS in written[form], form
        assert "eager" in written[form], form
    (_, rows), (name, _) = groups(frame)
    assert name.startswith(f"{RANDOM_WEIGHTS}, {RANDOM}")
    assert all(len(row) == len(COLUMNS) for row in rows)
    himap = dict(zip(COLUMNS, rows[2], strict=True))  # after both rows of the unpruned model
    assert (himap["method"], himap["batch"], himap["prefill faster"], himap["of the ideal"]) == (
        "HiMAP",
        "1",
        "2.00",
        "80 %",
    )


def test_figure_8_shows_random_weights_in_a_panel_of_their_own_and_no_batches(results: Path) -> None:
    frame = figure_named("figure8").numbers(SETTINGS, str(results))
    assert frame["seconds"].max() < 0.5 * 2.25 + 0.1  # neither a batch of 8 nor the eager kernel
    model, random = figure_named("figure8").panels(frame)
    assert model.model == "llava"
    assert random.title.startswith(RANDOM)
    assert random.group.startswith(RANDOM_WEIGHTS)


@pytest.mark.parametrize(
    ("count", "outside"),
    [(1, 0), (3, 0), (5, 0), (6, 0), (9, 1), (20, 5), (30, 9)],  # as tables of the sign test's interval have it
)
def test_the_interval_of_a_median_leaves_out_as_many_values_as_order_statistics_allow(count: int, outside: int) -> None:
    values = list(range(count))
    assert median_interval(values) == (outside, count - 1 - outside)
