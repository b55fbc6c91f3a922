"""A whole run of the paper's preset, made up: every claim gets the verdict that it should, in both directions."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import paper_run
import pytest
import yaml
from himap import benchmarks
from himap.report.verdicts.claims import verdict_groups
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, Verdict
from himap.results import Results
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.report_settings import CLAIMS, report_facts

pytestmark = pytest.mark.slow
DECIDED_BY_RUNS = (
    "qa-kept", "choice-better", "beats-fastv", "captions-kept", "open-kept", "aggressive-captions", "scores", "shallow-criterion",
    "deep-criterion", "shallow-flow", "deep-flow", "early-cut", "bias-ratio", "latency-order",
)  # fmt: skip


@pytest.fixture(scope="module", params=[True, False], ids=["HiMAP wins", "HiMAP loses"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bool, Plan]:
    """A whole run in one direction."""
    return request.param, paper_run.build(tmp_path_factory.mktemp("paper"), request.param)


def verdicts(plan: Plan) -> dict[str, Verdict]:
    """The verdict on each claim, as the page gives it."""
    groups = verdict_groups(Results(plan.out, report_facts(plan)))
    return {row["claim"]["id"]: row["found"] for group in groups for row in group["rows"]}


def test_every_claim_of_the_papers_preset_can_hold_and_can_fail(made: tuple[bool, Plan]) -> None:
    himap_wins, plan = made
    found = verdicts(plan)
    by_runs = {name: one for name, one in found.items() if one.basis != "arithmetic"}
    assert set(by_runs) == set(DECIDED_BY_RUNS)
    expected = HOLDS if himap_wins else FAILS
    wrong = {name: (one.verdict, one.why, one.ours) for name, one in by_runs.items() if one.verdict != expected}
    assert not wrong
    assert {one.basis for one in by_runs.values()} == {"paper"}
    shown = {
        name: {line.split(":")[0] for line in found[name].ran_on}
        for name in ("qa-kept", "captions-kept", "deep-criterion")
    }
    assert {name: len(models) for name, models in shown.items()} == {
        "qa-kept": 4,
        "captions-kept": 2,
        "deep-criterion": 1,
    }
    assert any("pictures" in line for line in found["qa-kept"].ran_on)  # MME and POPE: questions and pictures


def test_where_a_tenth_of_the_answers_is_missing_the_claims_about_them_say_not_run_yet(
    made: tuple[bool, Plan], tmp_path: Path
) -> None:
    himap_wins, plan = made
    shutil.copytree(plan.out, tmp_path / "results")
    copy = paper_run.plan_of(tmp_path)
    planned = paper_run.cells(copy)
    lost = set(random.Random(4).sample(planned, len(planned) // 10))
    for model, task, method in lost:
        shutil.rmtree(Path(copy.paths.scores(model, task, method)[0]).parent)
    paper_run.write_tables(copy)
    found = verdicts(copy)
    touched = 0
    for claim in (claim for group in yaml.safe_load(CLAIMS.read_text())["groups"] for claim in group["claims"]):
        if claim["test"] not in ("better", "not_worse"):
            continue
        tasks, methods = claim["with"]["tasks"], (claim["with"]["method"], claim["with"]["base"])
        about = {model for model, task, method in planned if (task, method) == (tasks[0], methods[1])}
        about &= {model for model, task, method in planned if (task, method) == (tasks[0], methods[0])}
        gone = {cell[:2] for cell in lost if cell[0] in about and cell[1] in tasks and cell[2] in methods}
        one = found[claim["id"]]
        if gone:
            touched += 1
            assert one.verdict == OPEN, claim["id"]
            assert one.why.startswith("not run yet: ")
            assert all(model in one.why and benchmarks.get(task).title in one.why for model, task in gone)
        else:
            assert one.verdict == (HOLDS if himap_wins else FAILS), (claim["id"], one.why)
    assert touched >= 3
    assert (found["scores"].verdict, found["scores"].why[:12]) == (OPEN, "not run yet:")
