"""One GPU for each job of one machine: a lock per device, held by the process and freed by the system however it ends.

Nothing happens where a scheduler (or the user) has given the process exactly one device, or where there is no GPU. A job
that SLURM gave none sees none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from himap.locks import try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: dict[str, int] = {}  # device -> descriptor of its lock; open until the process ends


def installed() -> list[str]:
    """Return the identifiers of the GPUs that the driver shows, or of their slices if they are partitioned (MIG)."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    cards: list[list[str]] = []
    # "GPU 0: NVIDIA H100 (UUID: GPU-1f...)", and below it, indented, "MIG 1g.10gb Device 0: (UUID: MIG-8a...)"
    for line in listing.splitlines():
        identifier = re.search(r"UUID: ([\w/-]+)\)", line)
        if identifier and line.startswith("GPU"):
            cards.append([identifier[1]])
        elif identifier and cards:
            cards[-1].append(identifier[1])
    # A partitioned card cannot be used as a whole, so its slices take its place.
    return [device for card in cards for device in (card[1:] or card)]


def claim(poll: float = 1.0) -> str | None:
    """Make one free GPU the only visible one, waiting while all are taken; call it before CUDA starts.

    Returns the device that was claimed, or None where there was nothing to choose.
    """
    # A script that loads two models one after the other keeps its device.
    if _held:
        return next(iter(_held))
    choices = candidates()
    # Without this a job on a node with GPUs would take one that SLURM gave to somebody else.
    if "SLURM_JOB_ID" in os.environ and VISIBLE not in os.environ and installed():
        print(
            "SLURM gave this job no GPU, so it runs on the processor; ask for one: `models.<name>.gpus: 1`",
            file=sys.stderr,
        )
        os.environ[VISIBLE] = ""
    if len(choices) < 2 and VISIBLE in os.environ:  # one device, given by a scheduler or the user
        return None
    waited = False
    # The lock lives as long as its descriptor, so the system frees the GPU also after a kill.
    while choices:
        for device, name in choices.items():
            lock = take(name)
            if lock is not None:
                _held[device] = lock
                os.environ[VISIBLE] = device
                return device
        if not waited:
            print(f"all {len(choices)} GPUs are in use by other jobs; waiting for one", file=sys.stderr, flush=True)
            waited = True
        time.sleep(poll)
    return None


def candidates() -> dict[str, str]:
    """Return the devices to choose from, as CUDA_VISIBLE_DEVICES names them, each with the name of its lock."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        # CUDA takes numbers and identifiers: "0,1" or "GPU-1f...,GPU-2b...".
        named = [word.strip() for word in visible.split(",") if word.strip()]
        if len(named) < 2:  # nothing to choose
            return {}
        here = installed()
        # Locks go by identifier: "0" of one job and the same card named by UUID in another are one device.
        return {name: here[int(name)] if name.isdigit() and int(name) < len(here) else name for name in named}
    if "SLURM_JOB_ID" in os.environ:  # a job that was given no device takes none
        return {}
    return {device: device for device in installed()}


def visible_count() -> int:
    """Return how many GPUs jobs on this machine may share out among themselves."""
    visible = os.environ.get(VISIBLE)
    return len(candidates()) if visible is None else len([word for word in visible.split(",") if word.strip()])


def without_gpu(gpus: Mapping[str, Any]) -> list[str]:
    """Return the models that ask for a GPU (their number by name) where this machine shows none."""
    asking = [name for name, number in gpus.items() if number]
    return asking if asking and visible_count() == 0 else []


def warn_without_gpu(config: Mapping[str, Any]) -> None:
    """Print, before a local run, which models of a raw config ask for a GPU that this machine does not have."""
    models = config.get("models")
    entries = models.items() if isinstance(models, Mapping) else ()
    if names := without_gpu({name: entry.get("gpus") for name, entry in entries if isinstance(entry, Mapping)}):
        print(
            f"warning: no GPU is visible on this machine, but {', '.join(f'`models.{name}.gpus: 1`' for name in names)} "
            "asks for one; the jobs run on the processor, many times slower. "
            "To see how long that takes, press Ctrl-C and run: ./reproduce estimate",
            file=sys.stderr,
            flush=True,
        )


def take(name: str) -> int | None:
    """Take the lock of a device if it is free, and return its descriptor."""
    lock = os.open(
        folder() / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    if try_lock(lock):
        return lock
    os.close(lock)
    return None


def folder() -> Path:
    """Return the folder of this user's locks, on this machine's own disk."""
    place = Path(tempfile.gettempdir()) / f"himap-gpus-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    # /tmp belongs to everybody: a folder prepared by somebody else could redirect the locks.
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise ValueError(f"{place}: belongs to somebody else; remove it, or set TMPDIR to a folder of your own")
    return place
