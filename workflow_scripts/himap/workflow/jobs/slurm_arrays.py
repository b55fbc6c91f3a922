"""Job arrays on SLURM: each task of an array becomes its own job before Snakemake looks at another's results.

The executor plugin (2.8) starts every task of an array with the first task's target and hands its own command over as
an argument. That outer Snakemake waits for the first task's output, and removes it if its own task fails. Read at the
top of the Snakefile, this replaces the outer process by the task's own command, whose target is its own.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import zlib
from collections.abc import Mapping, Sequence

OPTION = "--slurm-jobstep-array-execs"


def become_own_task() -> None:
    """Replace this process by the task's own command, if it is a task of an array other than the first."""
    command = own_command(sys.argv, os.environ)
    if command:
        # exec replaces the process without emptying Python's buffers.
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(command[0], command)


def own_command(words: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """Return the command that the plugin packed for this task, if it is one that this Python would run."""
    number = environment.get("SLURM_ARRAY_TASK_ID")
    packed = payload(words)
    if number is None or packed is None:
        return None
    try:
        # {"2": "789c...", "3": ...}: a command for each further task, compressed, as hexadecimal digits.
        text = json.loads(base64.b64decode(packed))[number]
        command = shlex.split(zlib.decompress(bytes.fromhex(text)).decode())
    except (ValueError, KeyError, TypeError, zlib.error):
        return None  # the first task runs what it was started with
    # Only what the plugin would run itself: these words come from a command line and are handed to exec.
    return command if command[:3] == [sys.executable, "-m", "snakemake"] else None


def payload(words: Sequence[str]) -> str | None:
    """Return the value of the option that holds the commands of an array's tasks."""
    for place, word in enumerate(words):
        if word == OPTION and place + 1 < len(words):
            return words[place + 1].strip("'\"")
        if word.startswith(f"{OPTION}="):
            return word.partition("=")[2].strip("'\"")
    return None
