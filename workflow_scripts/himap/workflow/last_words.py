"""What ./reproduce says when a run is over: where the files are, that it was interrupted, or which jobs failed."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from himap.workflow import command_line
from himap.workflow.command_line import results_folder, settings
from himap.workflow.snakemake_log import failures, latest_log, logs
from himap.workflow.status import summary

# A line of its own above each message of Snakemake's log: [Thu Nov 26 21:43:00 2026]
TIME = re.compile(r"^\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]$", re.MULTILINE)


def say(status: int, interrupts: Sequence[tuple[int, float]], started: float, words: Sequence[str], root: Path) -> None:
    """Print where the files are, how to go on after an interrupt, or which jobs failed and why."""
    again, state = shlex.join(["./reproduce", *words]), root / ".snakemake"
    # In this order: after an interrupt Snakemake reports the jobs that it stopped as failed, which is no news.
    if status == 0:
        lines = success(words, root, started)
    elif interrupts:
        lines = interruption(*interrupts[0], state, started, root, again)
    else:
        lines = failure(state, started, root, again)
    if lines:
        print("\n" + lines, file=sys.stderr)


def interruption(number: int, moment: float, state: Path, started: float, root: Path, again: str) -> str:
    """Return what an interrupted run leaves, and how to go on. Jobs that failed before are named, stopped ones are not."""
    log = latest_log(state, started - 1)
    finished = len(re.findall(r"^Finished jobid: ", log, re.MULTILINE))
    by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    lines = [f"Interrupted ({by}). {finished} job{'' if finished == 1 else 's'} finished in this run."]
    lines.append("All finished jobs are kept, and of stopped evaluations the answers so far. To go on:")
    text = "\n".join([*lines, f"  {again}"])
    # Ctrl-C ends running jobs, so what fails after it was stopped. SIGTERM lets them finish, so a failure is one.
    failed = failures(before(log, moment) if number == signal.SIGINT else log)
    return f"{summary(failed, root, again)}\n\n{text}" if failed else text


def before(log: str, moment: float) -> str:
    """Return Snakemake's log up to a moment, by the times in it."""
    for stamp in TIME.finditer(log):
        if time.mktime(time.strptime(stamp[1])) >= int(moment):  # Snakemake writes whole seconds
            return log[: stamp.start()]
    return log


def failure(state: Path, started: float, root: Path, again: str) -> str:
    """Return which jobs failed and why, or where the reason is if it was not a job."""
    if failed := failures(latest_log(state, started - 1)):
        return summary(failed, root, again)
    log = next(iter(logs(state, started - 1)), "above")
    return f"The run ended early, but no job failed; the reason: {log}\nFix it and start again:\n  {again}"


def success(words: Sequence[str], root: Path, started: float) -> str:
    """Return where the files of the named targets are, and the report."""
    lines = places(command_line.targets(words), targets(words), root, started)
    # After `./reproduce table1` the page may be of an earlier run, with other numbers than the table.
    report = root / results_folder(words) / "report.html"
    fresh = report.is_file() and report.stat().st_mtime >= started
    if fresh:
        archive = report.with_suffix(".zip")
        snakemake_report(archive, words, root)
        lines.append(f"Snakemake's own report, with code and run times, is at {archive}")
    if report.is_file() and (fresh or not lines):
        lines.append(f"The report is at {report}{'' if fresh else ' (written by an earlier run)'}")
    return "\n".join(lines)


def targets(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each table, figure and group of them under the config on the command line."""
    from himap.workflow.config.load import load
    from himap.workflow.plan import targets as named
    from himap.workflow.plan.plan import Plan

    try:
        return named.targets(Plan(load(settings(words))))
    except (OSError, ValueError):  # the run went well, so at worst the files of the names are not listed
        return {}


def places(words: Iterable[str], targets: Mapping[str, Sequence[str]], root: Path, started: float) -> list[str]:
    """Return a line for each target on the command line: its files, and whether this run made them."""
    lines = []
    for word in dict.fromkeys(words):
        files = list(targets.get(word, [word] if (root / word).is_file() else []))
        there = [file for file in files if (root / file).exists()]
        head = f"{word}: " if word in targets else ""
        lines += [f"{head}{place}   {age}" for place, age in braced(there, root, started)]
    return lines


def braced(files: Sequence[str], root: Path, started: float) -> list[tuple[str, str]]:
    """Return files that differ only in their ending as one name that a shell understands: table1.{csv,tex}."""
    endings: dict[str, list[str]] = {}
    for file in files:
        endings.setdefault(file.rpartition(".")[0], []).append(file.rpartition(".")[2])
    rows = []
    for stem, kinds in endings.items():
        fresh = any((root / f"{stem}.{kind}").stat().st_mtime >= started for kind in kinds)
        name = f"{stem}.{kinds[0]}" if len(kinds) == 1 else f"{stem}.{{{','.join(kinds)}}}"
        rows.append((name, "made now" if fresh else "up to date"))
    return rows


def snakemake_report(archive: Path, words: Sequence[str], root: Path) -> None:
    """Write Snakemake's own report: all figures and tables with captions, labels, code, parameters and run times."""
    command = [sys.executable, "-m", "snakemake", *words, "--report", str(archive.relative_to(root)), "--quiet"]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"Snakemake could not write its own report:\n{done.stdout[-2000:]}", file=sys.stderr)
