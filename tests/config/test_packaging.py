"""What the project says of itself: license, citation, the packages it needs, its folders, its ways of running tests."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORTED_AS = {"yaml": "pyyaml", "PIL": "pillow"}
PROGRAMS = {  # declared because they are run, not imported
    "snakemake-executor-plugin-slurm", "pytest-xdist", "pytest-timeout", "ruff", "mypy", "types-pyyaml", "pandas-stubs", "snakefmt",
    "decord",
}  # fmt: skip
APART = {
    "llava",
    "atten_adapter",
    "disruption_forward",
}  # original code: in envs/llava.yaml, and where tests' numbers were recorded


def declared(*extras: str) -> set[str]:
    """Names of the packages in the dependencies and the named extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def imported(files: Iterable[Path]) -> dict[str, Path]:
    """The third-party packages that files import, each with one that does."""
    files = list(files)
    own = {"himap", *(path.stem for path in (*files, *(ROOT / "workflow_scripts").glob("*.py")))}
    packages = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names | own | APART:
                    packages[canonicalize_name(IMPORTED_AS.get(name, name))] = path
    return packages


def test_every_imported_package_is_declared_and_every_declared_one_is_imported_or_run() -> None:
    code = imported((ROOT / "workflow_scripts").rglob("*.py"))
    code |= dict.fromkeys(re.findall(r"^from (snakemake)\b", (ROOT / "Snakefile").read_text(), re.MULTILINE), ROOT)
    tests = imported([*(ROOT / "tests").rglob("*.py"), ROOT / "envs/lock.py"])
    runtime = declared("workflow", "judge", "lmms")
    assert {name: str(path) for name, path in code.items() if name not in runtime} == {}
    assert {name: str(path) for name, path in tests.items() if name not in runtime | declared("dev")} == {}
    assert runtime - set(code) - PROGRAMS == set()
    assert declared("dev") - declared() - set(tests) - PROGRAMS == set()


def test_every_declared_package_is_among_those_that_are_pinned() -> None:
    pinned = {
        canonicalize_name(line.partition("==")[0])
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / "envs" / name).read_text().splitlines()
        if "==" in line
    }
    assert declared("workflow", "judge", "dev") - pinned == set()


def test_license_citation_and_package_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    card = yaml.safe_load((ROOT / "models/mini/README.md").read_text().split("---")[1])
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License")
    assert citation["license"] == PROJECT["license"] == card["license"].upper()
    assert citation["version"] == PROJECT["version"]
    assert citation["authors"] == PROJECT["authors"]
    assert f"Copyright (c) 2026 {PROJECT['authors'][0]['name']}" in (ROOT / "LICENSE").read_text()
    assert citation["preferred-citation"]["url"] == PROJECT["urls"]["Paper"]
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()


def folders(tree: str, root: str) -> set[str]:
    """The folders below one of a drawn tree, from how far each line is indented."""
    path: list[str] = []
    found = set()
    for indent, name in re.findall(r"^( *)(\w+)/ ", tree, re.MULTILINE):
        path = [*path[: len(indent) // 2], name]
        found.add("/".join(path))
    return {name for name in found if name.startswith(f"{root}/")} | {root}


def test_the_tree_in_the_guide_names_every_folder_of_the_library_and_no_other() -> None:
    (tree,) = re.findall(r"^```\n(.+?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    library = ROOT / "workflow_scripts" / "himap"
    there = {path.parent for pattern in ("*.py", "*.yaml") for path in library.rglob(pattern)}
    assert folders(tree, "workflow_scripts/himap") == {str(path.relative_to(ROOT)) for path in there}


def run_tests(folder: Path, *words: str) -> list[str]:
    """The words that ./run-tests hands to pytest, from an interpreter that notes them."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["./run-tests", *words],
        cwd=ROOT,
        env={**os.environ, "HIMAP_VENV": str(folder), "TEST_WORKERS": "2"},
        text=True,
        capture_output=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_fast_leaves_out_slow_browser_and_slurm_and_passes_the_rest_on(tmp_path: Path) -> None:
    words = run_tests(tmp_path, "--fast", "tests/config", "-k", "unknown")
    assert words[words.index("-m", 2) + 1] == "not slow and not browser and not slurm"
    assert words[-3:] == ["tests/config", "-k", "unknown"]
    assert "--fast" not in words
    assert "not slow" not in " ".join(run_tests(tmp_path))


def test_pre_commit_runs_the_checks_that_ci_runs_and_downloads_nothing() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    ci = (ROOT / ".ci/run").read_text()
    for tool in ("ruff check", "ruff format", "mypy", "snakefmt"):
        assert any(hook["entry"].startswith(tool) for hook in repository["hooks"]), tool
        assert re.search(rf"^    .*\b{tool}\b", ci, re.MULTILINE), tool
    assert ci.index("snakemake --lint") < ci.index("./reproduce\n")
    assert "run: .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_readme_and_guide_say_how_to_run_the_fast_tests_and_what_was_tried(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "./run-tests --fast" in text
    assert "Debian 12" in text
