"""A model with `only` is there for some open questions: no table, figure or other analysis has it, and the estimate counts none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from himap.project import ROOT
from himap.workflow.config.load import load
from himap.workflow.estimate import Estimator
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.report_settings import report_facts
from himap.workflow.plan.targets import figure_inputs, first_outputs, targets
from himap.yaml_files import ConfigError, read_config


def one_model() -> dict[str, Any]:
    """The default config with its first model alone, asked all questions."""
    config = read_config([ROOT / "config.yaml"])
    config["models"] = {"mini": {"path": "models/mini"}}
    config["questions"].pop("oq4")  # which names another
    return config


def plan_with(**models: Any) -> Plan:
    """The plan of that config with further models, each the embedded one under another name."""
    config = one_model()
    config["models"] |= {name: {"path": "models/mini", **more} for name, more in models.items()}
    return Plan(load(config))


def test_a_model_that_only_one_open_question_is_about_adds_that_job_to_the_plan_and_no_other() -> None:
    alone, plan = plan_with(), plan_with(other={"only": ["oq1"]})
    before, after = ({file for files in first_outputs(one).values() for file in files} for one in (alone, plan))
    assert after - before == {"results/questions/other/kinds/oq1.csv", "results/models/other/manifest.json"}
    assert before <= after
    assert targets(plan).keys() == targets(alone).keys()
    assert figure_inputs(plan, "oq1") == [f"results/questions/{name}/kinds/oq1.csv" for name in ("mini", "other")]
    assert plan.evaluations() == alone.evaluations()
    counts = [sum((stage.rules for stage in Estimator(one, "a100").stages()), Counter[str]()) for one in (alone, plan)]
    assert counts[1] - counts[0] == {"fetch_model": 1, "ask_question": 1}
    facts = report_facts(plan)
    assert list(facts["models"]) == ["mini"]
    assert list(facts["question_models"]) == ["other"]


def test_a_full_model_is_in_everything_and_a_question_may_name_its_models() -> None:
    plan = plan_with(full={}, other={"only": ["oq1", "oq4"]})
    assert {model for model, _, _ in plan.evaluations()} == {"mini", "full"}
    assert [model for model, _ in plan.question_cells("oq4")] == ["mini", "full", "other"]
    assert [model for model, _ in plan.question_cells("blocking")] == ["mini", "full"]


def refusal(change: Any) -> str:
    """The error for a config with a model for oq1 only, after a change to it."""
    config = read_config([ROOT / "config.yaml"])
    config["models"]["other"] = {"path": "models/mini", "only": ["oq1"]}
    change(config)
    with pytest.raises(ConfigError) as error:
        load(config)
    return str(error.value)


def test_what_contradicts_only_is_refused_with_the_way_out() -> None:
    def name_it_elsewhere(config: dict[str, Any]) -> None:
        config["tables"]["rivals"]["models"] = ["mini", "other"]
        config["questions"]["oq4"]["models"] = ["other"]
        config["models"]["other"]["only"] = ["oq1", "oq11"]

    said = refusal(name_it_elsewhere)
    assert (
        "tables.rivals.models[1]: 'other' is for oq1, oq11 only; leave it out here, or change `models.other.only`"
        in said
    )
    assert "questions.oq4.models[0]: 'other' is for oq1" in said
    assert "models.other.only[1]: unknown open question 'oq11' (did you mean 'oq1'?)" in said
    said = refusal(lambda config: config["models"]["mini"].update(only=["oq1"]))
    assert "models: every model has `only`; at least one without it is needed" in said


def test_methods_need_not_fit_a_model_that_no_table_has() -> None:
    """A method's layers may lie beyond a smaller model, and the grid's too."""
    config = one_model()
    config["models"]["beside"] = {
        "id": "owner/name", "revision": "a" * 40, "family": "mllama", "only": ["oq1"],
        "dims": {
            "layers": 6, "width": 64, "heads": 4, "kv_heads": 4, "ffn": 96, "vocab": 100, "cross_layers": [1, 3],
            "image_tokens": 145, "parameters_billion": 0.001,
        },
    }  # fmt: skip
    assert [model for model, _ in Plan(load(config)).question_cells("oq1")] == ["mini", "beside"]
    del config["models"]["beside"]["only"]
    with pytest.raises(ConfigError) as error:
        load(config)
    said = str(error.value)
    assert "methods.himap.stages.qa[1].layer: 8 is not below the last layer of beside" in said
    assert "grid.k2[1]: 10 is not below the last layer of beside" in said


def test_a_smaller_image_is_refused_where_every_picture_is_read_at_one_size() -> None:
    config = read_config([ROOT / "presets" / "architectures.yaml"])
    config["tables"]["table1"]["methods"].append("downsample")
    with pytest.raises(ConfigError, match=r"methods.downsample: on idefics.*reads every picture at one size"):
        load(config)
