"""What a user sees of passes: which methods answer again after an edit, a deletion, a kill, and what `-n` says of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from himap.workflow.config.load import load
from himap.workflow.plan.history import History
from himap.workflow.plan.passes import COSTS, SCORES, passes
from himap.workflow.plan.plan import Plan
from small_project import Project

pytestmark = pytest.mark.slow

TABLE = "results/tables/table1.csv"


def answers(project: Project) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file with answers, by benchmark and method."""
    files = (project.folder / "results/evaluation/mini").glob("*/*/predictions.jsonl")
    return {"/".join(file.parts[-3:-1]): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def times_of_scores(project: Project) -> dict[Path, int]:
    """When each score was written."""
    return {path: path.stat().st_mtime_ns for path in (project.folder / "results/evaluation").rglob("score.json")}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Which answers are new or were written again."""
    return {name for name in after if before.get(name) != after[name]}


def test_a_new_and_a_changed_method_answer_alone_and_the_dry_run_names_both(project: Project) -> None:
    def change(config: dict[str, Any]) -> None:
        config["methods"]["himap"]["stages"][1]["keep"] = 0.25
        config["tables"]["table1"]["methods"].append("downsample")

    before = answers(project)
    project.configure(change)
    told = project.call("-n", "table1").stdout
    assert "2  evaluate method" in told
    assert "methods.himap.stages[1].keep: 0.125 → 0.25" in told
    assert "not made yet: downsample" in told
    assert project.call("table1").returncode == 0
    after = answers(project)
    tasks = ("vqav2", "scienceqa")
    assert changed(before, after) == {
        f"{task}/{method}" for task in tasks for method in ("himap", "random", "downsample")
    }
    assert "Nothing to be done" in project.call("-n", "table1").stdout


def test_deleted_answers_of_one_method_are_made_again_alone_and_equal(project: Project) -> None:
    before, scores = answers(project), times_of_scores(project)
    (project.folder / "results/evaluation/mini/vqav2/himap/predictions.jsonl").unlink()
    assert project.call("table1").returncode == 0
    after = answers(project)
    assert {name: text for name, (_, text) in after.items()} == {name: text for name, (_, text) in before.items()}
    assert after.pop("vqav2/himap")[0] <= before.pop("vqav2/himap")[0]  # the time at which it was first written
    assert after == before
    assert times_of_scores(project) == scores  # so they stay valid
    journal = json.loads(
        (project.folder / "results/evaluation/mini/vqav2/himap/predictions.jsonl.provenance.json").read_text()
    )
    assert journal["settings"]["method"]["name"] == "himap"


def test_tables_made_by_one_method_at_a_time_are_those_of_one_pass(finished: Project, tmp_path: Path) -> None:
    from small_project import copy_project

    project = copy_project(tmp_path / "project")
    methods = ["vanilla", "fastv", "himap", "random"]
    for count in range(1, len(methods) + 1):
        scored = times_of_scores(project)
        project.configure(lambda config, count=count: config["tables"]["table1"].update(methods=methods[:count]))
        done = project.call("table1")
        assert done.returncode == 0, done.stdout[-3000:]
        now = times_of_scores(project)
        assert len(now) == 2 * count
        assert now.items() >= scored.items()  # a new method is scored alone
    made = Counter(
        path.parent.name for path in (project.folder / "results/logs/evaluation/mini").glob("*/*/predictions.log")
    )
    assert made == Counter(dict.fromkeys(methods, 2))  # each method was a pass of its own
    for file in sorted((finished.folder / "results/tables").glob("table1.*")):
        assert (project.folder / "results/tables" / file.name).read_bytes() == file.read_bytes(), file.name
    assert {name: text for name, (_, text) in answers(project).items()} == {
        name: text for name, (_, text) in answers(finished).items()
    }


def test_a_first_run_has_one_pass_for_all_methods_of_a_benchmark_and_a_cluster_job_finds_the_same(
    tmp_path: Path,
) -> None:
    config = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())
    plan = Plan(load(config), History(tmp_path / ".snakemake"))
    assert len(passes(plan)) == len(config["benchmarks"].keys() - {"kinds", "where"})  # which open questions ask alone
    assert sum(len(each.methods) for each in passes(plan)) == len(plan.evaluations())
    assert sorted(each.place for each in passes(plan, COSTS)) == ["caption", "open", "qa"]
    # without a judge, open questions have no score
    scored = {each.place: each.methods for each in passes(plan) if each.place not in ("llavabench", "mmvet")}
    assert {each.place: each.methods for each in passes(plan, SCORES)} == scored
    key = "evaluate_method/mini/pope/predictions"
    frozen = {key: [["himap"], sorted(set(plan_methods(plan, "pope")) - {"himap"})]}
    plan.history.freeze(frozen)
    in_job = Plan(load(config), History(tmp_path / ".snakemake", in_run=True))
    assert [list(each.methods) for each in passes(in_job) if each.place == "pope"] == frozen[key]
    assert [each.methods for each in passes(in_job) if each.place != "pope"] == [
        each.methods for each in passes(plan) if each.place != "pope"
    ]


def plan_methods(plan: Plan, benchmark: str) -> list[str]:
    """The methods that a benchmark is answered under."""
    return [method for _, task, method in plan.evaluations() if task == benchmark]


def test_a_named_table_answers_under_its_own_methods_alone(tmp_path: Path) -> None:
    from himap.workflow.plan.targets import requested

    config = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())
    plan = Plan(load(config))
    plan.requested = requested(plan, ["table1"])
    own = config_methods(plan, "table1")
    pope = [set(each.methods) for each in passes(plan) if each.place == "pope"]
    assert own in pope
    assert len(pope) == 2


def config_methods(plan: Plan, table: str) -> set[str]:
    """The methods of a table."""
    return set(plan.config.tables[table].methods)
