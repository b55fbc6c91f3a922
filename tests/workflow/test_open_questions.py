"""Open questions in the workflow: a target each, only what a change concerns runs again, and a stopped job goes on where it was."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ask_question
import make_mini_benchmarks
import mini_cross
import pandas as pd
import pytest
from himap.benchmarks import get, read_samples
from himap.benchmarks.samples.prepare import prepare
from himap.benchmarks.samples.source import from_path
from himap.experiments import questions
from himap.workflow.config.load import load
from himap.workflow.estimate import Estimator
from himap.workflow.plan import settings as plan_settings
from himap.workflow.plan import staleness, targets
from himap.workflow.plan.plan import Plan
from himap.yaml_files import ConfigError
from small_project import ROOT, Project, small_config

pytestmark = pytest.mark.slow


def with_questions(config: dict[str, Any]) -> None:
    """Ask two of the questions of a few samples, and no other."""
    config["benchmarks"]["kinds"] = {"source": "mini", "limit": 36}
    config["questions"] = {name: {"benchmarks": []} for name in questions.names()}
    config["questions"] |= {"blocking": {"limit": 36, "settings": {"points": 3}}, "oq4": {"settings": {"keep": [0.5]}}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-six samples of the embedded world: each kind of question about three pictures."""
    folder = tmp_path_factory.mktemp("kinds")
    make_mini_benchmarks.main(["--benchmark", "kinds", "--limit", "36", "--out", str(folder / "rows.parquet")])
    benchmark = get("kinds")
    found = from_path(folder / "rows.parquet", benchmark.source)
    prepare(benchmark, benchmark.source, found, folder / "samples.parquet", folder / "manifest.json")
    return folder / "samples.parquet"


def test_every_sample_of_the_embedded_world_knows_its_kind_and_what_it_is_about(samples: Path) -> None:
    known = list(read_samples(samples))
    kinds = [sample.metadata["kind"] for sample in known]
    assert kinds[::3] == kinds[1::3] == kinds[2::3]  # one question about three pictures
    assert len(set(kinds)) == 12
    for first, other, same in zip(known[::3], known[1::3], known[2::3], strict=True):
        assert first.question == other.question == same.question
        assert first.references == same.references != other.references
        assert len({first.images[0], other.images[0], same.images[0]}) == 3
    assert all(sample.metadata["evidence"] for sample in known if sample.metadata["kind"] not in ("existence", "count"))
    assert max(max(sample.metadata["evidence"], default=0) for sample in known) < 144


def test_a_stopped_job_measures_only_what_is_missing(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(stops_after: int | None) -> Any:
        def measure(model: Any, group: Any, settings: Any) -> Any:
            if len(measured) == stops_after:
                raise KeyboardInterrupt
            measured.append(group[0].sample.sample_id)
            return [{"sample_id": group[0].sample.sample_id, "with": stops_after or 0}]

        return {"blocking": replace(questions.get("blocking"), measure=measure)}

    words = ["--question", "blocking", "--model", str(ROOT / "models/mini"), "--benchmark", "kinds"]
    words += ["--samples", str(samples), "--device", "cpu", "--out", str(tmp_path / "blocking.csv")]
    stopping, going_on = measure(3), measure(None)
    monkeypatch.setattr(questions, "registry", lambda: stopping)
    with pytest.raises(KeyboardInterrupt):
        ask_question.main(words)
    assert not (tmp_path / "blocking.csv").exists()
    monkeypatch.setattr(questions, "registry", lambda: going_on)
    ask_question.main(words)
    assert len(measured) == len(set(measured)) == 12  # a triple each, none twice
    frame = pd.read_csv(tmp_path / "blocking.csv", dtype=str)
    assert frame["sample_id"].tolist() == measured
    assert frame["with"].tolist() == ["3"] * 3 + ["0"] * 9


def plan_with(**entries: Any) -> Plan:
    """The plan of the small config with open questions."""
    config = small_config()
    with_questions(config)
    config["questions"] |= entries
    return Plan(load(config))


def test_a_question_is_a_target_and_its_own_settings_and_code_alone_decide_its_rows() -> None:
    plan = plan_with()
    assert targets.members(plan)["open_questions"] == ["blocking", "oq4"]
    jobs = targets.first_outputs(plan)["blocking"]
    assert "results/questions/mini/kinds/blocking.csv" in jobs
    assert not any("evaluation" in file for file in jobs)
    other = plan_with(blocking={"limit": 12, "settings": {"points": 3}})
    cells = [(plan, "oq4"), (plan, "blocking"), (other, "oq4"), (other, "blocking")]
    oq4, blocking, same, changed = (plan_settings.question(of, name, "mini", "kinds") for of, name in cells)
    assert oq4 == same
    assert json.loads(changed) == json.loads(blocking) | {"limit": 12}
    # another criterion is other code; a question that ranks no token depends on none
    ranked = plan_with(oq4={"settings": {"criteria": ["embedding_norm", "random"]}})
    versions = [staleness.question(of, "oq4", "mini", "kinds") for of in (plan, ranked)]
    assert versions[0] != versions[1]


def test_no_question_is_asked_where_the_config_has_none_of_its_benchmarks_and_the_estimate_counts_the_others() -> None:
    config = small_config()
    assert targets.members(Plan(load(config)))["open_questions"] == []
    stage = Estimator(plan_with(), "a100").questions()
    assert stage.rules == {"ask_question": 2}
    assert Estimator(plan_with(oq4={"settings": {"keep": [0.5] * 5}}), "a100").questions().seconds > stage.seconds > 0


def test_unknown_names_in_a_question_are_listed() -> None:
    with pytest.raises(ConfigError) as error:
        plan_with(blocking={"benchmarks": ["kind"], "models": ["mni"], "settings": {"point": 3}}, oq5={})
    with pytest.raises(ConfigError, match=r"questions.oq4.settings: unknown criterion 'norm'"):
        plan_with(oq4={"settings": {"criteria": ["norm", "random"]}})
    text = str(error.value)
    assert "questions.blocking.settings.point: unknown setting (did you mean 'points'?)" in text
    assert "questions.blocking.models[0]: unknown model 'mni' (did you mean 'mini'?)" in text
    assert "questions.blocking.benchmarks[0]: unknown benchmark 'kind' (did you mean 'kinds'?)" in text


def test_a_set_of_the_embedded_world_alone_cannot_come_from_the_hub() -> None:
    config = small_config()
    config["benchmarks"]["kinds"] = {"limit": 3}
    with pytest.raises(
        ConfigError, match=r"benchmarks.kinds.source: 'kinds' exists in the embedded world alone; write"
    ):
        load(config)


@pytest.fixture(scope="module")
def asked(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project after one command for three questions, one of them asked of a second model as well."""
    project = finished.copied_to(tmp_path_factory.mktemp("asked") / "project")
    mini_cross.write(project.folder / "models" / "mini-cross")

    def ask(config: dict[str, Any]) -> None:
        with_questions(config)
        for name in ("blocking", "oq4"):
            config["questions"][name].update(limit=12)
        config["questions"]["oq1"] = {"limit": 6, "settings": {"only_correct": False, "points": 2}}
        config["models"]["mini-cross"] = {"path": "models/mini-cross", "family": "mllama", "only": ["oq1"]}

    project.configure(ask)
    said = project.call("open_questions", "report")
    assert said.returncode == 0, said.stdout[-3000:]
    return project


def test_one_command_answers_the_open_questions_and_the_page_shows_them(asked: Project) -> None:
    results = asked.folder / "results"
    rows = pd.read_csv(results / "questions/mini/kinds/blocking.csv")
    image = rows[(rows["edit"] == "image") & (rows["donor"] == "other answer")].set_index("layer")
    assert image.loc[0, "follows"].mean() == 1  # the picture is nothing but its rows before the first layer …
    assert image.loc[11, "follows"].mean() < 0.5  # … and has been read before the last
    control = rows[rows["donor"] == "same answer"]
    assert control["same"].mean() > 0.9
    oq4 = pd.read_csv(results / "questions/mini/kinds/oq4.csv", keep_default_na=False, na_values=[""])
    costs = oq4.groupby("module")["ratio"].first()
    assert costs["deep"] == pytest.approx(costs["shallow"], rel=0.01)
    with zipfile.ZipFile(results / "report.zip") as archive:
        assert b"system-message" not in archive.read(
            "report/report.html"
        )  # where a caption is no valid reStructuredText
    page = (results / "report.html").read_text()
    part = page.partition('<section id="beyond"')[2].partition("</section>")[0]
    for words in (
        "Where the information is",
        "control, image rows of a picture with the same answer",
        "in the embedded world it",
    ):
        assert words in part
    assert "not published" not in part  # the paper asks none of these


def test_a_model_of_another_depth_and_architecture_joins_one_question_and_nothing_else(asked: Project) -> None:
    results = asked.folder / "results"
    assert {path.name for path in results.glob("questions/mini-cross/*/*.csv")} == {"oq1.csv"}
    numbers = pd.read_csv(results / "figures/data/oq1.csv")
    assert numbers.groupby("model")["layers"].first().to_dict() == {"mini": 12, "mini-cross": 16}
    assert numbers.groupby("model")["beside"].first().to_dict() == {"mini": 0, "mini-cross": 1}
    halves = numbers[numbers["measure"] == "second half less first"]
    assert halves["depth"].tolist() == [0.5, 0.5]
    assert (results / "figures/oq1.png").is_file()
    assert set(pd.read_csv(results / "tables/table1.csv")["model"]) == {"mini"}
    assert not list(results.glob("evaluation/mini-cross"))
    page = (results / "report.html").read_text()
    assert "no S_vv in the decoder" in page
    assert "models/mini-cross" in page  # among the weights that were used
    assert asked.stale("open_questions", "report") == set()
