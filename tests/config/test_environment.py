"""The environments name the same packages, and setting up is done once."""

from __future__ import annotations

import re
import shutil
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


def test_the_container_keeps_out_what_git_does_and_is_run_with_what_is_made_outside_of_it() -> None:
    left_out = (ROOT / ".dockerignore").read_text().split()
    for line in (ROOT / ".gitignore").read_text().split():
        name = line.rstrip("/*")
        assert line.startswith("!") or {name, f"**/{name}"} & set(left_out), line
    assert ".git" in left_out
    recipe = (ROOT / "envs/Containerfile").read_text()
    for folder in ("results", ".snakemake", ".cache"):
        assert f'-v "$PWD/{folder}:/himap/{folder}"' in recipe


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
    assert "HIMAP_VENV=/nowhere has no bin/python; set it to the folder of a virtual environment" in said.stderr


def test_an_environment_is_set_up_once_and_again_when_its_pins_change(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    for name in ("envs/environment.sh", "envs/requirements.txt", "envs/requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')  # stands for pip: it notes what it is asked
    python.chmod(0o755)

    def calls(requirements: str = "envs/requirements.txt") -> list[str]:
        """What pip was asked by one more set-up."""
        (tmp_path / "calls").unlink(missing_ok=True)
        script = f"source envs/environment.sh; ensure_environment {requirements}; command -v python"
        said = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        )
        assert said.stdout.strip() == str(python), said.stderr
        return (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []

    first, second = calls()
    assert "install --quiet -r envs/requirements.txt" in first
    assert second.endswith("-e .")
    assert calls() == []
    for name in ("envs/requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "# another pin\n")
        assert len(calls()) == 2, name
        assert calls() == []
    assert "-r envs/requirements-dev.txt" in calls("envs/requirements-dev.txt")[0]
    assert calls("envs/requirements-dev.txt") == calls() == []


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
