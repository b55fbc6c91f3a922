"""./reproduce compare: what differs between two runs is found, tested and explained, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from himap.comparison.differences import differences
from himap.comparison.runs import opened
from himap.metrics.paired import mcnemar
from himap.workflow import compare_runs
from two_runs import CHANGED, RECORD, change

pytestmark = pytest.mark.slow


def test_a_changed_cell_is_tested_on_the_same_samples_and_all_that_may_explain_it_is_listed(
    first: Path, second: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert compare_runs.main([str(first), str(second), "--fail-on-change", "--out", str(page)]) == 1
    said = capsys.readouterr().out
    with opened(first, "A") as before, opened(second, "B") as after:
        found = differences(before, after)
        pair = [run.results.per_sample(*CHANGED)["score"] for run in (before, after)]
    (cell,) = [cell for cell in found.cells if cell.differs]
    assert cell.cell == CHANGED
    assert cell.paired
    assert cell.changed == 10
    assert cell.p_value == pytest.approx(mcnemar(*pair))
    assert cell.difference == pytest.approx(100 * (pair[1].mean() - pair[0].mean()))
    assert found.settings == [("benchmarks.vqav2.limit", "16", "17")]
    assert [name for name, _, _ in found.code] == ["version"]
    assert found.surroundings == [("torch", "2.13.0+cpu", "2.13.0+cpu, 9.9.9")]
    assert [change[2] for change in found.verdicts] == ["does not hold"]
    html = page.read_text(encoding="utf-8")
    for text in ("mini/scienceqa/himap", "benchmarks.vqav2.limit", "9.9.9", "does not hold"):
        assert text in said
        assert text in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_a_run_beside_itself_does_not_fail_on_change(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(first), str(first), "--fail-on-change", "--out", str(tmp_path / "page.html")]
    assert compare_runs.main(words) == 0
    assert "have the same answers and scores; no cost and no verdict changed" in capsys.readouterr().out


def test_other_samples_are_compared_by_their_intervals_without_a_test(
    first: Path, second: Path, tmp_path: Path
) -> None:
    other = tmp_path / "results"
    shutil.copytree(second, other)
    change(other / "benchmarks/scienceqa/manifest.json", lambda manifest: manifest.update(sha256="0" * 64))
    with opened(first, "A") as before, opened(other, "B") as after:
        (cell,) = [cell for cell in differences(before, after).cells if cell.cell == CHANGED]
    assert not cell.paired
    assert cell.p_value is None
    assert cell.interval is not None
    assert cell.interval[0] < (cell.difference or 0) < cell.interval[1]


def test_a_folder_whose_report_is_not_written_is_compared_and_says_what_is_not_known(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "results"
    shutil.copytree(first, bare)
    (bare / RECORD).unlink()
    words = [str(bare), str(first), "--fail-on-change", "--out", str(tmp_path / "page.html")]
    assert compare_runs.main(words) == 0  # what is not known has not changed
    said = capsys.readouterr().out
    assert f"version: not known (no {RECORD}) -> 0." in said
    assert f"Verdicts and settings are not compared: no report of {bare} has been written" in said


def test_a_run_of_a_newer_version_a_missing_one_and_an_empty_folder_are_named(first: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(first, newer)
    change(newer / RECORD, lambda record: record.update(format=2, project="3.0"))
    (tmp_path / "empty").mkdir()
    cases = {
        newer: r"newer: written by a newer version of this project \(3\.0, format 2; this one reads 1\); update",
        tmp_path / "missing": "missing: no such folder or archive; give a results folder",
        tmp_path / "empty": "empty: no answers in it",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message):
            compare_runs.main([str(first), str(path), "--out", str(tmp_path / "page.html")])
