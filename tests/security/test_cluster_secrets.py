"""No secret of the environment stands in what is asked of SLURM, nor in what the workflow notes of it."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from himap.workflow.jobs.slurm_arrays import OPTION
from test_hostile_input import SECRETS, files_without_secrets
from world import METHODS, World

SBATCH = """#!/bin/sh
printf '%s\\n' "$*" >> "$SUBMITTED"  # whole, with the command that is wrapped
echo "the queue is closed" >&2
exit 1
"""
SCONTROL = """#!/bin/sh
echo "MinJobAge = 300 sec"
echo "MaxArraySize = 1001"
"""
SILENT = """#!/bin/sh
exit 0
"""


def commands_of_arrays(lines: str) -> str:
    """The commands that the plugin packs into the lines of arrays."""
    packed = re.findall(rf"{OPTION}\W+([A-Za-z0-9+/=]+)", lines)
    texts = [text for one in packed for text in json.loads(base64.b64decode(one)).values()]
    return "\n".join(zlib.decompress(bytes.fromhex(text)).decode() for text in texts)


@pytest.mark.slow
def test_secrets_go_to_jobs_by_the_environment_alone(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(gpus=1, shards=2)
    programs = {"sbatch": SBATCH, "scontrol": SCONTROL} | dict.fromkeys(
        ("squeue", "sacct", "sacctmgr", "scancel", "sinfo"), SILENT
    )
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    submitted = world.folder / "submitted.txt"
    place = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SUBMITTED": str(submitted)}
    ready = [f"results/evaluation/mini/pope/{method}/shard-{n}-of-2.jsonl" for method in METHODS for n in range(2)]
    assert world.run(*ready, "--cores", "2").returncode == 0  # an array that merges shards comes next
    cluster = ("--profile", "profiles/slurm", "--slurm-no-account", "--default-resources", "slurm_partition=gpu")
    cluster += ("--slurm-array-jobs", "merge_predictions")
    done = world.run("table1", *cluster, "--retries", "0", "--verbose", **place, **SECRETS)
    assert done.returncode == 1, done.stdout[-4000:]
    lines = submitted.read_text()
    assert "--wrap=" in lines
    unpacked = commands_of_arrays(lines)
    assert "merge_predictions" in unpacked
    assert "count_flops" in lines
    assert not any(secret in unpacked for secret in SECRETS.values())
    searched = files_without_secrets(world.folder)
    assert submitted in searched
    assert world.folder / "said.log" in searched
    logs = [path.relative_to(world.folder) for path in searched if path.suffix == ".log"]
    assert any(path.parts[:2] == (".snakemake", "log") for path in logs), logs
