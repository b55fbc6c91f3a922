"""Other models than LLaVA go from the config to the report: nothing takes one grid for all, or image tokens in the sequence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chat_families
import cross_families
import pandas as pd
import pytest
from small_project import copy_project

pytestmark = pytest.mark.slow
METHODS = ["vanilla", "fastv", "himap", "uniform", "downsample"]


def tiny_config(config: dict[str, Any]) -> None:
    """One model of four layers with chance-level answers, one benchmark, every analysis; layers as shares of the depth."""
    config["models"] = {"tiny-qwen": {"path": "models/tiny-qwen", "family": "qwen2_5_vl"}}
    config["benchmarks"] = {"aokvqa": {"source": "mini", "limit": 4}}
    config["methods"] = {
        "vanilla": {"title": "Vanilla", "stages": []},
        "fastv": {"title": "FastV", "stages": [{"layer": 0.5, "keep": 0.5, "criterion": "last_token_attention"}]},
        "himap": {
            "title": "HiMAP",
            "stages": [
                {"layer": 0.25, "keep": 0.5, "criterion": "instruction_attention"},
                {"layer": 0.5, "keep": 0.25, "criterion": "image_attention"},
            ],
        },
    }
    config["tables"]["table1"] = {"methods": METHODS}
    config["saliency"] |= {"benchmarks": ["aokvqa"]}
    config["disruption"] |= {"benchmarks": ["aokvqa"]}
    config["latency"] = {"benchmarks": ["aokvqa"], "examples": 1, "rounds": 1, "methods": ["vanilla", "downsample"]}
    config["grid"] = {"benchmarks": ["aokvqa"], "limit": 2, "k1": [1], "r1": [0.5], "k2": [2], "r2": [0.25]}


def test_a_tiny_qwen_goes_from_config_to_report(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    chat_families.FAMILIES["qwen2_5_vl"].write(project.folder / "models" / "tiny-qwen")
    project.configure(tiny_config)
    printed = project.call()
    assert printed.returncode == 0, printed.stdout[-5000:]

    results = project.folder / "results"
    rows = {
        method: [json.loads(line) for line in path.read_text().splitlines()]
        for method in METHODS
        for path in results.glob(f"**/tiny-qwen/aokvqa/{method}/predictions.jsonl")
    }
    assert set(rows) == set(METHODS)
    counts = [row["image_tokens"] for row in rows["vanilla"]]
    assert all(row["layouts"][0][0][0] * row["layouts"][0][0][1] == row["image_tokens"] for row in rows["vanilla"])
    assert all(small["image_tokens"] < full for small, full in zip(rows["downsample"], counts, strict=True))
    assert all(len(row["kept"]) == 2 for row in rows["himap"])
    table = pd.read_csv(results / "tables" / "table1.csv")
    assert set(table["model"]) == {"tiny-qwen"}
    page = (results / "report.html").read_text()
    assert 'class="dropped"' in page
    assert "Where the kept tokens lie" in page
    assert project.stale() == set()


def beside_config(config: dict[str, Any]) -> None:
    """A model whose text looks at pictures by cross-attention, with the part of HiMAP that it can run."""
    tiny_config(config)
    config["models"] = {"tiny-idefics": {"path": "models/tiny-idefics", "family": "idefics"}}
    config["methods"]["himap"]["stages"] = [{"layer": 1, "keep": 0.5, "criterion": "instruction_attention"}]
    config["tables"]["table1"] = {"methods": METHODS[:4]}
    config["latency"]["methods"] = METHODS[:2]
    config["grid"] = {"benchmarks": []}


def test_a_tiny_idefics_goes_from_config_to_report(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    cross_families.FAMILIES["idefics"].write(project.folder / "models" / "tiny-idefics")
    project.configure(beside_config)
    printed = project.call()
    assert printed.returncode == 0, printed.stdout[-5000:]
    results = project.folder / "results"
    (path,) = results.glob("**/tiny-idefics/aokvqa/himap/predictions.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["image_tokens"] for row in rows} == {16}
    table = pd.read_csv(results / "tables" / "table1.csv")
    assert set(table["model"]) == {"tiny-idefics"}
    assert (results / "report.html").is_file()
    assert project.stale() == set()
