"""One run at a time: the lock, what an earlier run left behind, Snakemake, and the summary."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from himap.files import write_text
from himap.locks import try_lock
from himap.paths import Paths
from himap.project import ROOT
from himap.workflow import checksums
from himap.workflow.command_line import is_local, results_folder, settings
from himap.workflow.jobs.gpus import warn_without_gpu
from himap.workflow.jobs.sole_writer import RUN
from himap.workflow.last_words import say
from himap.workflow.snakemake_process import INTERRUPTS, call, environment, preloaded
from himap.workflow.status import missing

STATE = ROOT / ".snakemake"
# LOCK: held while a run lives. MARK: its command line, there until it ends by itself. LATEST: its number, which jobs
# compare with the number of their own run (`sole_writer`).
LOCK, MARK, LATEST = STATE / "reproduce.lock", STATE / "reproduce.running", STATE / "reproduce.latest"
ORPHANS = """The previous run was killed; some of its jobs may still be queued. List them with `squeue --me`, cancel them with `scancel`.
If one of them is writing an output that this run makes too, the new job waits for it."""


def run_alone(command: list[str], words: Sequence[str]) -> int:
    """Run Snakemake under a lock that the system releases however this process ends. Return the status."""
    if obstacle := unwritable(STATE, "Free some space there or make it writable"):
        print(obstacle, file=sys.stderr)
        return 1
    with LOCK.open("a+") as lock:  # not "w", which would erase the holder's line before the lock is ours
        if not taken(lock):
            lock.seek(0)
            print(
                f"Another run is in progress in {ROOT} ({lock.read().strip() or 'just starting'}).\n"
                "Nothing was changed. Wait for it, or look at it with: ./reproduce status",
                file=sys.stderr,
            )
            return 1
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        lock.flush()
        # Only under our own lock: Snakemake's lock would else be taken from a run that is alive.
        unlock_after_kill(command)
        if obstacle := unwritable(ROOT / results_folder(words)):
            print(obstacle, file=sys.stderr)
            return 1
        if is_local(words):
            warn_without_gpu(settings(words))
        return run(command, words, lock)


def run(command: list[str], words: Sequence[str], lock: IO[str]) -> int:
    """Run Snakemake and say how it ended. Return the status."""
    # Before the run, since Snakemake takes every file that is there for what its job wrote.
    altered = set_altered_aside(words)
    checksums.warn_of_other_versions(ROOT / results_folder(words))
    # Later runs have larger numbers, on all nodes that share this file.
    number = time.time_ns()
    write_text(LATEST, str(number))
    write_text(MARK, shlex.join(words))
    started = time.time()
    status = 1
    try:
        with preloaded(is_local(words)) as (variables, files):
            # Snakemake inherits the lock's descriptor, so that the lock lives as long as either process.
            handed_on = [lock.fileno(), *files], {**variables, RUN: f"{LATEST}:{number}"}
            status = make_lost(command, words, altered, *handed_on) or call(command, *handed_on)
        # Not in `finally`: the mark tells the next start that this one was killed.
        MARK.unlink(missing_ok=True)
        # Once more, for what another job wrote over a result meanwhile.
        set_altered_aside(words)
    finally:
        say(status, INTERRUPTS, started, words, ROOT)
    return status


def unlock_after_kill(command: list[str]) -> None:
    """Release Snakemake's own lock if an earlier run of ours was killed: nobody else can be holding it now."""
    if not MARK.exists():
        return
    if not is_local(shlex.split(MARK.read_text(encoding="utf-8"))):
        print(ORPHANS, file=sys.stderr, flush=True)
    unlock = [*command, "--unlock", "--quiet"]
    subprocess.run(unlock, env=environment(), capture_output=True, check=False)


def make_lost(
    command: list[str], words: Sequence[str], altered: list[str], files: list[int], variables: dict[str, str]
) -> int:
    """Make results first that are missing although files made from them exist. Return a status if a signal stopped this.

    Those that come out the same get their old times, so that Snakemake then leaves the files made from them alone.
    """
    paths = Paths(results_folder(words))
    # A look by Snakemake takes as long as a whole run with nothing to do; deleted temporary files are no reason for it.
    if gone := {file for file in checksums.lost(ROOT) if not paths.is_temporary(file)}:
        summary = subprocess.run([*command, "--summary"], text=True, capture_output=True, check=False)
        if wanted := sorted(gone & missing(summary.stdout)):
            print(f"{len(wanted)} results that others were made from are missing; making them first", file=sys.stderr)
            # A run of its own, as Snakemake decides at its start which jobs follow from these.
            status = call([*command, "--until", *wanted], files, variables)
            # Only a signal ends the run here; a job that failed does not keep the others from being made.
            if status > 128:
                return status
            altered = [*altered, *set_altered_aside(words)]
        checksums.distrust(ROOT, altered)
    return 0


def set_altered_aside(words: Sequence[str]) -> list[str]:
    """Set aside the results whose checksums are not those that their jobs noted, and return them."""
    try:
        bound = int(settings(words)["execution"]["checksums_up_to_mb"])
    except (OSError, ValueError, KeyError, TypeError):  # without the key, or with a config that Snakemake will refuse
        bound = checksums.ALWAYS_READ_MB
    altered = checksums.check(ROOT, bound)
    for output in altered:
        print(
            f"{output}: not what its job wrote (checksum), altered or written by another job since;"
            " now in .snakemake/altered, to be made again",
            file=sys.stderr,
            flush=True,
        )
    return altered


def unwritable(folder: Path, advice: str = "Free some space, or set `output` to another folder") -> str | None:
    """Return why nothing can be written to a folder and what helps, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as file:
            file.write(b"\0" * 65536)  # an empty file can be made on a full disk too
            file.flush()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror}); nothing was run. {advice}"
    return None


def taken(lock: IO[str], patience: float = 2.0) -> bool:
    """Take the lock if it is free. Wait a little, because a run that was just killed may still be ending."""
    until = time.monotonic() + patience
    while True:
        if try_lock(lock):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
