"""A copy of the project with a config of a few samples, and what is asked of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from warm import warm

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "reproduce",
    "pyproject.toml",
    "envs",
    "models",
    "profiles",
    "report",
    "rules",
    "workflow_scripts",
)


def small_config() -> dict[str, Any]:
    """The default config on one model and two benchmarks of a few samples, one table, the figures without latency and grid."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["models"] = {"mini": config["models"]["mini"]}
    config["questions"] = {}
    config["benchmarks"] = {name: {"source": "mini", "limit": 5} for name in ("vqav2", "scienceqa")}
    config["methods"]["himap"]["stages"] = config["methods"]["himap"]["stages"]["qa"]
    names = ("table2", "table3", "table4", "table5", "table8", "table9", "divergence", "protocols")
    names += ("ablation_stages", "ablation_criteria", "ablation_hierarchy")
    config["tables"] = {name: {"benchmarks": []} for name in names}
    config["tables"]["table1"] = {"methods": ["vanilla", "fastv", "himap", "random"]}
    config["saliency"] = {"benchmarks": ["scienceqa"], "limit": 2, "weights": ["trained"]}
    config["disruption"] = {
        "benchmarks": ["scienceqa"],
        "limit": 2,
        "only_correct": False,
        "new_tokens": 1,
        "layers": [0, 1],
        "layers_per_job": 2,
        "extents": ["single"],
        "edge": 1,
    }
    config["latency"] = {"benchmarks": []}
    config["grid"] = {"benchmarks": []}
    config["flops"] = {"measured": 1}
    return config


class Project:
    """A copy of the project and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, *words: str, timeout: float = 900, **more: str) -> subprocess.CompletedProcess[str]:
        """`./reproduce` with this Python's environment and the tests' server of jobs; both its outputs together."""
        environment = {**os.environ, "HIMAP_VENV": sys.prefix, "OMP_NUM_THREADS": "1", **warm(), **more}
        environment.pop("PYTHONPATH", None)
        return subprocess.run(
            ["./reproduce", *words],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )

    def stale(self, *words: str) -> set[str]:
        """The files that a dry run would make, without the folder of results, and of a table or figure without its ending."""
        said = self.call("-n", "-v", *words)
        assert said.returncode == 0, said.stdout[-3000:]
        files = re.findall(r"^    output: (.+)$", said.stdout, re.MULTILINE)
        names = {name.split(" ")[0].removeprefix("results/") for line in files for name in line.split(", ")}
        return {re.sub(r"^((?:tables|figures)/[a-z0-9_]+)\.\w+$", r"\1", name) for name in names}

    def copied_to(self, folder: Path) -> Project:
        """A copy of this project, its times kept, to be changed."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Change a file, which must really change."""
        file = self.folder / path
        before = file.read_text()
        after = change(before)
        assert after != before, f"{path}: the edit did nothing"
        file.write_text(after)

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the config."""
        config = yaml.safe_load((self.folder / "config.yaml").read_text())
        change(config)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def copy_project(folder: Path) -> Project:
    """The project's own files in a new folder."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)
    (folder / "config.yaml").write_text(yaml.safe_dump(small_config(), sort_keys=False))
    return Project(folder)
