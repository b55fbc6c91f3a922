"""docs/your-method.md, followed word by word in a copy of the project: its files saved, its commands typed, its table read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from small_project import ROOT, Project, copy_project

PAGE = ROOT / "docs" / "your-method.md"
SAVED = r"[Ss]ave this(?: one)? as\n?\s*`([^`]+)`"


def saved_files(page: str) -> dict[str, str]:
    """The files that the page says to save, by their names."""
    pieces = re.split(SAVED, page)
    blocks = (re.search(r"```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for text in pieces[2::2])
    return {name: block[1] for name, block in zip(pieces[1::2], blocks, strict=True) if block}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """A project in which the page was followed, and what its commands printed."""
    project, page = copy_project(tmp_path_factory.mktemp("page") / "project"), PAGE.read_text(encoding="utf-8")
    for name, text in saved_files(page).items():
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (project.folder / name).exists()
        (project.folder / name).write_text(text, encoding="utf-8")
    (project.folder / "presets").mkdir()
    preset = (ROOT / "presets" / "rivals.yaml").read_text(encoding="utf-8")
    (project.folder / "presets" / "rivals.yaml").write_text(preset, encoding="utf-8")
    printed = []
    for command in re.findall(r"```console\n(.*?)\n```", page, re.DOTALL):
        program, *words = command.split()
        if program == "./reproduce":
            done = project.call(*words)
        else:
            done = subprocess.run(command.split(), cwd=project.folder, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout[-3000:]
        printed.append(done.stdout)
    return project, printed


@pytest.mark.slow
def test_the_page_ends_in_a_row_of_the_new_method_beside_the_others(followed: tuple[Project, list[str]]) -> None:
    project, printed = followed
    assert len(saved_files(PAGE.read_text(encoding="utf-8"))) == 3
    _, table, estimate = printed
    for budget in ("1/3", "1/9"):
        (line,) = [line for line in table.split("\n") if line.startswith(f"| Contrast ({budget} of the tokens) |")]
        assert line.split("|")[2].strip() == {"1/3": "48.0", "1/9": "16.0"}[budget]
    frame = pd.read_csv(project.folder / "results/my-method/tables/rivals.csv")
    mine = frame[frame["of"] == "contrast"]
    assert len(mine) == 2
    assert mine[["ours", "vs_vanilla", "same_answers", "tflops", "left_mean", "top_to_bottom"]].notna().all().all()
    kept = {row.budget: row.tflops for row in mine.itertuples()}
    assert kept["1/3"] > kept["1/9"] > 0
    assert "llava-1.5-7b" in estimate


@pytest.mark.slow
def test_a_change_to_the_criterion_makes_its_own_results_stale_alone(followed: tuple[Project, list[str]]) -> None:
    project, _ = followed
    before = project.stale("rivals", "--configfile", "my-method.yaml")
    assert before == set()
    project.edit(
        "workflow_scripts/himap/pruning/criteria/contrast.py", lambda text: text.replace("1 - cosine", "2 - cosine")
    )
    stale = project.stale("rivals", "--configfile", "my-method.yaml")
    evaluated = {Path(name).parent.name for name in stale if "/predictions" in name}
    assert evaluated == {"contrast_1of3", "contrast_1of9"}
