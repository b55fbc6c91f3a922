"""Reading and planning the workflow: quick, clean, as many jobs as the estimate says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from himap.experiments.cut_runs import TOGETHER
from himap.mini.benchmarks import write
from himap.workflow.assumptions import CUTS
from himap.workflow.config.load import load
from himap.workflow.estimate import Estimator
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.targets import OTHER_TARGETS, targets
from himap.workflow.show_estimate import table
from himap.workflow.snakemake_log import shared_name
from himap.yaml_files import read_config
from small_project import copy_project

pytestmark = pytest.mark.slow

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
    """Snakemake's table of jobs; rules that are made in a loop count together."""
    counts = Counter[str]()
    for name, count in re.findall(r"^(\w+)\s+(\d+)$", text, re.MULTILINE):
        counts[shared_name(name)] += int(count)
        if name == "total":  # a dry run prints the table once more at its end
            break
    return dict(counts)


@pytest.fixture(scope="module")
def plan_of_the_paper() -> dict[str, int]:
    """Jobs of the paper's preset, nothing done yet."""
    said = snakemake("-n", "--quiet", "rules", "--forceall", "--configfile", "presets/paper.yaml")
    assert said.returncode == 0, said.stdout[-3000:]
    return job_counts(said.stdout)


def test_the_paper_takes_less_than_four_hundred_jobs(plan_of_the_paper: dict[str, int]) -> None:
    assert 200 < plan_of_the_paper["total"] < 400


def test_the_paper_takes_at_most_120_evaluation_jobs(plan_of_the_paper: dict[str, int]) -> None:
    assert plan_of_the_paper["evaluate_method"] == 40  # a pass for each model and benchmark, two for VQAv2's shards


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


def test_each_other_preset_is_valid_and_its_jobs_can_be_planned() -> None:
    for preset in sorted({*(ROOT / "presets").glob("*.yaml")} - {ROOT / "presets/paper.yaml"}):
        said = snakemake("-n", "--quiet", "rules", "--configfile", str(preset))
        assert said.returncode == 0, f"{preset}: {said.stdout[-2000:]}"
        asked = "ask_question" if preset.name == "seeds.yaml" else "evaluate_method"  # open questions alone
        assert job_counts(said.stdout)[asked] > 0, preset


def estimator(preset: str, **parts: dict[str, Any]) -> Estimator:
    """The estimate of a preset, some of its parts changed."""
    raw = read_config([ROOT / "presets" / preset])
    return Estimator(Plan(load(raw | {key: raw[key] | part for key, part in parts.items()})), "a100")


def test_the_quick_preset_is_estimated_at_less_than_an_hour() -> None:
    assert sum(stage.seconds for stage in estimator("quick-gpu.yaml").stages()) < 3600


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_the_estimate_for_an_h100_is_within_half_of_what_one_was_measured_to_take(size: str) -> None:
    folder, model = ROOT / "docs" / "benchmarks", f"llava-1.5-{size}"
    estimate = Estimator(estimator("paper.yaml").plan, "h100")
    rows = pd.read_csv(folder / "gpu-efficiency.csv")
    width = estimate.plan.dims(model).width
    (row,) = rows[
        rows["benchmark"].str.contains(f"width {width}")
        & (rows[["method", "batch_size", "kernel"]] == ["vanilla", 8, "cuDNN"]).all(axis=1)
    ].to_dict("records")
    runs = json.loads((folder / f"gpu-{size}.json").read_text())["runs"]
    (saliency,) = (run["saliency"]["ours"]["seconds"] for run in runs if "saliency" in run)
    assert estimate.times.prefill(model, "qa") == pytest.approx(row["first_token_ms"] / 1000 / 8, rel=0.5)
    assert estimate.times.decoding(model, 1, batch=8) == pytest.approx(row["step_ms"] / 1000 / 8, rel=0.5)
    assert estimate.times.salient(model) == pytest.approx(saliency, rel=0.5)


def test_the_estimate_counts_a_sweeps_batches_as_they_are() -> None:
    assert CUTS == TOGETHER


def test_the_default_run_shows_at_most_450_lines_without_a_terminal() -> None:
    """One line per job; the others are at most 27, as tests/faults/test_terminal.py shows."""
    stages = Estimator(Plan(load(read_config([ROOT / "config.yaml"]))), "a100").stages()
    assert 100 < sum(sum(stage.rules.values()) for stage in stages) <= 450 - 27


def test_a_smaller_image_is_estimated_at_about_the_cost_that_it_matches() -> None:
    model, estimate = "llava-1.5-7b", estimator("paper.yaml")
    smaller, himap = (
        estimate.times.prefill(model, "qa", estimate.plan.method(model, "pope", name))
        for name in ("downsample", "himap")
    )
    assert smaller == pytest.approx(himap, rel=0.05)
    assert smaller < 0.7 * estimate.times.prefill(model, "qa")


def test_a_second_way_of_cutting_is_estimated_like_its_flow_once_more_and_a_control_like_one_more_target() -> None:
    flows = ["img2txt", "img2img"]
    one, both = (
        estimator("paper.yaml", disruption={"flows": flows, "blocks": blocks}).disruption().seconds
        for blocks in (["pre"], ["pre", "post"])
    )
    times = estimator("paper.yaml").times
    few, many = (times.cuts("llava-1.5-7b", [flow], 32, 8, 2, tokens=1) for flow in flows)
    assert 5 * few < many  # the first flow sends the instruction's rows alone through the layers again
    assert one < both < 1.5 * one
    control, target = (
        estimator("paper.yaml", saliency=part).saliency().seconds
        for part in (
            {"weights": ["trained", "random"], "targets": ["emitted"]},
            {"weights": ["trained"], "targets": ["emitted", "released"]},
        )
    )
    assert control == target


def test_a_plan_from_nothing_the_estimate_and_status_count_the_same_jobs_of_every_rule(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")

    def judged(config: dict[str, Any]) -> None:
        config["benchmarks"]["mmvet"] = {"source": "mini", "limit": 3}
        config["tables"]["table9"] = {"benchmarks": ["mmvet"]}
        config["judge"] = {"base_url": "http://127.0.0.1:9/v1"}
        config["latency"] = {"benchmarks": ["scienceqa"], "examples": 1, "rounds": 1}
        config["grid"] = {"benchmarks": ["scienceqa"], "limit": 1, "k1": [2], "r1": [0.5], "k2": [7], "r2": [0.25]}

    project.configure(judged)
    planned = job_counts(project.call("-n", "--quiet", "rules").stdout)
    total = planned.pop("total") - planned.pop("all")
    plan = Plan(load(read_config([project.folder / "config.yaml"])))
    counted = sum((stage.rules for stage in Estimator(plan, "a100").stages()), Counter[str]())
    assert dict(counted) == planned
    assert f" 0/{total} jobs" in project.call("status").stdout
    assert re.search(rf"^all +{total} ", table(Estimator(plan, "a100").stages(), "a100"), re.MULTILINE)


def test_rows_of_a_local_file_of_the_embedded_world_and_of_the_hub_are_counted(tmp_path: Path) -> None:
    for name, images in (("vqav2", 7), ("mme", 4)):
        write(name, tmp_path / f"{name}.parquet", samples=images)
    raw = read_config([ROOT / "config.yaml"])
    raw["benchmarks"] = {
        "vqav2": {"source": str(tmp_path / "vqav2.parquet")},
        "mme": {"source": str(tmp_path / "mme.parquet"), "limit": 3},
        "pope": {"source": "mini"},
        "aokvqa": {},
        "nocaps": {"limit": 50},
        "textvqa": {"source": "mini", "limit": 1000},
    }
    estimate = Estimator(Plan(load(raw)), "a100")
    counts = {name: estimate.samples(name) for name in raw["benchmarks"]}
    assert counts == {"vqav2": 7, "mme": 6, "pope": 720, "aokvqa": 1145, "nocaps": 50, "textvqa": 1000}
    local = Estimator(Plan(load(raw | {"benchmarks": {"vqav2": raw["benchmarks"]["vqav2"]}})), "a100").stages()
    assert sum(stage.seconds for stage in local) < 3600
    assert sum(stage.disk_gb for stage in local) < 1


def test_the_default_run_is_estimated_in_minutes_of_this_machine(tmp_path: Path) -> None:
    said = copy_project(tmp_path / "project").call("estimate").stdout
    assert re.search(
        r"^Here, on \d+ cores: about \d+ minutes in all while nothing else runs, by a trial just now \(mini",
        said,
        re.MULTILINE,
    ), said
    assert "minutes here" in said


def test_a_config_that_asks_for_a_gpu_is_warned_about_once_on_a_machine_without_one(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    project.configure(lambda config: config["models"]["mini"].update(gpus=1))
    said = project.call("--until", "fetch_model", CUDA_VISIBLE_DEVICES="").stdout
    assert said.count("no GPU is visible on this machine, but `models.mini.gpus: 1` asks for one") == 1, said
    assert "no GPU is visible" not in project.call("--until", "fetch_model", CUDA_VISIBLE_DEVICES="0").stdout
    told = project.call("estimate", CUDA_VISIBLE_DEVICES="").stdout
    assert "mini: this machine has no GPU; here it would take many times these hours" in told


def test_the_estimate_of_the_disk_holds_what_is_downloaded() -> None:
    for stage in (estimator("paper.yaml").models(), estimator("paper.yaml").benchmarks()):
        assert stage.disk_gb > stage.download_gb > 0


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("laptop.yaml", {"smolvlm2-256m": 0.5, "smolvlm2-500m": 1.0}),
        ("modern.yaml", {"qwen2.5-vl-7b": 16.6, "internvl3-8b": 15.8, "qwen3-vl-8b": 17.6, "llava-next-7b": 14.2}),
        ("architectures.yaml", {"idefics-9b-instruct": 17.8, "instructblip-vicuna-7b": 15.8}),
    ],
)
def test_the_estimate_names_the_size_of_each_model_that_is_downloaded(preset: str, sizes: dict[str, float]) -> None:
    downloads = estimator(preset).model_downloads()
    assert downloads.keys() == sizes.keys()
    assert downloads == pytest.approx(sizes, abs=0.06)
    assert sum(downloads.values()) == pytest.approx(estimator(preset).models().download_gb)


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
    drawn = snakemake(
        "--rulegraph", "mermaid-js", "--", "report"
    ).stdout  # `all` asks for every file, so leads everywhere
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", drawn, re.MULTILINE))
    edges = {
        (shared_name(names[a]), shared_name(names[b]))
        for a, b in re.findall(r"^\s*(id\d+) --> (id\d+)", drawn, re.MULTILINE)
    }
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
    assert found == {*targets(Plan(load(read_config([ROOT / "config.yaml"])))), *OTHER_TARGETS}


def test_links_of_readme_and_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
