"""The speed measurement on systems that tell less than Linux does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from himap.experiments import machine
from himap.tools import bench


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
