"""A task of a job array goes on as its own job, and nothing else does."""

from __future__ import annotations

import base64
import json
import sys
import zlib

import pytest
from himap.workflow.jobs.slurm_arrays import own_command

OWN = f"{sys.executable} -m snakemake --target-jobs 'evaluate_method:model=m,method=fastv' --latency-wait 60 --mode remote"
FIRST = [
    sys.executable,
    "-m",
    "snakemake",
    "--target-jobs",
    "evaluate_method:model=m,method=vanilla",
    "--mode",
    "remote",
]


def packed(**commands: str) -> str:
    """Commands by task number as the plugin packs them."""
    shrunk = {number: zlib.compress(text.encode(), level=9).hex() for number, text in commands.items()}
    return base64.b64encode(json.dumps(shrunk).encode()).decode()


@pytest.mark.parametrize("form", ["one word", "two words"])
def test_a_later_task_takes_its_own_command(form: str) -> None:
    option, value = "--slurm-jobstep-array-execs", packed(**{"2": OWN, "3": OWN.replace("fastv", "himap")})
    words = [*FIRST, f"{option}={value}"] if form == "one word" else [*FIRST, option, value]
    command = own_command(words, {"SLURM_ARRAY_TASK_ID": "2"})
    assert command is not None
    assert command[:5] == [sys.executable, "-m", "snakemake", "--target-jobs", "evaluate_method:model=m,method=fastv"]
    assert option not in " ".join(command)


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (FIRST, {}),
        (FIRST, {"SLURM_ARRAY_TASK_ID": "2"}),
        ([*FIRST, f"--slurm-jobstep-array-execs={packed(**{'2': OWN})}"], {}),
        ([*FIRST, f"--slurm-jobstep-array-execs={packed(**{'2': OWN})}"], {"SLURM_ARRAY_TASK_ID": "1"}),
        ([*FIRST, "--slurm-jobstep-array-execs=broken"], {"SLURM_ARRAY_TASK_ID": "2"}),
        ([*FIRST, "--slurm-jobstep-array-execs"], {"SLURM_ARRAY_TASK_ID": "2"}),
        ([*FIRST, f"--slurm-jobstep-array-execs={packed(**{'2': 'rm -rf x'})}"], {"SLURM_ARRAY_TASK_ID": "2"}),
    ],
)
def test_everything_else_stays_what_it_is(words: list[str], environment: dict[str, str]) -> None:
    assert own_command(words, environment) is None
