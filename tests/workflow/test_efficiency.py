"""`./reproduce efficiency figure8`, and what its settings refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from himap.workflow.config.load import load
from himap.workflow.estimate import Estimator
from himap.workflow.plan import settings
from himap.workflow.plan.plan import Plan
from himap.yaml_files import ConfigError, read_config
from small_project import ROOT, copy_project

TINY = {"layers": 10, "width": 64, "heads": 2, "ffn": 64, "image_tokens": 16, "text_tokens": 40, "examples": 2}


def configured(**latency: Any) -> Plan:
    """The default config with another section `latency`."""
    raw = read_config([ROOT / "config.yaml"])
    return Plan(load(raw | {"latency": latency}))


@pytest.mark.slow
def test_random_weights_alone_make_the_table_and_figure_8_and_a_second_start_finds_nothing_to_do(
    tmp_path: Path,
) -> None:
    project = copy_project(tmp_path / "project")
    project.configure(lambda config: config.update(latency={"benchmarks": [], "random_weights": TINY}))
    done = project.call("efficiency", "figure8", "--cores", "1")
    assert done.returncode == 0, done.stdout[-3000:]
    results = project.folder / "results"
    for file in ("tables/efficiency.md", "tables/efficiency.html", "figures/figure8.svg"):
        assert "random weights (for time only)" in (results / file).read_text(), file
    assert not (results / "models").exists()  # no checkpoint
    assert project.stale("efficiency", "figure8") == set()


def test_batches_of_32_are_for_gpus_unless_the_config_names_them() -> None:
    plan = configured()
    assert '"batches": [8]' in settings.latency(plan, "mini", "scienceqa")
    raw = read_config([ROOT / "presets" / "quick-gpu.yaml"])
    assert '"batches": [8, 32]' in settings.latency(Plan(load(raw)), "llava-1.5-7b", "scienceqa")
    assert '"batches": [4]' in settings.latency(configured(batches=[4]), "mini", "scienceqa")


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"width": 700}, "width: 700 is no even multiple of `heads` (12); take one that is"),
        ({"image_tokens": 500}, "image_tokens: 500 tokens form no square; take a square number, as 576"),
        ({"methods": ["himapp"]}, "latency.random_weights.methods[0]: unknown method 'himapp' (did you mean 'himap'?)"),
    ],
)
def test_sizes_and_methods_of_random_weights_that_make_no_sense_are_refused(entry: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(random_weights=entry)
    assert line in str(refused.value)


def test_the_estimate_lets_questions_about_one_picture_share_it_as_far_as_no_stage_has_pruned() -> None:
    raw = read_config([ROOT / "presets" / "paper.yaml"])
    estimate, model = Estimator(Plan(load(raw)), "a100"), "llava-1.5-7b"
    plan, batch = estimate.plan, raw["execution"]["batch_size"]
    assert estimate.pictures("pope") == pytest.approx((1 + (batch - 1) / 18) / batch)
    assert estimate.pictures("scienceqa") == 1
    vanilla, himap = ([plan.method(model, "pope", name)] for name in ("vanilla", "himap"))

    def gain(schedules: list[Any]) -> float:
        apart, together = (
            estimate.times.shared_prefill(model, "qa", schedules, pictures=share)
            for share in (1.0, estimate.pictures("pope"))
        )
        return apart / together

    assert 3 < gain(vanilla) < batch
    assert 1.1 < gain(himap) < 2  # two of 32 layers and the tower


def test_the_estimate_counts_batches_the_eager_kernel_and_random_weights() -> None:
    def seconds(**latency: Any) -> float:
        # of models of true size: the embedded one is so small that a batch takes as long as a question
        raw = read_config([ROOT / "presets" / "paper.yaml"])
        plan = Plan(load(raw | {"latency": {"benchmarks": ["scienceqa"], **latency}}))
        stage = Estimator(plan, "a100").latency()
        return stage.seconds + stage.here

    plain = seconds(batches=[], eager=False)
    assert plain < seconds(batches=[], eager=True) < 1.8 * plain
    assert seconds(batches=[8], eager=False) > 1.3 * plain
    assert seconds(batches=[], eager=False, random_weights={}) > plain
