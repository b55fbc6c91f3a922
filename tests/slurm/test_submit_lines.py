"""What is asked of SLURM for each kind of job, by this workflow's own rules and profile: an `sbatch` that notes and refuses."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from himap.workflow.snakemake_log import shared_name
from world import World

pytestmark = pytest.mark.slow

SBATCH = """#!/bin/sh
line=
for word in "$@"; do
    case "$word" in --wrap=*) ;; *) line="$line$word " ;; esac
done
printf '%s\\n' "$line" >> "$SUBMITTED"  # at once: an array and a job are submitted at the same time
echo "the queue is closed" >&2
exit 1
"""
SCONTROL = """#!/bin/sh
echo "MinJobAge = 300 sec"
echo "MaxArraySize = 1001"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, small_model: Path, questions: Path) -> World:
    """A world whose model and samples are there, so that the jobs that use a GPU come next."""
    world = World(
        tmp_path_factory.mktemp("submit") / "world",
        small_model,
        questions,
        gpus=1,
        execution={"threads": 3, "runtime_minutes": 50},
    )
    done = world.run("results/models/mini/manifest.json", "results/benchmarks/pope/samples.parquet", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    return world


@pytest.fixture
def submit(world: World, tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """A function that starts the workflow with further words and returns the lines that sbatch was given, by rule.

    Each start has its own copy: Snakemake removes the outputs of a job that was refused.
    """
    starts = itertools.count()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"sbatch": SBATCH, "scontrol": SCONTROL}.items():
        (programs / name).write_text(text)
    for name in ("squeue", "sacct", "sacctmgr", "scancel", "sinfo"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
    for path in programs.iterdir():
        path.chmod(0o755)

    def start(*words: str) -> dict[str, list[str]]:
        here = tmp_path / f"start{next(starts)}"
        notes = tmp_path / f"{here.name}.txt"
        profile = ("--profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
        soon = ("--slurm-init-seconds-before-status-checks", "1")
        done = world.twin(here).run(
            *words, *profile, *soon, PATH=f"{programs}:{os.environ['PATH']}", SUBMITTED=str(notes)
        )
        assert done.returncode == 1
        summary = re.split(r"^\d+ jobs? failed:$", done.stdout, maxsplit=1, flags=re.MULTILINE)[1]
        reasons = re.findall(r"^    reason: (.*)$", summary, re.MULTILINE)
        assert set(reasons) == {"SLURM rejected it: the queue is closed"}
        assert len(re.findall(r"^  \w+ -> results/.", summary, re.MULTILINE)) == len(reasons)
        lines: dict[str, list[str]] = {}
        for line in notes.read_text().splitlines():
            rule = shared_name(line.partition("--comment rule_")[2].split(" ")[0].partition("_wildcards")[0])
            lines.setdefault(rule, []).append(line)
        return lines

    return start


def test_a_job_with_a_gpu_asks_for_one_and_for_more_memory_and_time_at_each_attempt(
    submit: Callable[..., dict[str, list[str]]],
) -> None:
    lines = submit("table1", "--default-resources", "slurm_partition=gpu")
    flops = lines["count_flops"]
    assert len(flops) == 3  # the first attempt and two more
    for line in flops:
        assert "--gpus=1 " in line
        assert "--cpus-per-task=3 " in line
        assert "-p gpu " in line
        assert "--requeue " in line
    asked = [re.findall(r"(?:--mem|-t) (\d+) ", line) for line in flops]
    expected = [[str(1000 * attempt), str(50 * attempt)] for attempt in (1, 2, 3)]
    assert sorted(map(sorted, asked)) == sorted(map(sorted, expected))
    assert "gres" not in "".join(flops)
    for attempt, line in enumerate(lines["evaluate_method"], start=1):
        assert f"--mem {1000 * attempt} " in line
        assert f"-t {50 * attempt} " in line
        assert "--gpus=1 " in line
        assert "--cpus-per-task=3 " in line
        assert "--array" not in line
        assert "results/logs/slurm/rule_evaluate_method__mini__pope__fastv/" in line
    assert len(lines["evaluate_method"]) == 3  # all methods go as one job


def test_a_gpu_model_and_the_gres_form_replace_the_plain_number(submit: Callable[..., dict[str, list[str]]]) -> None:
    asked = ("--set-resources", "evaluate_method:gpu_model=a100", "count_flops:gpu=0", "count_flops:gres=gpu:1")
    lines = submit("table1", "--retries", "0", "--default-resources", "slurm_partition=gpu", *asked)
    assert "--gpus=a100:1 " in lines["evaluate_method"][0]
    assert "--gpus=1 " not in lines["evaluate_method"][0]
    assert "--gres=gpu:1 " in lines["count_flops"][0]
    assert "--gpus" not in lines["count_flops"][0]


def test_a_job_without_a_model_asks_for_no_gpu(submit: Callable[..., dict[str, list[str]]]) -> None:
    again = ("--forcerun", "fetch_model", "download_benchmark", "--default-resources", "slurm_partition=short")
    lines = submit("table1", *again)
    for rule, memory in (("fetch_model", 2000), ("download_benchmark", 4000)):
        assert len(lines[rule]) == 3
        for attempt, line in enumerate(lines[rule], start=1):
            assert "--gpus" not in line
            assert f"--mem {memory * attempt} " in line
            assert f"-t {240 * attempt} " in line
            assert "-p short " in line


def test_the_example_of_partitions_sends_models_to_gpus_and_the_rest_elsewhere(
    submit: Callable[..., dict[str, list[str]]],
) -> None:
    partitions = ("--slurm-partition-config", "profiles/slurm/partitions.example.yaml", "--retries", "0")
    lines = submit("table1", *partitions)
    assert "-p gpu " in lines["count_flops"][0]
    assert "-p gpu " in lines["evaluate_method"][0]
    again = submit("table1", *partitions, "--forcerun", "fetch_model", "download_benchmark")
    assert "-p cpu " in again["fetch_model"][0]
    assert "-p cpu " in again["download_benchmark"][0]
