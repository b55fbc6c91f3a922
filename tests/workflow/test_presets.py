"""The presets of today's models plan, and a model whose revision is missing is named."""

from __future__ import annotations

import pytest
import yaml
from himap.experiments.grid import Grid
from himap.figures import get as figure_named
from himap.workflow.config.load import load
from himap.workflow.plan import targets
from himap.workflow.plan.plan import Plan
from himap.yaml_files import ConfigError, read_config
from small_project import ROOT

PRESETS = ("presets/laptop.yaml", "presets/modern.yaml")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_method_drops_at_the_same_depth_of_every_model(preset: str) -> None:
    plan = Plan(load(read_config([ROOT / preset])))
    assert targets.jobs(plan)
    depths = {model: plan.dims(model).layers for model in plan.config.models}
    for model, layers in depths.items():
        stages = plan.method(model, "scienceqa", "himap").stages
        shares = [stage.layer / layers for stage in stages]
        assert shares == pytest.approx([2 / 32, 8 / 32], abs=0.5 / layers), (model, layers)
        assert plan.dims(model).varies
        assert plan.image_mode(model, "scienceqa") is None


def test_the_preset_of_other_seeds_asks_open_questions_alone_and_draws_nothing_without_results() -> None:
    plan = Plan(load(read_config([ROOT / "presets/seeds.yaml"])))
    assert targets.tables(plan) == []
    # Figure 7 needs no results, but has no schedule to show here.
    assert {figure_named(name).section for name in targets.figures(plan)} == {"beyond"}


def test_the_preset_of_other_architectures_plans_and_config_names_what_cross_attention_lacks() -> None:
    raw = read_config([ROOT / "presets/architectures.yaml"])
    plan = Plan(load(raw))
    assert targets.jobs(plan)
    stages = {model: plan.method(model, "scienceqa", "himap").stages for model in plan.config.models}
    assert {model: len(listed) for model, listed in stages.items()} == {
        "idefics-9b-instruct": 1,
        "instructblip-vicuna-7b": 2,
    }
    dims = plan.dims("idefics-9b-instruct")
    assert (dims.layers, len(dims.cross), dims.picture_width) == (40, 8, 1280)
    own = raw["methods"]["himap"].pop("models")["idefics-9b-instruct"]["stages"]
    with pytest.raises(
        ConfigError, match="'image_attention' needs image tokens in the sequence, but idefics looks at them"
    ):
        load(raw)
    raw["methods"]["himap"]["stages"] = own
    raw["models"]["idefics-9b-instruct"]["dims"]["cross_layers"] = [7, 15]
    with pytest.raises(
        ConfigError,
        match=r"'instruction_attention' at layer 3 has no cross-attention below it.*8 is the lowest layer that works",
    ):
        load(raw)
    del raw["models"]["idefics-9b-instruct"]["dims"]["cross_layers"]
    with pytest.raises(ConfigError, match=r"dims\.cross_layers: is required with the family idefics"):
        load(raw)


@pytest.mark.parametrize(
    ("preset", "left_out"), [("paper", set()), ("quick-gpu", set()), ("modern", {"blocking", "attack"})]
)
def test_a_preset_asks_every_question_that_its_models_can_be_asked(preset: str, left_out: set[str]) -> None:
    plan = Plan(load(read_config([ROOT / f"presets/{preset}.yaml"])))
    asked = {name for name in ("blocking", "oq2", "oq3", "oq4", "importance", "attack") if plan.question_cells(name)}
    assert {"blocking", "oq2", "oq3", "oq4", "importance", "attack"} - asked == left_out
    assert {*targets.members(plan)["open_questions"]} >= asked


def test_the_paper_s_preset_runs_the_sweep_of_its_summary_on_both_llavas() -> None:
    plan = Plan(load(read_config([ROOT / "presets/paper.yaml"])))
    models = ("llava-1.5-7b", "llava-1.5-13b")
    assert plan.grid_cells() == [(model, task) for model in models for task in ("vqav2", "nocaps")]
    grid = plan.config.grid
    schedules = Grid(grid.k1, grid.r1, grid.k2, grid.r2).schedules(plan.dims("llava-1.5-7b"))
    assert len(schedules) == 82  # three values each of K1, R1, K2, R2, and the unpruned model
    # the paper's own setting is among them: 288 of 576 tokens before layer 2, 72 before layer 8
    assert ((2, 0.5), (8, 0.125)) in schedules.values()
    files = targets.first_outputs(plan)["sweep"]
    assert sum(file.endswith("scores.csv") for file in files) == 4


@pytest.mark.parametrize("preset", PRESETS)
def test_a_revision_that_must_be_filled_in_is_named(preset: str) -> None:
    raw = yaml.safe_load((ROOT / preset).read_text())
    name = next(iter(raw["models"]))
    del raw["models"][name]["revision"]
    with pytest.raises(ConfigError, match=rf"models\.{name}\.revision: is required with `id`"):
        load(raw)
