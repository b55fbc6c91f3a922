"""A whole small workflow with one tiny checkpoint of every family: the numbers mean nothing, the plumbing is what is shown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import originals
import pandas as pd
import pytest
import yaml
from warm import warm

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "envs", "profiles", "report", "rules", "schemas", "workflow_scripts", "pyproject.toml")
TARGETS = ("table1", "figure3", "figure5", "flops")
STAGES = [
    {"layer": 1, "keep": 0.5, "criterion": "instruction_attention"},
    {"layer": 2, "keep": 0.125, "criterion": "image_attention"},
]
IMAGE_TOKENS = {"llava": 16, "internvl": 576, "internvl-448px": 1024, "qwen": 256}


def configuration(published: Path) -> dict[str, Any]:
    """Four models as published, one benchmark with a raw prompt of its own for Qwen, two methods, both analyses."""
    models: dict[str, Any] = {"qwen": {"path": str(published / "qwen"), "family": "qwen_vl"}}
    for name, tower in originals.TOWERS.items():
        models[name] = {
            "path": str(published / name / "chat"), "tower": str(published / name / tower), "convert": True,
            "family": name.partition("-")[0],
            "dims": {"layers": 4, "width": 32, "heads": 4, "kv_heads": 4, "ffn": 64, "vocab": 512,
                     "image_tokens": IMAGE_TOKENS[name], "parameters_billion": 0.001},
        }  # fmt: skip
    return {
        "output": "results",
        "models": models,
        "benchmarks": {"scienceqa": {"source": "mini", "limit": 3, "max_new_tokens": 3}},
        "methods": {
            "vanilla": {"title": "Vanilla", "stages": []},
            "fastv": {"title": "FastV", "stages": [{"layer": 2, "keep": 0.5, "criterion": "last_token_attention"}]},
            "himap": {"title": "HiMAP", "stages": STAGES},
            "himap_aggressive": {"title": "HiMAP, aggressive", "stages": STAGES},
        },
        "tables": {"table1": {"benchmarks": ["scienceqa"], "methods": ["vanilla", "himap"]}},
        "saliency": {"limit": 1},
        "disruption": {"limit": 1, "new_tokens": 2, "only_correct": False, "layers_per_job": 4, "edge": 1},
        "grid": {"benchmarks": []},
        "flops": {"measured": 1},
        "verification": {"samples": 3, "new_tokens": 4},
    }


Call = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the tiny checkpoints as its models."""
    folder = tmp_path_factory.mktemp("workflow")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, folder / part)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(published)))
    return folder


@pytest.fixture(scope="module")
def call(project: Path) -> Call:
    """`./reproduce` in that project."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the rules call `python`
            "PYTHONPATH": str(project / "workflow_scripts"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            **warm(),
            **more,
        }
        command = [sys.executable, "-m", "himap.workflow.run", *words]
        return subprocess.run(
            command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return run


def test_a_workflow_with_every_family(call: Call, project: Path) -> None:
    done = call(*TARGETS)
    assert done.returncode == 0, done.stdout[-6000:]
    results = project / "results"
    for name in originals.FAMILIES:
        assert (results / "models" / name / "checkpoint" / "manifest.json").is_file() == (name != "qwen")
        evaluated = results / "evaluation" / name / "scienceqa"
        for method in ("vanilla", "himap"):
            answers = pd.read_json(evaluated / method / "predictions.jsonl", lines=True)
            assert answers["image_tokens"].tolist() == [IMAGE_TOKENS[name]] * 3
        if name == "qwen":  # its protocol chooses a letter and generates nothing else
            assert answers["prediction"].str.fullmatch("[A-E]").all()
        assert sorted(
            pd.read_parquet(results / "saliency" / name / "scienceqa" / "saliency.parquet")["layer"].unique()
        ) == [0, 1, 2, 3]
        assert list((results / "disruption" / name / "scienceqa").glob("layers-*.parquet"))
    table = pd.read_csv(results / "tables" / "table1.csv")
    assert set(originals.FAMILIES) <= set(table.astype(str).to_numpy().ravel())
    again = call("-n", *TARGETS)
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]


def test_without_the_original_implementation_the_way_to_it_is_named(call: Call, project: Path) -> None:
    done = call("verify_original", HIMAP_LLAVA_PYTHON=sys.executable)
    assert done.returncode != 0
    assert "make a virtual environment from envs/requirements-llava.txt" in done.stdout
    folder = project / "results" / "verification" / "llava"
    assert [path.name for path in folder.iterdir() if "provenance" not in path.name] == ["ours.json"]


@pytest.mark.skipif("HIMAP_LLAVA_PYTHON" not in os.environ, reason="HIMAP_LLAVA_PYTHON names no Python with llava")
def test_the_original_implementation_says_the_same(call: Call, project: Path) -> None:
    done = call("verify_original")
    assert done.returncode == 0, done.stdout[-6000:]
    table = pd.read_csv(project / "results" / "verification" / "llava" / "table.csv").set_index("sample_id")
    assert len(table) == 4
    for column in ("same_prompt", "same_ids", "same_first_token", "same_answer"):
        assert table.loc["all", column] == "3 of 3"
    assert float(table.loc["all", "largest_logit_difference"]) < 1e-4
    assert call("report").returncode == 0
    page = (project / "results" / "report.html").read_text()
    assert "llava beside its original implementation" in page
    assert "llava-torch 1.2.2.post1, torch 2.0.1" in page
