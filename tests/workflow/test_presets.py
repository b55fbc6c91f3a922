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
