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

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "envs", "profiles", "report", "rules", "schemas", "workflow_scripts", "pyproject.toml")
TARGETS = ("table1", "figure3", "figure5", "flops")
STAGES = [
    {"layer": 1, "keep": 0.5, "criterion": "instruction_attention"},
    {"layer": 2, "keep": 0.125, "criterion": "image_attention"},
]
FAMILIES = {"llava": "llava", "internvl": "internvl", "internvl-448px": "internvl", "qwen": "qwen_vl"}
IMAGE_TOKENS = {"llava": 16, "internvl": 576, "internvl-448px": 1024, "qwen": 256}


def configuration(ready: Callable[[str], Path]) -> dict[str, Any]:
    """Four models, one benchmark with a raw prompt of its own for Qwen, two methods, both analyses."""
    models = {}
    for name in originals.FAMILIES:
        width, heads, ffn, vocabulary = (128, 4, 96, 640) if name == "qwen" else (32, 4, 64, 512)
        models[name] = {
            "path": str(ready(name)), "family": FAMILIES[name],
            "dims": {"layers": 4, "width": width, "heads": heads, "kv_heads": heads, "ffn": ffn, "vocab": vocabulary,
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
        "flops": {"measured": 1},
    }


@pytest.mark.slow
def test_a_workflow_with_every_family(ready: Callable[[str], Path], tmp_path: Path) -> None:
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, tmp_path / part)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration(ready)))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the rules call `python`
        "PYTHONPATH": str(tmp_path / "workflow_scripts"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "workflow_scripts/run_workflow.py", *TARGETS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    results = tmp_path / "results"
    for name in originals.FAMILIES:
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
