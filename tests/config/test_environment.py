"""The environments name the same packages, and setting up is done once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def pins(path: Path) -> dict[str, str]:
    """Package to version of a requirements file; anything but an exact pin is an error."""
    found = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "-r ")):
            match = re.fullmatch(r"([a-z0-9._-]+)==(\S+)", line)
            assert match, f"{path.name}: {line!r} is no exact pin"
            found[match[1]] = match[2]
    return found


def test_conda_names_the_same_pins_as_the_requirements() -> None:
    conda = yaml.safe_load((ROOT / "envs/himap.yaml").read_text())
    (inside,) = [part["pip"] for part in conda["dependencies"] if isinstance(part, dict)]
    assert dict(line.split("==") for line in inside) == pins(ROOT / "envs/requirements.txt")


def test_the_container_is_built_from_the_same_pins() -> None:
    recipe = (ROOT / "envs/Containerfile").read_text()
    assert "envs/requirements.txt" in recipe
    assert re.search(r"^FROM \S+python:3\.11", recipe, re.MULTILINE)


def test_each_wanted_package_is_pinned_with_all_it_needs() -> None:
    said = subprocess.run([sys.executable, "envs/lock.py", "--check"], cwd=ROOT, text=True, capture_output=True)
    assert said.returncode == 0, said.stderr


def test_the_version_of_torch_is_the_one_that_is_installed_everywhere_and_torchvision_is_not_needed() -> None:
    runtime = pins(ROOT / "envs/requirements.txt")
    assert runtime["torch"] == "2.13.0"
    assert "torchvision" not in {**runtime, **pins(ROOT / "envs/requirements-dev.txt")}


def bash(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in the project's folder with the set-up functions."""
    command = f"source envs/environment.sh; {script}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def test_an_environment_kept_elsewhere_is_used_as_it_is() -> None:
    said = bash("ensure_environment envs/requirements.txt; command -v python", HIMAP_VENV=sys.prefix)
    assert said.stdout.strip() == f"{sys.prefix}/bin/python"


def test_an_environment_that_is_not_there_is_named() -> None:
    said = bash("ensure_environment envs/requirements.txt", HIMAP_VENV="/nowhere")
    assert said.returncode == 1
    assert "HIMAP_VENV=/nowhere holds no bin/python" in said.stderr


def test_without_a_new_enough_python_the_way_out_is_said(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    said = subprocess.run(
        ["/bin/bash", "-c", "source envs/environment.sh; find_python"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={"PATH": str(tmp_path)},
    )
    assert said.returncode == 1
    assert "No Python 3.11 or newer" in said.stderr
