"""The presets of today's models plan and dry-run, and a model whose revision is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml
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


@pytest.mark.parametrize("preset", PRESETS)
def test_a_revision_that_must_be_filled_in_is_named(preset: str) -> None:
    raw = yaml.safe_load((ROOT / preset).read_text())
    name = next(iter(raw["models"]))
    del raw["models"][name]["revision"]
    with pytest.raises(ConfigError, match=rf"models\.{name}\.revision: is required with `id`"):
        load(raw)


@pytest.mark.slow
def test_the_laptop_preset_dry_runs() -> None:
    done = subprocess.run(
        ["./reproduce", "-n", "--quiet", "rules", "--configfile", "presets/laptop.yaml"],
        cwd=ROOT, text=True, capture_output=True, timeout=300,
        env={**os.environ, "HIMAP_VENV": sys.prefix, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "evaluate_method" in done.stdout + done.stderr
