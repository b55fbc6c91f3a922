"""Two small runs: one as it is written, and a copy of it in which a few things change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from himap import benchmarks
from himap.files import read_json, write_json, write_jsonl, write_parquet

RECORD = "report.html.provenance.json"
CHANGED = ("mini", "scienceqa", "himap")


def change_a_copy(first: Path, folder: Path) -> Path:
    """Copy a run; give the copy ten wrong answers, another setting, version and library, and a verdict that changed."""
    shutil.copytree(first, folder)
    answers = folder / "evaluation" / "/".join(CHANGED) / "predictions.jsonl"
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    rows = [row | {"prediction": "none of them"} if number < 10 else row for number, row in enumerate(rows)]
    write_jsonl(answers, rows)
    samples = benchmarks.read_samples(folder / "benchmarks/scienceqa/samples.parquet")
    predictions = {row["sample_id"]: row["prediction"] for row in rows}
    scores = benchmarks.score(benchmarks.get("scienceqa"), samples, predictions)
    write_json(answers.with_name("score.json"), scores.as_json())
    write_parquet(answers.with_name("per_sample.parquet"), scores.per_sample)
    change(answers.with_name("predictions.jsonl.provenance.json"), lambda side: side["versions"].update(torch="9.9.9"))
    change(folder / RECORD, altered)
    return folder


def altered(record: dict[str, Any]) -> None:
    """Give a record another version, setting and verdict."""
    record["project"] = "0.9.0"
    record["facts"]["config"] = record["facts"]["config"].replace("limit: 16", "limit: 17", 1)
    record["verdicts"]["qa-kept"]["words"] = "does not hold"


def change(path: Path, alter: Any) -> None:
    """Alter a JSON file."""
    value = read_json(path)
    alter(value)
    write_json(path, value)
