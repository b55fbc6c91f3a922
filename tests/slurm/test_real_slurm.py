"""The workflow on a real SLURM of one node with two pretended GPUs, and what happens to jobs on a bad day."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm import Slurm, ask, obstacle, running
from world import METHODS, QUESTIONS, World, kill_group, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
PROFILE = (
    "--profile", "profiles/slurm", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
    "--slurm-no-account", "--latency-wait", "15",
)  # fmt: skip


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """SLURM for this module's tests; one at a time on a machine."""
    if why := obstacle():
        pytest.skip(why)
    with Path("/tmp/himap-slurm-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with running(tmp_path_factory.mktemp("slurm")) as one:
            yield one


def test_the_workflow_survives_a_bad_day_on_slurm(
    slurm: Slurm, make_world: Callable[..., World], finished: World
) -> None:
    world = make_world(gpus=1, batch_size=2, shards=4)
    less = ("count_flops:mem_mb=250*attempt*attempt*attempt", "count_flops:gpu=0")  # the first attempt: too little
    process = world.start("table1", "-v", *PROFILE, "--set-resources", *less, WORLD_PAUSE="0.4")

    def until(what: Callable[[], object]) -> Any:
        """Wait for something in the middle of the run."""
        found = wait_for(lambda: process.poll() is not None or what(), 1500, said(world))
        assert process.poll() is None, said(world)
        return found

    try:
        cancelled = until(lambda: half_done(world))
        ask("scancel", cancelled)
        requeued = until(lambda: half_done(world, but=cancelled))
        ask("scontrol", "requeue", requeued)
        until((world.folder / "results/flops/mini/qa/vanilla.csv").exists)
        until(lambda: runs_again(requeued))  # a job that starts right after the controller may find no GPU yet
        slurm.restart_controller()
        assert process.wait(1500) == 0, said(world)
    finally:
        if process.poll() is None:
            kill_group(process)

    log = said(world)
    assert f"SLURM-job '{cancelled}' failed" in log
    assert f"SLURM-job '{requeued}' failed" not in log, slurm_said(world, "evaluate_method")  # started again by SLURM
    assert "CANCELLED AT" in slurm_said(world, "evaluate_method")
    assert "exceeded memory limit" in slurm_said(world, "count_flops")
    asked = [int(one) for one in re.findall(r"^rule count_flops\w*:.*?mem_mb=(\d+)", log, re.DOTALL | re.MULTILINE)]
    assert sorted(asked) == [250, 2000]  # and the second was enough
    assert world.tables() == finished.tables()
    counts = world.counts()
    assert len(counts) == len(METHODS) * QUESTIONS
    assert max(counts.values()) <= 2
    assert sum(world.counts("begun").values()) <= len(counts) + 4  # of two jobs, the batch under way
    devices = world.devices()
    assert len(devices) >= 4 + 1
    assert set(devices.values()) <= {"0", "1"}  # one each, the scheduler's own choice


def half_done(world: World, but: str = "") -> str | None:
    """The SLURM id of another evaluation that runs and has answered some questions, kept in its journal."""
    batches = world.batches_by_job()
    listed = [line.split(" ") for line in ask("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%A %i").splitlines()]
    return next((name for number, name in listed if name != but and 4 <= batches[number] <= 20), None)


def runs_again(name: str) -> bool:
    """Whether a requeued job has begun anew."""
    told = ask("scontrol", "show", "job", name)
    return "Restarts=1" in told and "JobState=RUNNING" in told


def slurm_said(world: World, rule: str) -> str:
    """What SLURM wrote of a rule's jobs that failed."""
    return "".join(path.read_text() for path in world.folder.glob(f"results/logs/slurm/rule_{rule}*/**/*.log"))


def said(world: World) -> str:
    """All that the run said."""
    log = world.folder / "said.log"
    return log.read_text() if log.exists() else ""
