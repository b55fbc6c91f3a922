"""Scores and costs of a grid of schedules, what K and R cost in it, and the statements about both."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import score_grid
from himap.benchmarks.samples.files import schema
from himap.experiments.grid import Grid
from himap.figures import sweep
from himap.files import write_jsonl
from himap.models.sizes import Dims
from himap.paths import Paths
from himap.pruning.stage import Schedule
from himap.report.verdicts.sweep import NOT_BOTH, lose_more, wants_other
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, Verdict
from himap.results import Results

DIMS = Dims(layers=12, width=16, heads=2, kv_heads=2, head_dim=8, ffn=32, vocab=50, tokens_per_image=64)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Four questions whose answer is A; the last one was not asked of the grid."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "sample_id": str(n),
            "question": "?",
            "options": ["x", "y"],
            "references": ["A"],
            "images": [],
            "metadata": "{}",
        }
        for n in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema("scienceqa")), tmp_path / "samples.parquet")
    return tmp_path / "samples.parquet"


def test_each_schedule_has_its_score_its_cost_and_its_place(samples: Path, tmp_path: Path) -> None:
    answers = {(1, 0.5, 4, 0.25): "AAB", (2, 0.5, 6, 0.25): "ABB"}  # the second costs more and is worse
    rows = [
        {"sample_id": str(n), **dict(zip(score_grid.KEYS, schedule, strict=True)), "prediction": letter}
        for schedule, letters in answers.items()
        for n, letter in enumerate(letters)
    ]
    write_jsonl(tmp_path / "predictions.jsonl", rows)
    words = [
        "--benchmark",
        "scienceqa",
        "--samples",
        str(samples),
        "--predictions",
        str(tmp_path / "predictions.jsonl"),
    ]
    words += ["--sizes", json.dumps(dataclasses.asdict(DIMS)), "--by-sample", str(tmp_path / "samples.csv")]
    score_grid.main([*words, "--out", str(tmp_path / "scores.csv")])
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["score"].tolist() == pytest.approx([200 / 3, 100 / 3])
    assert frame["n"].tolist() == [3, 3]
    assert frame["frontier"].tolist() == [True, False]
    assert frame["ratio"][0] < frame["ratio"][1] < 1
    single = pd.read_csv(tmp_path / "samples.csv")
    assert single[single["k1"] == 2][["sample_id", "score"]].to_numpy().tolist() == [[0, 1], [1, 0], [2, 0]]


def test_the_deep_stage_keeps_a_share_of_what_the_shallow_one_left_as_in_the_paper() -> None:
    schedules = Grid(k1=[2], r1=[0.5, 0.3], k2=[8], r2=[0.25, 0.5]).schedules(DIMS)
    unpruned, *others = schedules
    assert unpruned == Schedule((), name="unpruned")
    assert [[stage.keep for stage in schedule.stages] for schedule in others] == [
        [0.5, 0.125], [0.5, 0.25], [0.3, 0.075], [0.3, 0.15],
    ]  # fmt: skip


# ---- what K and R cost

POINTS = list(Grid(k1=[2, 3], r1=[0.5], k2=[7, 8], r2=[0.5, 0.25]).schedules(DIMS).values())
FACTS = {
    "models": {"small": {"published": "LLaVA-7B"}, "large": {"published": "LLaVA-13B"}},
    "benchmarks": {task: {"title": task, "source": "hub"} for task in ("vqav2", "nocaps")},
}


def write_grids(folder: Path, left: Any, n: int = 60, models: tuple[str, ...] = ("small", "large")) -> None:
    """Grids of models on two benchmarks: `left` says which share of a score stays, of model, task and the schedule's K1 and K2."""
    random = np.random.default_rng(1)
    for model in models:
        for task in FACTS["benchmarks"]:
            rows, costs = [], []
            for (k1, r1), (k2, r2) in POINTS:
                schedule = {"k1": k1, "r1": r1, "k2": k2, "r2": r2}
                share = left(model, task, k1, k2) if k2 else 1.0
                scores = share * 2 + random.normal(0, 0.05, n)
                rows += [
                    {"sample_id": i, "picture": i // 2, "score": score, **schedule} for i, score in enumerate(scores)
                ]
                costs.append(
                    {**schedule, "ratio": r1 + r2}
                )  # the layer does not change the cost, so each K can be chosen
            path = Path(Paths(str(folder)).grid(model, task))
            path.parent.mkdir(parents=True)
            pd.DataFrame(costs).to_csv(path, index=False)
            pd.DataFrame(rows).to_csv(path.with_name("samples.csv"), index=False)
    settings = {
        "cells": [[m, t] for m in models for t in FACTS["benchmarks"]],
        "kinds": {"vqav2": "qa", "nocaps": "caption"},
    }
    (folder / "figures/data").mkdir(parents=True)
    sweep.numbers(settings, str(folder)).to_csv(folder / "figures/data/sweep.csv", index=False)


def judged(folder: Path, *models: str) -> tuple[Verdict, Verdict]:
    """Both statements about a run of some of the models."""
    results = Results(folder, {**FACTS, "models": {name: FACTS["models"][name] for name in models}})
    return (
        lose_more(results, None, captions="nocaps", questions="vqav2"),
        wants_other(results, None, model="LLaVA-13B", than="LLaVA-7B", margin=1),
    )


def test_captions_that_lose_more_and_a_model_that_wants_another_layer_are_found(tmp_path: Path) -> None:
    def left(model: str, task: str, k1: int, k2: int) -> float:
        wanted = 2 if model == "small" else 3
        return (0.9 if task == "vqav2" else 0.6) - (0.2 if k1 != wanted else 0)

    write_grids(tmp_path, left)
    more, other = judged(tmp_path, "small", "large")
    assert (more.verdict, other.verdict) == (HOLDS, HOLDS)
    assert "loses +30" in more.ours[0]
    assert "control" in more.ours[1]
    assert "+20" in other.ours[0]
    frame = pd.read_csv(tmp_path / "figures/data/sweep.csv")
    effect = frame[(frame["model"] == "large") & (frame["benchmark"] == "vqav2") & (frame["part"] == "left")]
    assert effect.set_index(["name", "x"])["value"][["K1"]].tolist() == pytest.approx([70, 90], abs=1)
    control = frame[frame["part"] == "control"]
    assert ((control["low"] < 0) & (control["high"] > 0)).all()


def test_no_difference_is_found_where_there_is_none_and_nothing_is_said_with_one_model(tmp_path: Path) -> None:
    def same(model: str, task: str, k1: int, k2: int) -> float:
        return 0.9 - 0.2 * (k1 == 3)

    write_grids(tmp_path / "both", same)
    more, other = judged(tmp_path / "both", "small", "large")
    assert (more.verdict, other.verdict) == (OPEN, FAILS)
    write_grids(tmp_path / "one", same, models=("small",))
    _, alone = judged(tmp_path / "one", "small")
    assert alone.verdict == OPEN
    assert alone.why.startswith(NOT_BOTH)
    assert "this run has small" in alone.why


def test_the_sweep_shows_a_panel_for_each_of_k_and_r_with_a_curve_per_benchmark(tmp_path: Path) -> None:
    write_grids(tmp_path, lambda model, task, k1, k2: 0.9, n=8)
    panels = sweep.panels(pd.read_csv(tmp_path / "figures/data/sweep.csv"))
    mine = [panel for panel in panels if panel.model == "large"]
    assert [panel.title for panel in mine] == [
        "K1, where the shallow stage is", "R1, what it drops", "K2, where the deep stage is", "R2, what it drops of the rest",
        "captions against questions", "own K and R against another model's",
    ]  # fmt: skip
    assert [len(panel.curves) for panel in mine[:4]] == [2, 2, 2, 2]
