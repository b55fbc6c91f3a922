"""What ./reproduce says when a run is over: where the files are, that it was interrupted, or which jobs failed."""

from __future__ import annotations

import re
import shlex
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from himap.workflow.snakemake_log import failures, latest_log, logs
from himap.workflow.status import summary

TIME = re.compile(r"^\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]$", re.MULTILINE)


def interruption(number: int, moment: float, state: Path, started: float, root: Path, again: str) -> str:
    """What an interrupted run leaves, and how to go on; a job that failed before is named, one that was stopped is not."""
    log = latest_log(state, started - 1)
    finished = len(re.findall(r"^Finished jobid: ", log, re.MULTILINE))
    by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    lines = [f"Interrupted ({by}). {finished} job{'' if finished == 1 else 's'} finished in this run."]
    lines.append("All finished jobs are kept, and of stopped evaluations the answers so far. To go on:")
    text = "\n".join([*lines, f"  {again}"])
    failed = failures(before(log, moment) if number == signal.SIGINT else log)  # SIGTERM lets running jobs finish
    return f"{summary(failed, root, again)}\n\n{text}" if failed else text


def before(log: str, moment: float) -> str:
    """Snakemake's log up to a moment, by the times in it."""
    for stamp in TIME.finditer(log):
        if time.mktime(time.strptime(stamp[1])) >= int(moment):
            return log[: stamp.start()]
    return log


def failure(state: Path, started: float, root: Path, again: str) -> str:
    """Which jobs failed and why, or where the reason is if it was not a job."""
    if failed := failures(latest_log(state, started - 1)):
        return summary(failed, root, again)
    log = next(iter(logs(state, started - 1)), "above")
    return f"The run ended early, and not at a job; the reason: {log}\nFix it and start again:\n  {again}"


def places(words: Iterable[str], targets: Mapping[str, Sequence[str]], root: Path, started: float) -> list[str]:
    """For each target on the command line its files, and whether this run made them."""
    lines = []
    for word in dict.fromkeys(words):
        files = list(targets.get(word, [word] if (root / word).is_file() else []))
        there = [file for file in files if (root / file).exists()]
        head = f"{word}: " if word in targets else ""
        lines += [f"{head}{place}   {age}" for place, age in braced(there, root, started)]
    return lines


def braced(files: Sequence[str], root: Path, started: float) -> list[tuple[str, str]]:
    """Files that differ in their ending alone as one name that a shell understands: table1.{csv,tex}."""
    endings: dict[str, list[str]] = {}
    for file in files:
        endings.setdefault(file.rpartition(".")[0], []).append(file.rpartition(".")[2])
    rows = []
    for stem, kinds in endings.items():
        fresh = any((root / f"{stem}.{kind}").stat().st_mtime >= started for kind in kinds)
        name = f"{stem}.{kinds[0]}" if len(kinds) == 1 else f"{stem}.{{{','.join(kinds)}}}"
        rows.append((name, "made now" if fresh else "up to date"))
    return rows


def again(words: Sequence[str]) -> str:
    """The command to type again."""
    return shlex.join(["./reproduce", *words])
