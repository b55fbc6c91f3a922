"""What makes a judged result stale: what decides it, and not how the judge is reached."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from small_project import copy_project

sys.path.insert(0, str(Path(__file__).parents[1] / "judge"))

from loopback_judge import KEY, Judge

pytestmark = pytest.mark.slow
FOLDER = "evaluation/mini/mmvet/vanilla"
TARGET = f"results/{FOLDER}/score.json"
JUDGED = {f"{FOLDER}/{name}" for name in ("judgements.jsonl", "score.json", "per_sample.parquet")}


def test_how_the_judge_is_reached_makes_nothing_stale_and_what_decides_a_verdict_does(tmp_path: Path) -> None:
    judge, project = Judge(), copy_project(tmp_path / "project")

    def change(**settings: Any) -> None:
        project.configure(lambda config: config["judge"].update(settings))

    def configure(config: dict[str, Any]) -> None:
        config["benchmarks"] = {"mmvet": {"source": "mini", "limit": 2, "max_new_tokens": 4}}
        config["tables"] = {"table3": {"methods": ["vanilla"]}}
        config["judge"] = {"base_url": judge.url, "runs": 1}

    project.configure(configure)
    done = project.call(TARGET, HIMAP_JUDGE_API_KEY=KEY)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(judge.requests) == 2
    judge.server.shutdown()

    change(base_url="https://elsewhere.example/v1", concurrency=3, cache=".cache/other")
    said = project.call("-n", TARGET)
    assert "Nothing to be done" in said.stdout, said.stdout[-3000:]
    for decisive in ({"unreadable": 0.1}, {"unreadable": 0.02, "model": "other"}, {"model": None, "runs": 2}):
        change(**decisive)
        assert project.stale(TARGET) == JUDGED
