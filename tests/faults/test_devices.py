"""One GPU for each process: locks that hold while a process lives and are free when it dies in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LISTING = """#!/bin/sh
echo "GPU 0: NVIDIA A100 80GB (UUID: GPU-aaaa-0)"
echo "GPU 1: NVIDIA A100 80GB (UUID: GPU-bbbb-1)"
"""
CLAIM = """
import os, sys
from himap.workflow.jobs.gpus import claim
print(claim(poll=0.05), os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), flush=True)
sys.stdin.read()
"""


class Machine:
    """A machine with pretended GPUs, on which processes claim one and hold it until they end."""

    def __init__(self, folder: Path, listing: str | None) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "bin").mkdir()
        (folder / "locks").mkdir()
        if listing is not None:
            (folder / "bin" / "nvidia-smi").write_text(listing)
            (folder / "bin" / "nvidia-smi").chmod(0o755)
        assigned = ("CUDA_", "SLURM_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(assigned)}
        self.environment |= {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "TMPDIR": str(folder / "locks")}

    def process(self, **environment: str) -> subprocess.Popen[str]:
        """A process that claims a device."""
        one = subprocess.Popen(
            [sys.executable, "-c", CLAIM], env=self.environment | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.processes.append(one)
        return one

    def claims(self, **environment: str) -> str:
        """What such a process says that it got, and what it made visible."""
        return said(self.process(**environment))


def said(process: subprocess.Popen[str]) -> str:
    """The line that a process printed when it had its device."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """A function that makes a machine; its processes end with the test."""
    machines: list[Machine] = []

    def make(listing: str | None = LISTING) -> Machine:
        machines.append(Machine(tmp_path, listing))
        return machines[-1]

    yield make
    for one in machines:
        for process in one.processes:
            process.kill()
            process.communicate()


def test_two_jobs_get_different_gpus(machine: Callable[..., Machine]) -> None:
    here = machine()
    assert {here.claims(), here.claims()} == {"GPU-aaaa-0 GPU-aaaa-0", "GPU-bbbb-1 GPU-bbbb-1"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_third_job_waits_until_one_of_them_dies(machine: Callable[..., Machine], number: int) -> None:
    here = machine()
    first, second = here.process(), here.process()
    got = said(first)
    said(second)
    third = here.process()
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(0.7)
    first.send_signal(number)
    assert said(third) == got


def test_a_device_that_the_scheduler_assigned_is_left_as_it_is(machine: Callable[..., Machine]) -> None:
    here = machine()
    assert here.claims(CUDA_VISIBLE_DEVICES="1") == "None 1"
    assert here.claims(CUDA_VISIBLE_DEVICES="1") == "None 1"  # and nothing is locked
    assert here.claims(CUDA_VISIBLE_DEVICES="") == "None"  # no device at all is an assignment too


def test_a_job_that_slurm_gave_no_device_sees_none_and_says_so(machine: Callable[..., Machine]) -> None:
    here = machine()
    done = subprocess.run(
        [sys.executable, "-c", CLAIM], env=here.environment | {"SLURM_JOB_ID": "7"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "None \n"  # visible: the empty list, not unset
    assert "SLURM gave this job no GPU" in done.stderr
    assert "GPU-aaaa-0" in here.claims()  # and nothing was locked


def test_jobs_inside_an_allocation_of_several_share_these_alone(machine: Callable[..., Machine]) -> None:
    here = machine()
    inside = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "4,6"}
    assert {here.claims(**inside), here.claims(**inside)} == {"4 4", "6 6"}


def test_slices_of_a_gpu_are_devices(machine: Callable[..., Machine]) -> None:
    here = machine(
        "#!/bin/sh\n"
        'echo "GPU 0: NVIDIA H200 (UUID: GPU-cccc-2)"\n'
        'echo "  MIG 1g.18gb     Device  0: (UUID: MIG-dddd-3)"\n'
        'echo "  MIG 1g.18gb     Device  1: (UUID: MIG-eeee-4)"\n'
    )
    assert {here.claims().split()[0], here.claims().split()[0]} == {"MIG-dddd-3", "MIG-eeee-4"}


@pytest.mark.parametrize("listing", [None, "#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'No devices were found'\n"])
def test_without_a_gpu_nothing_happens(machine: Callable[..., Machine], listing: str | None) -> None:
    here = machine(listing)
    assert here.claims() == "None unset"
    assert here.claims() == "None unset"


def test_a_folder_of_locks_that_belongs_to_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from himap.workflow.jobs import gpus

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"himap-gpus-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="belongs to somebody else"):
        gpus.folder()


@pytest.mark.parametrize(
    ("words", "environment", "resources"),
    [
        (["table1"], {}, ["--resources", "gpu=2"]),
        (["table1"], {"CUDA_VISIBLE_DEVICES": "1"}, ["--resources", "gpu=1"]),
        (["table1"], {"CUDA_VISIBLE_DEVICES": ""}, []),
        (["table1", "--resources", "gpu=1"], {}, []),
        (["table1"], {"SLURM_JOB_ID": "7"}, []),
        (["--profile", "profiles/local", "table1"], {}, ["--resources", "gpu=2"]),
        (["--profile=profiles/local/"], {}, ["--resources", "gpu=2"]),
        (["--profile", "profiles/slurm"], {}, []),
        (["--executor", "local", "--profile", "profiles/local"], {}, []),
    ],
)
def test_a_run_on_one_machine_knows_its_gpus_by_itself(
    machine: Callable[..., Machine], words: list[str], environment: dict[str, str], resources: list[str]
) -> None:
    ask = f"from himap.workflow import run; print(*run.defaults({words!r}))"
    folder = Path(__file__).resolve().parents[2] / "workflow_scripts"
    said = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=folder,
        env=machine().environment | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    profile = ["--profile", "profiles/local"] if words[0] == "table1" else []
    assert said == resources + profile
