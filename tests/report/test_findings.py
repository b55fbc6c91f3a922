"""The sentences of the first screen are chosen by their rules, and the files inside the page by the room that is left."""

from __future__ import annotations

import io
import re
import zipfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from himap.decoder.bitmaps import to_bitmap
from himap.files import write_text
from himap.metrics.paired import Comparison
from himap.paths import Paths
from himap.report import archive, gallery, kept_maps
from himap.report.findings import findings
from himap.report.tradeoff import tradeoff_panels
from himap.results import Results

TASKS = {"vqav2": "VQAv2", "textvqa": "TextVQA", "pope": "POPE"}
METHODS = {"vanilla": "Vanilla", "fastv": "FastV", "himap": "HiMAP"}


class MadeUp(Results):
    """Results of which only scores, paired differences (points, p value) and times are known."""

    def __init__(self, folder: Path, scores: dict[str, dict[str, float]], p: float = 0.001) -> None:
        cells = [["mini", task, method] for method in scores for task in scores[method]]
        facts = {
            "models": {"mini": {}},
            "benchmarks": {task: {"title": title, "kind": "qa", "source": "mini"} for task, title in TASKS.items()},
            "methods": {name: {"title": title} for name, title in METHODS.items()},
            "main_methods": list(scores),
            "evaluated": cells,
            "tables": {},
        }
        super().__init__(folder, facts)
        self.scores, self.p = scores, p

    def score(self, model: str, task: str, method: str) -> dict[str, Any] | None:
        """Return a made-up score."""
        value = self.scores[method].get(task)
        return None if value is None else {"headline": value}

    def compare(self, model: str, task: str, first: str, second: str) -> Comparison | None:
        """Return the difference of two made-up scores, two points more or less."""
        one, other = (self.scores[name].get(task) for name in (first, second))
        if one is None or other is None:
            return None
        change = other - one
        return Comparison(change, (change - 2, change + 2), self.p if change else 1.0, "test", 60, 60)


def headlines(results: Results) -> list[str]:
    """Return the three headlines."""
    return [one.headline for one in findings(results)]


SCORES = {
    "vanilla": {"vqav2": 80.0, "textvqa": 50.0, "pope": 90.0},
    "fastv": {"vqav2": 50.0, "textvqa": 50.0, "pope": 90.0},
    "himap": {"vqav2": 68.0, "textvqa": 40.0, "pope": 90.0},
}


def test_the_largest_loss_is_the_steepest_in_percent_and_the_worst_method_is_named(tmp_path: Path) -> None:
    loss, rivals, time = findings(MadeUp(tmp_path, SCORES))
    assert loss.headline == "HiMAP loses 10.0 points on TextVQA"  # a fifth; the 12 points on VQAv2 are less
    assert loss.more[0] == "That is 20 % of the unpruned score (95 % interval −12.0 to −8.0 points)."
    assert loss.more[1:] == ["It loses beyond chance on 2 of 3 benchmarks.", "FastV loses most: 30.0 points on VQAv2."]
    assert rivals.headline == "Of 3 comparisons with rivals, HiMAP wins 1 and loses 1"
    row = {"name": "FastV", "better": 1, "worse": 1, "even": 1, "where": "better on VQAv2; worse on TextVQA"}
    assert rivals.counts == [row]
    assert time.headline == "No time has been measured yet"


def test_what_is_within_chance_after_correction_is_no_finding(tmp_path: Path) -> None:
    results = MadeUp(tmp_path, SCORES, p=0.03)  # three tests: Holm asks the least of them for 0.0167
    assert headlines(results)[:2] == [
        "HiMAP loses beyond chance on none of 3 benchmarks",
        "Of 3 comparisons with rivals, HiMAP wins 0 and loses 0",
    ]


def test_without_results_the_findings_say_so(tmp_path: Path) -> None:
    assert headlines(MadeUp(tmp_path, {"vanilla": {}})) == [
        "HiMAP has not been compared with the unpruned model yet", "No rival has been run yet", "No time has been measured yet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "headline"),
    [
        ((1.0, 0.6), "HiMAP takes 40 % less time than the unpruned model"),
        ((1.0, 1.2), "HiMAP takes 20 % more time than the unpruned model"),
        ((1.0, 1.0), "HiMAP saves no time beyond the noise of measurement"),
    ],
)
def test_the_time_saved_is_measured_and_says_when_it_is_none(
    tmp_path: Path, seconds: tuple[float, float], headline: str
) -> None:
    rows = [
        {
            "sample_id": sample,
            "method": method,
            "batch_size": 1,
            "kernel": "flash",
            "seconds_total": value * (1 + 0.01 * (sample % 2) * (method == "himap")),
        }
        for method, value in zip(("vanilla", "himap"), seconds, strict=True)
        for sample in range(-4, 4)
    ]
    for row in rows:
        row["seconds_total"] -= 0.005 * (row["method"] == "himap")
    write_text(Paths(tmp_path).latency("mini", "pope"), pd.DataFrame(rows).to_csv(index=False))
    assert headlines(MadeUp(tmp_path, SCORES))[2] == headline


def test_what_a_larger_model_of_random_weights_saves_stands_beside_it(tmp_path: Path) -> None:
    rows = [
        {
            "sample_id": sample,
            "method": method,
            "batch_size": 1,
            "kernel": "flash",
            "seconds_total": seconds + 0.01 * sample,
        }
        for method, seconds in (("vanilla", 2.0), ("himap", 1.0))
        for sample in range(3)
    ]
    write_text(Paths(tmp_path).random_latency, pd.DataFrame(rows).to_csv(index=False))
    (sentence,) = findings(MadeUp(tmp_path, SCORES))[2].more
    assert re.fullmatch(r"Where tokens are the cost, .* it saves 50 % \(\d+ to \d+ %\)\.", sentence)


def test_accuracy_over_cost_counts_only_benchmarks_that_all_methods_have(tmp_path: Path) -> None:
    for method, ratio in (("vanilla", 1.0), ("fastv", 0.5), ("himap", 0.25)):
        frame = pd.DataFrame([{"method": method, "convention": "paper", "flops": 1.0, "ratio": ratio}])
        write_text(Paths(tmp_path).flops("mini", "qa", method), frame.to_csv(index=False))
    scores = {name: dict(cells) for name, cells in SCORES.items()}
    del scores["fastv"]["textvqa"]
    scores["fastv"]["pope"] = 0.0  # a method that gets nothing right counts, or it would look better than it is
    (panel,) = tradeoff_panels(MadeUp(tmp_path, scores))
    assert panel.title == "mini, mean over 2 benchmarks"
    points = {point.label: point for point in panel.points}
    assert (points["HiMAP"].x, points["HiMAP"].y) == (25.0, pytest.approx(92.5))  # 85 % and 100 %
    assert points["HiMAP"].low < 92.5 < points["HiMAP"].high
    assert points["FastV"].y == pytest.approx(100 * (50 / 80 + 0) / 2)
    assert points["Vanilla"].low is None


def test_what_finds_no_room_in_the_page_is_named_and_numbers_come_before_drawings(tmp_path: Path) -> None:
    results = MadeUp(tmp_path, SCORES)
    results.facts |= {"tables": {"table1": ""}, "figures": ["figure3"]}
    for name in ("tables/table1.csv", "tables/table1.tex", "figures/data/figure3.csv", "figures/figure3.svg"):
        write_text(tmp_path / name, f"{name}\n" * 50)
    noise = np.random.default_rng(0).bytes(40_000)
    (tmp_path / "figures" / "figure3.png").write_bytes(noise)
    whole, tight = archive.archive(results), archive.archive(results, page=archive.PAGE - 3_000)
    assert whole.left_out == []
    assert tight.left_out == ["figures/figure3.png"]
    assert [link["label"] for link in whole.links("figure3")] == ["CSV", "SVG", "PNG"]
    assert [link["label"] for link in tight.links("figure3")] == ["CSV", "SVG"]
    with zipfile.ZipFile(io.BytesIO(b64decode(whole.address.partition(",")[2]))) as packed:
        assert packed.read("figures/figure3.png") == noise
    assert archive.archive(results).address == whole.address


def test_a_run_of_many_models_shows_fewer_samples_of_each_benchmark() -> None:
    twelve = dict.fromkeys(range(12))
    assert gallery.shown({"models": {"one": 1}, "benchmarks": twelve}) == 3
    assert gallery.shown({"models": dict.fromkeys(range(14)), "benchmarks": twelve}) == 1
    assert "at most 1 sample" in gallery.rule({"models": dict.fromkeys(range(14)), "benchmarks": twelve})


def test_methods_of_the_rivals_table_are_not_counted_on_the_first_screen(tmp_path: Path) -> None:
    results = MadeUp(tmp_path, {**SCORES, "himap_1of9": {"vqav2": 1.0}})
    results.facts["main_methods"] = list(SCORES)
    results.facts["methods"]["himap_1of9"] = {"title": "HiMAP (1/9 of the tokens)"}
    write_text(tmp_path / "tables" / "rivals.csv", "model,benchmark,method\nmini,vqav2,himap_1of9\n")
    loss, rivals, _ = findings(results)
    assert [row["name"] for row in rivals.counts] == ["FastV"]
    assert not any("1/9" in line for line in loss.more)


class Kept(MadeUp):
    """Results of which only the kept tokens of each method's last stage are known."""

    def predictions(self, model: str, task: str, method: str) -> list[dict[str, Any]] | None:
        """Return two answers about pictures of four tokens."""
        kept = {"fastv": [0, 3], "himap": []}.get(method)
        bitmaps = [] if kept is None else [to_bitmap(kept, 4)]
        return [{"image_tokens": 4, "layouts": [[[2, 2]]], "kept": bitmaps}] * 2


def test_a_method_whose_last_stage_keeps_no_image_token_has_no_map_of_places(tmp_path: Path) -> None:
    results = Kept(tmp_path, SCORES)
    results.facts["models"]["mini"]["grid"] = (2, 2)
    (part,) = kept_maps.histograms(results)
    assert [(method["title"], method["keep"]) for method in part["methods"]] == [("FastV", "50 %")]
