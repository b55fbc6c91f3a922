"""Read Snakemake's own logs and notes: what failed, why, and how long jobs took."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from himap.notes import METADATA, notes
from himap.workflow.endings import killed, last_lines, last_words, scheduler_words, signal_behind, silence

ENDED_FROM_OUTSIDE = {  # the scheduler's state: how its log says it, what it means and what helps
    "OUT_OF_MEMORY": (
        r"exceeded (?:job )?memory limit|oom.?kill",
        "it ran out of memory; raise the model's `memory_gb`",
    ),
    "TIMEOUT": (
        r"DUE TO TIME LIMIT",
        "it ran out of time; raise `execution.runtime_minutes`, or cut the work into more `shards`",
    ),
    "PREEMPTED": (r"DUE TO PREEMPTION", "it was preempted"),
    "NODE_FAIL": (r"DUE TO NODE FAILURE", "its node failed"),
    "CANCELLED": (r"CANCELLED AT", "it was cancelled"),
}

NEXT_MESSAGE = re.compile(r"^(?:\[\w{3} \w{3} +\d|Error in |(?:local)?rule \w+:)", re.MULTILINE)
INVISIBLE = re.compile(  # a job succeeded, but its output does not appear
    r"^MissingOutputException in rule (\w+)[^\n]*\nJob (\d+) +completed successfully, but some output files are missing\."
    r"[^\n]*\n([^\n]+?)(?: \(missing[^\n]*)?$",
    re.MULTILINE,
)
SHELL = re.compile(r"^    shell:\n        (.*?)\n        \(command exited", re.MULTILINE | re.DOTALL)
# sbatch's message may have several lines; the quote and the full stop after it end it.
REFUSAL = re.compile(r"sbatch failed[^\n]*error message was '(.*?)'\.?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """A job that failed and did not succeed in a later attempt."""

    rule: str
    output: str
    log: str | None
    state: str | None = None  # how it ended, in the scheduler's word
    cluster_log: str | None = None
    refused: str | None = None  # why the scheduler rejected the job
    invisible: bool = False  # it succeeded, but its output did not appear
    signal: int | None = None  # what ended its shell
    begun: float = 0.0  # when its last attempt started


def shared_name(rule: str) -> str:
    """Return the name that rules made in a loop have in common: what is before `__`."""
    return rule.partition("__")[0]


def failures(snakemake_log: str) -> list[Failure]:
    """Return the jobs that Snakemake's own log reports as failed, without those that a later attempt finished."""
    failed: dict[str, tuple[int, Failure]] = {}
    # Error in rule count_flops: / jobid: 7 / output: a, b / log: x.log, y.log (check log file(s) ...) / shell: ...
    for error in re.finditer(r"^Error in (?:rule|group) (\w+):\n", snakemake_log, re.MULTILINE):
        body = NEXT_MESSAGE.split(snakemake_log[error.end() :], maxsplit=1)[0]
        number, output, logs, state = (
            re.search(pattern, body, re.MULTILINE)
            for pattern in (
                r"^    jobid: (\d+)", r"^    output: ([^,\n]+)", r"^    log: ([^(\n]+)", r"status is: '?(\w+)"
            )
        )  # fmt: skip
        # On a cluster two logs are named: the job's own, and the scheduler's.
        log, _, cluster = logs[1].strip().partition(", ") if logs else ("", "", "")
        refusal = REFUSAL.findall(
            snakemake_log[: error.end()] + body
        )  # an array is rejected once, before the errors of its jobs
        failure = Failure(
            rule=shared_name(error[1]),
            output=output[1].strip() if output else "?",
            log=log or None,
            state=state[1] if state else None,
            cluster_log=cluster or None,
            refused=refusal[-1] if refusal and "sbatch" in body.partition("jobid:")[0] else None,
            signal=signal_behind(snakemake_log[: error.start()], shell[1]) if (shell := SHELL.search(body)) else None,
            begun=start_of(number[1], snakemake_log[: error.start()]) if number else 0.0,
        )
        # By job id, so that a later attempt that failed too replaces the earlier one.
        failed[number[1] if number else failure.output] = (error.start(), failure)
    for error in INVISIBLE.finditer(snakemake_log):
        rule, job, file = error.groups()
        rule = shared_name(rule)
        # The exception names no log; the job's announcement above it does.
        announced = re.findall(rf"^    log: ([^,\n]+)\n(?:    .*\n)*?    jobid: {job}$", snakemake_log, re.MULTILINE)
        failed[job] = (error.start(), Failure(rule, file, announced[-1] if announced else None, invisible=True))
    ends = re.finditer(r"^Finished jobid: (\d+)", snakemake_log, re.MULTILINE)
    finished = {end[1]: end.start() for end in ends}
    # A job may fail, be tried again and succeed: then its end comes after its error.
    return [failure for number, (place, failure) in failed.items() if finished.get(number, -1) < place]


def start_of(number: str, snakemake_log: str) -> float:
    """Return when Snakemake last started a job, by the time above its announcement, or 0 if the log does not say."""
    announced = re.findall(
        rf"^\[([^\]\n]+)\]\n(?:local)?rule \w+:\n(?:    .*\n)*?    jobid: {number}$", snakemake_log, re.MULTILINE
    )
    return time.mktime(time.strptime(announced[-1])) if announced else 0.0


def logs(state: Path, since: float = 0.0) -> list[Path]:
    """Return Snakemake's logs of runs that ended after `since`, the latest first. Dry runs leave logs too."""
    dated = [(path.stat().st_mtime, path) for path in (state / "log").glob("*.snakemake.log")]
    return [path for ended, path in sorted(dated, reverse=True) if ended >= since]


def latest_log(state: Path, since: float = 0.0) -> str:
    """Return the log of Snakemake's last run that executed jobs, if that ended after `since`."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in logs(state, since))
    # Dry runs and --summary leave logs too, but execute nothing.
    return next((text for text in texts if re.search(r"^Execute \d+ jobs", text, re.MULTILINE)), "")


def reason(failure: Failure, root: Path) -> str:
    """Return why a job failed, in one line."""
    if failure.invisible:
        return (
            "it succeeded, but its output did not appear in time; run again, on a slow shared file system with a"
            " longer wait (--latency-wait 300)"
        )
    if failure.refused:
        return f"SLURM rejected it: {' '.join(failure.refused.split())}"
    # From the surest source to the weakest: the scheduler, the shell, the job's log, the scheduler's log.
    ended = failure.state if failure.state in ENDED_FROM_OUTSIDE else ended_by(failure.cluster_log)
    if ended:
        return f"SLURM says {ended}: {ENDED_FROM_OUTSIDE[ended][1]}"
    if failure.signal:
        return killed(failure.signal)
    log = root / failure.log if failure.log else None
    if log and (words := last_words(log, failure.begun)):
        return words
    if failure.cluster_log and (words := scheduler_words(cluster_log(failure.cluster_log))):
        return f"its own log is empty; SLURM's log says: {words} ({cluster_log(failure.cluster_log)})"
    return silence(log, failure.begun) if log else "see Snakemake's message above"


def ended_by(log: str | None) -> str | None:
    """Return the scheduler's word for how a job ended, from its own log."""
    if log is None:
        return None
    text = "\n".join(last_lines(cluster_log(log), 200))
    return next((state for state, (sign, _) in ENDED_FROM_OUTSIDE.items() if re.search(sign, text)), None)


def cluster_log(log: str) -> Path:
    """Return where a scheduler's log lies: that of an array one folder higher than the plugin says."""
    return Path(log) if Path(log).is_file() else Path(log).parent.parent / Path(log).name


def durations(state: Path) -> dict[str, list[float]]:
    """Return the seconds that each finished job took, by rule."""
    seconds: dict[str, list[float]] = defaultdict(list)
    seen: set[tuple[str, object]] = set()
    for _, path in notes(state / METADATA):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            rule, begun, ended = note["rule"], float(note["starttime"]), float(note["endtime"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        job = (rule, tuple(note.get("log") or ()) or begun)
        if job not in seen:  # a job with several outputs counts once
            seen.add(job)
            seconds[shared_name(rule)].append(ended - begun)
    return seconds


def parse_summary(text: str) -> tuple[dict[str, str], set[str]]:
    """Return the rule of every output, and the outputs that are up to date, from `snakemake --summary`."""
    rules: dict[str, str] = {}
    current: set[str] = set()
    for line in text.splitlines():
        cells = line.split("\t")
        # Columns: output_file, date, rule, …, status, plan. Lines with fewer are messages.
        if len(cells) >= 6 and cells[0] != "output_file":
            rules[cells[0]] = shared_name(cells[2])
            if cells[-1] == "no update":
                current.add(cells[0])
    return rules, current
