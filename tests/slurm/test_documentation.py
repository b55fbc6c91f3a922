"""docs/cluster.md says what the project's own commands say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "cluster.md").read_text()


@pytest.mark.parametrize("page", ["cluster.md", "rivals.md"])
def test_the_table_of_gpu_hours_is_what_the_estimate_says(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    words, table = re.search(r"<!-- estimate (.*?) -->\n```text\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]
    command = [sys.executable, "-m", "himap.workflow.show_estimate", *shlex.split(words)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.rstrip() for line in table.splitlines()] == [
        line.rstrip() for line in said.partition("\n\n")[0].splitlines()
    ], f"paste the new output of ./reproduce estimate into docs/{page}"


def test_every_profile_file_and_setting_that_is_named_exists() -> None:
    for name in re.findall(r"`((?:profiles|presets)/[\w./-]+\.yaml)`", TEXT):
        assert (ROOT / name).is_file(), name
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    for key in ("slurm-requeue", "retries", "jobs"):
        assert key in profile
    assert profile["jobs"] >= 10_000  # SLURM keeps the queue


def test_the_commented_settings_of_the_slurm_profile_are_ones_that_snakemake_knows() -> None:
    lines = (ROOT / "profiles/slurm/config.yaml").read_text().splitlines()
    named = {match[1] for line in lines if (match := re.match(r"#? ?([a-z][a-z-]+):(?: |$)", line))}
    help_text = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {"executor", "default-resources", "set-resources", "slurm-partition-config"} <= named
    for name in named:
        assert re.search(rf"--{name}\b", help_text), name
