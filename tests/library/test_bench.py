"""The speed measurement: on systems that tell less than Linux does, and of two arms that must answer alike."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from himap.experiments import machine
from himap.tools import bench, bench_pass, bench_pictures
from himap.tools.arms import compare
from tiny import tiny_model


@pytest.mark.slow
def test_without_linux_peak_memory_stays_empty_and_the_times_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (bench, machine):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="darwin", stderr=sys.stderr))
    monkeypatch.setattr(machine, "resident", lambda _: pytest.fail("/proc was read"))
    words = ["--dims", "4,32,4,48", "--rounds", "1", "--naive-points", "1", "--parts", "sweep,saliency"]
    bench.main([*words, "--out", str(tmp_path / "figures.json")])
    monkeypatch.undo()
    figures = json.loads((tmp_path / "figures.json").read_text())
    for part in ("sweep", "saliency"):
        for arm in figures[part].values():
            assert arm["peak_mb"] is None
            assert arm["seconds"] > 0
    assert figures["saliency"]["ours"]["share_of_naive_peak"] is None
    assert "on Linux only" in capsys.readouterr().err


@pytest.mark.slow
def test_one_pass_and_questions_about_one_picture_are_compared_with_each_alone(tmp_path: Path) -> None:
    words = ["--dtype", "float32", "--device", "cpu", "--rounds", "1", "--out", str(tmp_path / "figures.json")]
    for tool, dims in ((bench_pass, "14,32,4,48"), (bench_pictures, "4,32,4,48")):
        tool.main(["--dims", dims, *words, *(["--questions", "2"] if tool is bench_pictures else [])])
        figures = json.loads((tmp_path / "figures.json").read_text())
        for measured in [figures] if tool is bench_pass else [figures["vanilla"], figures["himap"]]:
            assert measured["equal_answers"] == 1
            assert [len(seconds) for seconds in measured["processor_seconds"].values()] == [1, 1]


def test_arms_that_answer_otherwise_are_refused_in_float32_and_told_of_in_half_precision() -> None:
    arms = {"together": lambda: [[1], [2], [3], [4]], "apart": lambda: [[1], [2], [3], [5]]}
    with pytest.raises(ValueError, match="1 of 4 answers of the arms together and apart differ"):
        compare(arms, tiny_model(), 1)
    assert compare(arms, tiny_model(dtype=torch.float16), 1).equal_answers == 0.75
