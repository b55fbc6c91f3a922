"""The rules: when a claim holds, when it does not, and when the page must say that it cannot tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from himap.files import write_parquet
from himap.metrics.statistics import share_interval
from himap.report.verdicts.accuracy import mean_difference, paired_difference
from himap.report.verdicts.claims import TESTS, summary, verdict_groups
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    Verdict,
    holm,
    layer_span,
    side_of,
    together,
    words,
)
from himap.results import Results, scope
from himap.workflow.plan.report_settings import CLAIMS
from report_page import Rendered

pytestmark = pytest.mark.slow


def found(results: Results, name: str) -> Verdict:
    """The verdict on one claim."""
    return next(
        row["found"] for group in verdict_groups(results) for row in group["rows"] if row["claim"]["id"] == name
    )


@pytest.fixture
def empty(rendered: Rendered, tmp_path: Path) -> Results:
    """A run that has not made anything yet."""
    return Results(tmp_path, rendered.facts)


@pytest.fixture
def copied(rendered: Rendered, tmp_path: Path) -> Results:
    """The small run, to be changed."""
    shutil.copytree(rendered.results, tmp_path / "results")
    return Results(tmp_path / "results", json.loads(json.dumps(rendered.facts)))


def as_paper(results: Results) -> Results:
    """The same results as if they came from one of the paper's models on its data."""
    results.facts["models"]["mini"]["published"] = "LLaVA-7B"
    for one in results.facts["benchmarks"].values():
        one |= {"source": "hub", "comparable": True}
    return results


def test_what_several_verdicts_make_together() -> None:
    assert together([]) == OPEN
    assert together([HOLDS, HOLDS]) == HOLDS
    assert together([HOLDS, OPEN]) == OPEN
    assert together([HOLDS, OPEN, FAILS]) == FAILS


def test_an_interval_decides_by_its_whole_length() -> None:
    assert side_of(0.1, 0.9) == HOLDS
    assert side_of(-0.9, -0.1) == FAILS
    assert side_of(-0.1, 0.1) == OPEN
    assert side_of(0.4, 0.6, 0.7) == FAILS
    assert side_of(float("nan"), float("nan")) == OPEN


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_wilson_interval_of_a_share() -> None:
    assert share_interval(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert share_interval(10, 10)[1] == pytest.approx(1.0)


def test_layers_are_the_same_share_of_another_depth() -> None:
    assert list(layer_span(0, 3, 32, 32)) == [0, 1, 2]
    assert list(layer_span(7, 16, 32, 32)) == list(range(7, 16))
    assert list(layer_span(0, 3, 32, 12)) == [0]
    assert list(layer_span(0, 3, 32, 40)) == [0, 1, 2, 3]


def test_mean_difference_narrows_with_more_benchmarks() -> None:
    row = {"value": 1.0, "low": -1.0, "high": 3.0}
    assert mean_difference([row]) == pytest.approx((1.0, -1.0, 3.0))
    mean, low, high = mean_difference([row] * 4)
    assert (mean, low, high) == pytest.approx((1.0, 0.0, 2.0))


def test_every_claim_names_a_rule_and_a_known_place(rendered: Rendered) -> None:
    import yaml

    claims = [claim for group in yaml.safe_load(CLAIMS.read_text())["groups"] for claim in group["claims"]]
    assert len({claim["id"] for claim in claims}) == len(claims) >= 20
    assert {claim["test"] for claim in claims} == set(TESTS)
    for claim in claims:
        assert "{" not in claim["rule"].format(**claim["with"])
        assert claim["claim"].endswith(".")


def test_nothing_run_means_nothing_decided_but_arithmetic(empty: Results) -> None:
    groups = verdict_groups(empty)
    for row in (row for group in groups for row in group["rows"]):
        one = row["found"]
        assert one.verdict == OPEN or one.basis == "arithmetic", row["claim"]["id"]
        if one.verdict == OPEN:
            assert row["words"]["ground"]
    counts = summary(groups)
    assert counts["arithmetic"] == counts["counts"][HOLDS] + counts["counts"][FAILS] == 7
    assert counts["aside"] == ""


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [("flops-7b", HOLDS), ("flops-13b", FAILS), ("caption-ratio", FAILS), ("flops-cut", HOLDS), ("image-importance", FAILS),
     ("random-control", FAILS), ("latency-cut", FAILS)],
)  # fmt: skip
def test_what_follows_from_the_papers_own_numbers(empty: Results, claim: str, verdict: str) -> None:
    one = found(empty, claim)
    assert (one.verdict, one.basis) == (verdict, "arithmetic")
    assert one.paper


def test_formula_shows_the_papers_numbers_and_what_comes_out(empty: Results) -> None:
    one = found(empty, "flops-13b")
    assert any("1.36" in line for line in one.paper)
    assert any("1.291" in line for line in one.ours)


def test_the_mini_world_never_decides_about_the_papers_models(rendered: Rendered) -> None:
    rows = [row for group in verdict_groups(Results(rendered.results, rendered.facts)) for row in group["rows"]]
    assert scope(rendered.facts) == "mini"
    apart = [row for row in rows if row["found"].basis == "mini" and row["found"].verdict != OPEN]
    assert len(apart) > 3
    for row in rows:
        if row["found"].basis != "arithmetic":
            assert row["words"]["verdict"] == OPEN
            assert row["words"]["text"] == "not decidable here"
    assert {row["words"]["aside"] for row in apart} == {"in the embedded world"}
    counts = summary(verdict_groups(Results(rendered.results, rendered.facts)))
    assert sum(counts["apart"].values()) == len(apart)


def set_scores(
    results: Results, method: str, values: np.ndarray, tasks: tuple[str, ...] = ("scienceqa", "aokvqa")
) -> None:
    """Other per-sample scores for one method, and its headline; the tables know the old ones."""
    shutil.rmtree(results.folder / "tables", ignore_errors=True)
    for task in tasks:
        folder = results.folder / "evaluation" / "mini" / task / method
        frame = pd.read_parquet(folder / "per_sample.parquet")
        frame["score"] = np.resize(values, len(frame)).astype(float)
        write_parquet(folder / "per_sample.parquet", frame)
        score = json.loads((folder / "score.json").read_text())
        (folder / "score.json").write_text(json.dumps(score | {"headline": 100 * frame["score"].mean()}))


def test_better_holds_fails_or_stays_open_by_the_data(copied: Results) -> None:
    half, most, all_right = np.array([0, 1]), np.array([1, 1, 1, 1, 0, 1, 1, 1]), np.array([1])
    set_scores(copied, "vanilla", half)
    set_scores(copied, "himap", all_right)
    assert found(copied, "choice-better").verdict == HOLDS
    again = Results(copied.folder, copied.facts)
    set_scores(again, "vanilla", all_right)
    set_scores(again, "himap", half)
    assert found(again, "choice-better").verdict == FAILS
    once_more = Results(copied.folder, copied.facts)
    set_scores(once_more, "vanilla", most)
    set_scores(once_more, "himap", np.roll(most, 1))
    assert found(once_more, "choice-better").verdict == OPEN


def test_comparisons_with_the_unpruned_model_are_those_of_the_tables(copied: Results) -> None:
    from_table = copied.compare("mini", "scienceqa", "vanilla", "himap")
    shutil.rmtree(copied.folder / "tables")
    computed = Results(copied.folder, copied.facts).compare("mini", "scienceqa", "vanilla", "himap")
    assert from_table is not None
    assert computed is not None
    assert from_table.interval == pytest.approx(computed.interval)
    assert (from_table.difference, from_table.p_value, from_table.n) == pytest.approx(
        (computed.difference, computed.p_value, computed.n)
    )


def test_not_worse_fails_on_one_benchmark_that_is_clearly_worse(copied: Results) -> None:
    shutil.rmtree(copied.folder / "tables")
    for task in ("vqav2", "pope", "mme", "aokvqa"):
        frame = pd.read_parquet(copied.folder / "evaluation" / "mini" / task / "vanilla" / "per_sample.parquet")
        write_parquet(copied.folder / "evaluation" / "mini" / task / "himap" / "per_sample.parquet", frame)
    set_scores(copied, "vanilla", np.array([1]), ("scienceqa",))
    set_scores(copied, "himap", np.array([0, 0, 1]), ("scienceqa",))
    copied.facts["benchmarks"]["textvqa"] = copied.facts["benchmarks"]["vqav2"] | {"title": "TextVQA"}
    copied.facts["evaluated"] += [["mini", "textvqa", method] for method in ("vanilla", "himap")]
    one = found(copied, "qa-kept")
    assert (one.verdict, one.why) == (OPEN, "not run yet: mini: TextVQA")
    shutil.copytree(copied.folder / "evaluation/mini/vqav2", copied.folder / "evaluation/mini/textvqa")
    assert found(Results(copied.folder, copied.facts), "qa-kept").verdict == FAILS


def test_equal_answers_to_a_few_questions_do_not_show_that_nothing_is_lost(copied: Results) -> None:
    shutil.rmtree(copied.folder / "tables")
    for task in ("vqav2", "pope", "mme", "scienceqa", "aokvqa"):
        frame = pd.read_parquet(copied.folder / "evaluation" / "mini" / task / "vanilla" / "per_sample.parquet")
        write_parquet(copied.folder / "evaluation" / "mini" / task / "himap" / "per_sample.parquet", frame)
    one = found(copied, "qa-kept")
    assert one.verdict == OPEN
    assert one.why == "not planned in this config: TextVQA"
    rows = [paired_difference(copied, "mini", task, "himap", "vanilla") for task in ("vqav2", "pope", "aokvqa")]
    assert all(row is not None and row["low"] < row["value"] == 0 < row["high"] for row in rows)


def test_results_of_the_papers_models_are_said_to_be_so(copied: Results) -> None:
    set_scores(copied, "vanilla", np.array([0, 1]))
    set_scores(copied, "himap", np.array([1]))
    one = found(as_paper(copied), "choice-better")
    assert (one.verdict, one.basis) == (HOLDS, "paper")
    assert words(one) == {"verdict": HOLDS, "text": "holds", "ground": "on the paper's models", "aside": ""}


def test_unjudged_answers_leave_the_claim_open_and_say_why(rendered: Rendered) -> None:
    one = found(Results(rendered.results, rendered.facts), "open-kept")
    assert one.verdict == OPEN
    assert "not judged" in one.why


def compared(results: Results, ours: float, paper: float, half: float) -> Results:
    """Table 1 with one compared cell."""
    path = results.folder / "tables" / "table1.csv"
    frame = pd.read_csv(path)
    frame.loc[0, ["ours", "low", "high", "paper", "status"]] = [ours, ours - half, ours + half, paper, "compared"]
    frame.to_csv(path, index=False)
    return results


@pytest.mark.parametrize(
    ("ours", "half", "verdict"), [(67.9, 0.1, HOLDS), (68.4, 0.1, HOLDS), (70.0, 3.0, HOLDS), (70.0, 0.5, FAILS)]
)
def test_scores_match_within_interval_or_tolerance(copied: Results, ours: float, half: float, verdict: str) -> None:
    assert found(compared(copied, ours, 67.9, half), "scores").verdict == verdict


def flows(vt: float, vv: float, samples: int = 30) -> pd.DataFrame:
    """Saliency in which one flow is larger in every sample and layer."""
    rows: list[dict[str, Any]] = [
        {"sample_id": str(i), "layer": layer, "definition": "paper", "weights": "trained", "target": "emitted",
         "instruction_from_image": vt, "image_from_image": vv}
        for i in range(samples)
        for layer in range(12)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("vt", "vv", "shallow", "deep"), [(2.0, 1.0, HOLDS, FAILS), (1.0, 2.0, FAILS, HOLDS)])
def test_flow_is_decided_by_the_share_of_samples(empty: Results, vt: float, vv: float, shallow: str, deep: str) -> None:
    for task in empty.facts["planned"]["saliency"]:
        assert found(empty, "shallow-flow").verdict == OPEN
        write_parquet(empty.folder / "saliency" / "mini" / task / "saliency.parquet", flows(vt, vv))
    assert found(empty, "shallow-flow").verdict == shallow
    assert found(empty, "deep-flow").verdict == deep


def test_few_samples_leave_the_flow_open(empty: Results) -> None:
    for task in empty.facts["planned"]["saliency"]:
        write_parquet(empty.folder / "saliency" / "mini" / task / "saliency.parquet", flows(2.0, 1.0, samples=2))
    one = found(empty, "shallow-flow")
    assert (one.verdict, one.why) == (OPEN, "the samples are too few to tell")


def disrupted(results: Results, first: float, last: float, spread: float) -> Results:
    """Figure 5 with one model's bars."""
    rows = [
        {"source": "ours", "model": "mini", "benchmark": task, "flow": "img2txt", "extent": "single", "measure": "label",
         "part": part, "value": value, "low": value - 2 * spread, "high": value + 2 * spread, "n": 30}
        for task in results.facts["planned"]["disruption"]
        for part, value in (("first", first), ("last", last))
    ]  # fmt: skip
    (results.folder / "figures" / "data").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(results.folder / "figures" / "data" / "figure5.csv", index=False)
    return results


@pytest.mark.parametrize(
    ("first", "last", "spread", "verdict"),
    [
        (0.4, 0.99, 0.01, HOLDS),
        (0.4, 0.6, 0.01, FAILS),
        (0.98, 0.97, 0.02, OPEN),
        (0.99, 0.95, 0.005, FAILS),
        (0.8, 0.95, 0.2, OPEN),
    ],
)
def test_early_cuts(empty: Results, first: float, last: float, spread: float, verdict: str) -> None:
    assert found(disrupted(empty, first, last, spread), "early-cut").verdict == verdict


def bias(results: Results, shallow: tuple[float, float], deep: tuple[float, float], samples: int = 200) -> Results:
    """A sweep in which these shares of the answers change when image from image, and image to instruction, are cut."""
    random = np.random.default_rng(0)
    rows = [
        {"sample_id": str(sample), "layer": layer, "flow": flow, "extent": "single", "block": "pre",
         "same_answer": bool(random.random() >= share)}
        for sample in range(samples)
        for layer in range(12)
        for flow, share in zip(("img2img", "img2txt"), shallow if layer < 3 else deep, strict=True)
    ]  # fmt: skip
    for task in results.facts["planned"]["disruption"]:
        write_parquet(results.folder / "disruption" / "mini" / task / "layers-0-11.parquet", pd.DataFrame(rows))
    return results


@pytest.mark.parametrize(
    ("shallow", "deep", "samples", "verdict"),
    [
        ((0.2, 0.5), (0.5, 0.2), 200, HOLDS),
        ((0.5, 0.2), (0.5, 0.2), 200, FAILS),
        ((0.2, 0.5), (0.2, 0.3), 200, FAILS),
        ((0.2, 0.5), (0.0, 0.0), 200, OPEN),
        ((0.42, 0.5), (0.5, 0.2), 10, OPEN),  # the means have the right signs, ten samples cannot tell
    ],
)
def test_bias_ratio(
    empty: Results, shallow: tuple[float, float], deep: tuple[float, float], samples: int, verdict: str
) -> None:
    one = found(bias(empty, shallow, deep, samples), "bias-ratio")
    assert one.verdict == verdict
    assert all("[" in line or "undefined" in line for line in one.ours)


def timed(results: Results, seconds: dict[str, float], noise: float) -> Results:
    """Latency of some methods on eight samples."""
    random = np.random.default_rng(0)
    rows = [
        {
            "sample_id": i,
            "method": method,
            "batch_size": 1,
            "kernel": "flash",
            "seconds_total": value + noise * random.normal(),
            "device": "cpu",
        }
        for i in range(8)
        for method, value in seconds.items()
    ]
    (results.folder / "latency" / "mini").mkdir(parents=True)
    for task in results.facts["planned"]["latency"]:
        pd.DataFrame(rows).to_csv(results.folder / "latency" / "mini" / f"{task}.csv", index=False)
    return results


@pytest.mark.parametrize(
    ("seconds", "noise", "verdict"),
    [({"himap": 1.0, "fastv": 2.0, "vanilla": 3.0}, 0.01, HOLDS), ({"himap": 2.0, "fastv": 1.0, "vanilla": 3.0}, 0.01, FAILS),
     ({"himap": 1.0, "fastv": 1.0, "vanilla": 1.0}, 0.3, OPEN)],
)  # fmt: skip
def test_latency_order(empty: Results, seconds: dict[str, float], noise: float, verdict: str) -> None:
    one = found(timed(empty, seconds, noise), "latency-order")
    assert one.verdict == verdict
    if verdict == HOLDS:  # the rule asks for savings above zero, and so do its numbers look
        assert "HiMAP saves 50 % [" in one.ours[0]
