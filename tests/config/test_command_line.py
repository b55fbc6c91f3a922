"""What a user types after ./reproduce: targets anywhere, config files from where the user is, mistakes named."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from himap.workflow import command_line
from himap.workflow.command_line import arranged, check, settings, targets

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "config.yaml",
    "reproduce",
    "pyproject.toml",
    "envs",
    "models",
    "presets",
    "profiles",
    "report",
    "rules",
    "workflow_scripts",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with the user's own config in a folder beside it."""
    folder = tmp_path_factory.mktemp("typed") / "project"
    folder.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, folder / part)
    (folder.parent / "beside").mkdir()
    (folder.parent / "beside" / "my.yaml").write_text((ROOT / "config.yaml").read_text() + "output: results/mine\n")
    return folder


def reproduce(project: Path, words: str, here: Path | None = None) -> subprocess.CompletedProcess[str]:
    """./reproduce as typed in a folder; both its outputs together."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(project / "reproduce"), *shlex.split(words)],
        cwd=here or project,
        env=environment | {"HIMAP_VENV": sys.prefix, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_targets_after_a_config_that_is_named_from_another_folder_are_planned(project: Path) -> None:
    done = reproduce(project, "--configfile my.yaml -n --quiet rules table9", project.parent / "beside")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "table9" in done.stdout
    assert "make_table" in done.stdout
    assert "extract_saliency" not in done.stdout


@pytest.mark.slow
def test_the_estimate_of_a_config_named_from_another_folder(project: Path) -> None:
    done = reproduce(project, "--configfile my.yaml estimate", project.parent / "beside")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "evaluation" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tabel1", "error: unknown target 'tabel1' (did you mean 'table1'?); known: ablation_criteria, "),
        ("--configfile presets/papr.yaml table9", "error: presets/papr.yaml: no such file (did you mean 'paper.yaml'?)"),
        ("--configfile presets", "error: presets: is a folder; name a YAML file in it: presets/architectures.yaml, presets/laptop.yaml, presets/modern.yaml, presets/paper.yaml, presets/quick-gpu.yaml"),
        ("--config output=/", "error: config.yaml: output: '/': the project itself lies in this folder; name a folder for results alone"),
        ("estimate --configfile twice.yaml", "error: twice.yaml: seed: is given 2 times, in lines 1 and 2; keep one"),
        ("status --configfile twice.yaml", "error: twice.yaml: seed: is given 2 times, in lines 1 and 2; keep one"),
        ("report --configfile twice.yaml", "error: twice.yaml: seed: is given 2 times, in lines 1 and 2; keep one"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_touched(project: Path, words: str, message: str) -> None:
    (project / "twice.yaml").write_text("seed: 0\nseed: 1\n")
    done = reproduce(project, words)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(message)
    assert not (project / ".snakemake" / "reproduce.lock").exists()


DOUBLED = "title: One\nstages: []\ntitle: Two\n"
METHODS = "workflow_scripts/himap/pruning/methods"


@pytest.mark.parametrize(
    ("file", "doubled", "words", "key"),
    [
        ("config.yaml", "models:\n  mini: {path: a}\n  mini: {path: b}\n", "", "models.mini: is given 2 times, in lines 2 and 3"),
        ("presets/own.yaml", "seed: 0\nseed: 1\n", "--configfile presets/own.yaml", "seed: is given 2 times, in lines 1 and 2"),
        ("over.yaml", "grid: {k1: [1], k1: [2]}\n", "--configfile config.yaml over.yaml", "grid.k1: is given 2 times, in lines 1 and 1"),
        (f"{METHODS}/own.yaml", DOUBLED, "table2", "title: is given 2 times, in lines 1 and 3"),
        ("", "", "--config 'grid={k1: [1], k1: [2]}'", "grid.k1: is given 2 times"),
        ("", "", "--config seed=1 seed=2", "seed: is given 2 times"),
    ],
    ids=["config", "preset", "overlay", "method file", "value", "values"],
)  # fmt: skip
def test_a_key_that_is_given_twice_is_refused_wherever_it_is(
    project: Path, file: str, doubled: str, words: str, key: str
) -> None:
    path = project / file
    before = path.read_bytes() if path.is_file() else None
    if file:
        path.write_text(doubled)
    try:
        done = reproduce(project, f"-n {words}")
    finally:
        if file:
            path.unlink() if before is None else path.write_bytes(before)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.endswith(f"{file or '--config'}: {key}; keep one")
    assert not (project / ".snakemake" / "reproduce.lock").exists()


def test_snakemake_without_the_entry_refuses_a_key_given_twice_too(project: Path) -> None:
    text = (project / "config.yaml").read_text()
    (project / "doubled.yaml").write_text(text + "seed: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--configfile", "doubled.yaml"],
        cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "doubled.yaml: seed: is given 2 times, in lines " in done.stdout
    assert "Traceback" not in done.stdout


def test_the_version_is_this_project_s(project: Path) -> None:
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('version = "0.1.0"', 'version = "7.8.9"'))
    try:
        assert reproduce(project, "--version").stdout.startswith("himap 7.8.9 (Snakemake 9.")
    finally:
        (project / "pyproject.toml").write_text(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("table1 figure4 -n", "table1 figure4 -n"),
        ("--configfile small.yaml table9", "table9 --configfile small.yaml"),
        ("--configfile small.yaml presets/paper.yaml table9 -n", "table9 --configfile small.yaml presets/paper.yaml -n"),
        ("--configfile plain table9", "table9 --configfile plain"),
        ("--configfile=small.yaml table9", "table9 --configfile=small.yaml"),
        ("--config seed=1 output=a table9 --cores 2 figure3", "table9 figure3 --config seed=1 output=a --cores 2"),
        ("-np table9", "table9 -np"),
        ("-j4 -k table9", "table9 -j4 -k"),
        ("--quiet rules table9", "table9 --quiet rules"),
        ("--quiet table9", "table9 --quiet"),
        ("--resources gpu=1 --sdm conda table9", "table9 --resources gpu=1 --sdm conda"),
        ("-n -- table9", "table9 -n"),
        ("-R table1 figure3", "-R table1 figure3"),  # rules to be run again, not targets
        ("--report page.html", "--report page.html"),
        ("--profile profiles/slurm status --configfile small.yaml", "status --profile profiles/slurm --configfile small.yaml"),
    ],
)  # fmt: skip
def test_a_word_belongs_to_an_option_only_if_it_looks_like_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    (tmp_path / "small.yaml").touch()
    assert arranged(shlex.split(typed), tmp_path) == shlex.split(meant)


def test_a_config_file_is_looked_for_where_the_user_is_and_then_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7")
    assert arranged(["--configfile", "config.yaml", "presets/paper.yaml"], tmp_path) == [
        "--configfile",
        str(tmp_path / "config.yaml"),
        "presets/paper.yaml",
    ]
    assert arranged(["--configfile", "paper.yaml"], ROOT / "presets") == ["--configfile", "presets/paper.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--configfile", "presets/quick-gpu.yaml", "-n", "table8"], r"table8 has no column under presets/quick-gpu.yaml"),
        (["-n", "--cores", "2", "figur3"], r"unknown target 'figur3' \(did you mean 'figure3'\?\)"),
        (["--config", "seed=x"], r"config.yaml: seed: 'x': should be a valid integer"),
        (["--configfile"], r"--configfile needs a file"),
    ],
)  # fmt: skip
def test_targets_and_single_values_are_checked(monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=message):
        check(arranged(words, ROOT))


def test_single_values_lie_above_the_files(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("seed: 0\nsaliency: {limit: 3, targets: [emitted]}\n")
    words = arranged(shlex.split("--configfile small.yaml --config seed=5 saliency='{limit: 4}' table1"), tmp_path)
    assert settings(words) == {"seed": 5, "saliency": {"limit": 4, "targets": ["emitted"]}}
    assert targets(words) == ["table1"]


def test_snakemake_s_options_take_the_words_that_are_expected_of_them() -> None:
    from snakemake.cli import get_argument_parser

    takes = {name: action.nargs for action in get_argument_parser()._actions for name in action.option_strings}
    assert {takes[name] for name in command_line.SWITCHES} == {0}
    assert {takes[name] for name in command_line.SINGLE} == {None}
    assert {takes[name] for name in command_line.SHAPES} == {"+", "*"}
    assert {takes[name] for name in command_line.NEEDS_ONE} == {"+"}


def test_every_command_beside_the_targets_is_in_the_help_and_on_its_page() -> None:
    from himap.workflow import run

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in command_line.TOOLS:
        assert f"    ./reproduce {name} " in str(run.__doc__)
        assert f"./reproduce {name}`" in page


def test_a_file_is_found_from_the_folder_in_which_the_command_is_typed(project: Path) -> None:
    done = reproduce(project, 'inspect my.yaml "What is it?"', project.parent / "beside")
    assert done.returncode == 1
    assert f"error: {project.parent / 'beside' / 'my.yaml'} cannot be read as a picture" in done.stdout
