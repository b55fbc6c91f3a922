"""Reading and planning the workflow: quick, clean, as many jobs as the estimate says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from himap.config import load
from himap.estimate import Estimator
from himap.plan import Plan
from run_workflow import read_config

ROOT = Path(__file__).resolve().parents[2]


def snakemake(*words: str) -> subprocess.CompletedProcess[str]:
    """Snakemake in the project's folder, looking only."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def job_counts(text: str) -> dict[str, int]:
    """Snakemake's table of jobs."""
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def plan_of_the_paper() -> dict[str, int]:
    """Jobs of the paper's preset, nothing done yet."""
    said = snakemake("-n", "--quiet", "rules", "--forceall", "--configfile", "presets/paper.yaml")
    assert said.returncode == 0, said.stdout[-3000:]
    return job_counts(said.stdout)


def test_the_paper_takes_less_than_two_thousand_jobs(plan_of_the_paper: dict[str, int]) -> None:
    assert 500 < plan_of_the_paper["total"] < 2000


def test_the_estimate_counts_the_same_jobs(plan_of_the_paper: dict[str, int]) -> None:
    said = subprocess.run(
        ["./reproduce", "estimate", "--configfile", "presets/paper.yaml"],
        cwd=ROOT,
        env={"HIMAP_VENV": sys.prefix, "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
    )
    whole = re.search(r"^all\s+(\d+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)$", said.stdout, re.MULTILINE)
    assert whole, said.stdout + said.stderr
    assert int(whole[1]) == plan_of_the_paper["total"] - plan_of_the_paper["all"]
    assert float(whole[2]) > 1


def test_each_preset_is_valid_and_its_jobs_can_be_planned() -> None:
    for preset in sorted((ROOT / "presets").glob("*.yaml")):
        said = snakemake("-n", "--quiet", "rules", "--configfile", str(preset))
        assert said.returncode == 0, f"{preset}: {said.stdout[-2000:]}"


def estimator(preset: str, **parts: dict[str, Any]) -> Estimator:
    """The estimate of a preset, some of its parts changed."""
    raw = read_config(["--configfile", str(ROOT / "presets" / preset)])
    return Estimator(Plan(load(raw | {key: raw[key] | part for key, part in parts.items()})), "a100")


def test_the_quick_preset_is_estimated_at_less_than_an_hour() -> None:
    assert sum(stage.seconds for stage in estimator("quick-gpu.yaml").stages()) < 3600


def test_a_smaller_image_is_estimated_at_about_the_cost_that_it_matches() -> None:
    model, estimate = "llava-1.5-7b", estimator("paper.yaml")
    smaller, himap = (
        estimate.prefill(model, "qa", estimate.plan.method(model, "pope", name)) for name in ("downsample", "himap")
    )
    assert smaller == pytest.approx(himap, rel=0.05)
    assert smaller < 0.7 * estimate.prefill(model, "qa")


def test_a_second_way_of_cutting_is_estimated_like_one_more_flow_and_a_control_like_one_more_target() -> None:
    one, flows = "pre", ["img2txt", "img2img"]
    both, more = (
        estimator("paper.yaml", disruption=part).disruption().seconds
        for part in ({"flows": flows, "blocks": [one, "post"]}, {"flows": [*flows, "random"], "blocks": [one]})
    )
    assert both == more
    control, target = (
        estimator("paper.yaml", saliency=part).saliency().seconds
        for part in (
            {"weights": ["trained", "random"], "targets": ["emitted"]},
            {"weights": ["trained"], "targets": ["emitted", "released"]},
        )
    )
    assert control == target


def test_the_estimate_of_the_disk_holds_what_is_downloaded() -> None:
    for stage in (estimator("paper.yaml").models(), estimator("paper.yaml").benchmarks()):
        assert stage.disk_gb > stage.download_gb > 0


def test_torch_is_not_imported_while_the_workflow_is_read() -> None:
    code = (
        "import sys; from run_workflow import read_config; from himap.config import load; from himap.plan import Plan;"
        "plan = Plan(load(read_config(['--configfile', 'presets/paper.yaml'])));"
        "[plan.evaluation_code(*cell) for cell in plan.evaluations()]; [plan.table_settings(name) for name in plan.tables()];"
        "print(sorted({'torch', 'transformers', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": "workflow_scripts"}, text=True, capture_output=True
    )
    assert said.stdout.strip() == "[]", said.stdout + said.stderr


def test_snakemakes_linter_is_content() -> None:
    said = snakemake("--lint")
    assert said.returncode == 0, said.stdout
    assert "good condition" in said.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("snakefmt", "--check", "Snakefile", "rules"),
        ("ruff", "check", "."),
        ("mypy",),
    ],
    ids=lambda command: command[0],
)
def test_code_checkers_are_content(command: tuple[str, ...]) -> None:
    program = Path(sys.prefix) / "bin" / command[0]
    said = subprocess.run(
        [program, *command[1:]], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert said.returncode == 0, said.stdout[-4000:]


def test_a_wrong_config_is_refused_with_all_its_problems_before_anything_runs(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text()
    text = text.replace(
        "- {layer: 3, keep: 0.5, criterion: instruction_attention}",
        "- {layr: 4, keep: 1.5, criterion: instruction_attention}",
        1,
    )
    (tmp_path / "wrong.yaml").write_text(text.replace("seed: 0", "sed: 0"))
    said = snakemake("--cores", "1", "--configfile", str(tmp_path / "wrong.yaml"))
    assert said.returncode == 1
    assert "sed: unknown key (did you mean 'seed'?)" in said.stdout
    assert "methods.himap.stages.qa[0].layr: unknown key (did you mean 'layer'?)" in said.stdout
    assert "methods.himap.stages.qa[0].keep: 1.5: " in said.stdout
    assert "Traceback" not in said.stdout
    assert "rule " not in said.stdout


def test_the_rule_graph_of_the_documentation_is_the_workflows() -> None:
    drawn = snakemake("--rulegraph", "mermaid-js", "--", "report").stdout  # `all` asks for every file, so leads everywhere
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", drawn, re.MULTILINE))
    edges = {(names[a], names[b]) for a, b in re.findall(r"^\s*(id\d+) --> (id\d+)", drawn, re.MULTILINE)}
    assert edges
    text = (ROOT / "docs/workflow.md").read_text()
    assert set(re.findall(r"^\s*(\w+) --> (\w+)", text, re.MULTILINE)) == edges


def test_every_target_that_is_named_exists_and_every_one_that_exists_is_named() -> None:
    said = snakemake("--list-target-rules", "--quiet")
    assert said.returncode == 0, said.stdout
    text = (ROOT / "README.md").read_text()
    (named,) = re.findall(r"the targets are (.*?)\. ", text, re.DOTALL)
    found = set(re.findall(r"`(\w+)`", named))
    for stem, first, last in re.findall(r"`([a-z]+)(\d)` … `\1(\d)`", named):
        found |= {f"{stem}{number}" for number in range(int(first), int(last) + 1)}
    assert found == set(re.findall(r"^\w+$", said.stdout, re.MULTILINE))


def test_links_of_readme_and_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
