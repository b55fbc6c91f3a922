"""A results folder with two methods on one benchmark, and one without a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from himap import benchmarks
from himap.files import write_json, write_parquet, write_text

RIGHT = {"vanilla": 80, "himap": 70}  # percent
N = 2017  # ScienceQA's test, as in the paper


def asked(benchmark: str) -> dict[str, Any]:
    """A benchmark's own split and protocol, as the plan gives them for a config that changes neither."""
    declared = benchmarks.get(benchmark)
    protocol = declared.protocol({}) | {"images": declared.image_mode("llava")}
    return {
        "split": declared.source.split,
        "protocol": protocol,
        "defaults": protocol,
        "own_form": list(declared.own_form),
    }


@pytest.fixture
def settings() -> dict[str, Any]:
    """A table of one model that the paper has, on its own data."""
    return {
        "name": "table1",
        "title": "Table 1: a test & more",
        "models": {
            "llava": {
                "published": "LLaVA-7B",
                "family": "llava",
                "kinds": ["qa"],
                "template": None,
                "image_mode": None,
                "restaged": {"qa": [], "caption": [], "open": []},
            }
        },
        "benchmarks": {"scienceqa": {"source": "hub", "asked": asked("scienceqa"), "kind": "qa", "scored": True}},
        "benchmark_order": ["scienceqa"],
        "methods": [{"name": "vanilla", "title": "Vanilla"}, {"name": "himap", "title": "HiMAP <50%>"}],
        "published": "hash",
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Scores of 100 questions and costs."""
    for method, right in RIGHT.items():
        folder = tmp_path / "evaluation" / "llava" / "scienceqa" / method
        frame = pd.DataFrame(
            {"sample_id": [str(n) for n in range(100)], "score": (np.arange(100) < right).astype(float)}
        )
        write_parquet(folder / "per_sample.parquet", frame)
        score = {"benchmark": "scienceqa", "metric": "accuracy", "headline": float(right), "n": N, "pictures": N}
        write_json(folder / "score.json", {**score, "interval": [right - 8.0, right + 8.0], "scores": {}})
        answers = "".join(json.dumps({"sample_id": str(n), "prediction": "A"}) + "\n" for n in range(7))
        write_text(tmp_path / "evaluation" / "llava" / "mmvet" / method / "predictions.jsonl", answers)
    for method, flops in (("vanilla", 3e12), ("himap", 0.75e12)):
        rows = [
            {"method": method, "convention": name, "flops": flops, "ratio": flops / 3e12}
            for name in ("paper", "gated", "prompt", "measured")
        ]
        for kind in ("qa", "open"):
            write_text(tmp_path / "flops" / "llava" / kind / f"{method}.csv", pd.DataFrame(rows).to_csv(index=False))
    return tmp_path
