"""Scores and costs of a grid of schedules."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import score_grid
from himap.benchmarks.samples.files import schema
from himap.files import write_jsonl
from himap.models.sizes import Dims

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
    score_grid.main([*words, "--sizes", json.dumps(dataclasses.asdict(DIMS)), "--out", str(tmp_path / "scores.csv")])
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["score"].tolist() == pytest.approx([200 / 3, 100 / 3])
    assert frame["n"].tolist() == [3, 3]
    assert frame["frontier"].tolist() == [True, False]
    assert frame["ratio"][0] < frame["ratio"][1] < 1
