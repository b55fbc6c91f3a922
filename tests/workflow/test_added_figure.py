"""A figure is added as the guide says: one file, copied from the template; the workflow, the config and the page know it."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from small_project import ROOT, Project

pytestmark = pytest.mark.slow


def test_an_added_file_is_a_target_a_key_of_the_config_and_a_part_of_the_page(project: Project) -> None:
    shutil.copy(ROOT / "docs/templates/figure.py", project.folder / "workflow_scripts/himap/figures/scores.py")
    assert project.stale() == {"figures/data/scores.csv", "figures/scores", "report.html"}

    said = project.call("scores", "report")
    assert said.returncode == 0, said.stdout[-3000:]
    results = project.folder / "results"
    table, numbers = (pd.read_csv(results / name) for name in ("tables/table1.csv", "figures/data/scores.csv"))
    assert numbers["ours"].tolist() == table["ours"].dropna().tolist()
    assert all((results / f"figures/scores.{form}").stat().st_size for form in ("svg", "pdf", "png"))
    part = (results / "report.html").read_text().partition('<article class="part" id="scores">')[2]
    part = part.partition("</article>")[0]
    drawing = (results / "figures/scores.svg").read_text()
    for words in ("Scores of Table 1", "VQAv2, n = 5", "HiMAP"):
        assert words in part
    for words in ("VQAv2, n = 5", "HiMAP", "score, with its 95 % interval"):
        assert f"<!-- {words} -->" in drawing  # matplotlib notes what it draws as paths
    assert project.stale() == set()

    project.configure(lambda config: config.update(figures={"scores": {"width": 6}}))
    assert project.stale() == {"figures/scores", "report.html"}
    project.configure(lambda config: config.update(figures={"score": {}}))
    said = project.call("-n")
    assert said.returncode != 0
    assert "figures.score: unknown key (did you mean 'scores'?)" in said.stdout


def test_a_file_that_declares_no_figure_is_named(project: Project) -> None:
    (project.folder / "workflow_scripts/himap/figures/draft.py").write_text("TITLE = 'not yet'\n")
    said = project.call("-n")
    assert said.returncode != 0
    assert "himap/figures/draft.py: should end with FIGURE = Figure(...)" in said.stdout
