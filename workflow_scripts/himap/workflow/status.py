"""The state of a run: per table and figure what is done, running, failed, waiting, and how long the rest may take.

Snakemake tells which outputs are up to date; its notes tell what is running and what failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from himap.locks import try_lock
from himap.notes import INCOMPLETE, notes
from himap.workflow.endings import last_lines
from himap.workflow.jobs.progress import bar, span
from himap.workflow.plan.targets import first_outputs
from himap.workflow.snakemake_log import Failure, durations, failures, latest_log, parse_summary, reason

if TYPE_CHECKING:
    from himap.workflow.plan.plan import Plan

STATES = ("done", "running", "failed", "waiting")


def summary(failed: Iterable[Failure], root: Path, again: str) -> str:
    """Return the summary of a run that failed: which jobs, why, what to type next."""
    jobs = list(failed)
    lines = [f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} failed:"]
    for job in jobs:
        lines += [f"  {job.rule} -> {job.output}", f"    log: {job.log or 'none'}", f"    reason: {reason(job, root)}"]
    lines += ["What was finished is kept. Fix the cause and start again; only the rest is run:", f"  {again}"]
    return "\n".join(lines)


def under_way(state: Path) -> set[str]:
    """Return the outputs of jobs that this run has begun but not finished. Older marks were left by a run that was killed."""
    begin = state / "reproduce.running"
    # ./reproduce writes this file at each start.
    since = begin.stat().st_mtime if begin.exists() else 0.0
    return {output for output, path in notes(state / INCOMPLETE) if path.stat().st_mtime >= since}


def is_held(lock: Path) -> bool:
    """Return whether a run is in progress."""
    if not lock.exists():
        return False
    with lock.open() as file:
        return not try_lock(file, shared=True)


@dataclass(frozen=True)
class Standing:
    """State and rule of every output, what failed, and how long finished jobs took."""

    states: Mapping[str, str]
    rules: Mapping[str, str]
    failed: list[Failure]
    seconds: Mapping[str, list[float]]


def missing(summary_text: str) -> set[str]:
    """Return the outputs that are not there, temporary ones left out, from `snakemake --summary`."""
    return with_status(summary_text, "missing")


def with_status(summary_text: str, status: str) -> set[str]:
    """Return the outputs that `snakemake --summary` gives this status: ok, missing, removed temp file, …"""
    # The status is the last column but one.
    rows = (line.split("\t") for line in summary_text.splitlines())
    return {cells[0] for cells in rows if len(cells) >= 6 and cells[-2] == status}


def standing(root: Path, summary_text: str) -> Standing:
    """Combine what Snakemake says with what its notes say."""
    state = root / ".snakemake"
    rules, current = parse_summary(summary_text)
    begun = under_way(state) if is_held(state / "reproduce.lock") else set()
    # Snakemake deletes a temporary file after its last reader, and asks for it again only if a reader has to run.
    deleted = with_status(summary_text, "removed temp file")
    made = {output for output in current if output in deleted or (root / output).exists()}
    ended = [job for job in failures(latest_log(state)) if job.output in rules]  # others are of another config
    # The last run's failures, without what has been begun again or made since.
    failed = [job for job in ended if job.output not in begun and job.output not in made]
    broken = {job.output for job in failed}
    states = {
        output: "running"
        if output in begun
        else "failed"
        if output in broken
        else "done"
        if output in made
        else "waiting"
        for output in rules
    }
    return Standing(states, rules, failed, durations(state))


def report(plan: Plan, root: Path, now: Standing) -> str:
    """Return the whole state as lines of text."""
    lines = [f"{'experiment':<22}" + "".join(f"{name:>9}" for name in STATES)]
    wanted: dict[str, None] = {}
    for name, files in first_outputs(plan).items():
        # A job is counted by its first output; the same job may stand behind several tables.
        jobs = [file for file in files if file in now.states]
        wanted |= dict.fromkeys(jobs)
        counts = {state: sum(now.states[job] == state for job in jobs) for state in STATES}
        filled = 20 * counts["done"] // max(len(jobs), 1)
        lines.append(f"{name:<22}" + "".join(f"{counts[state]:>9}" for state in STATES) + f"  [{'#' * filled:-<20}]")
    running = [job for job in wanted if now.states[job] == "running"]
    if running:
        lines += ["", "running:"]
    for job in running:
        progress = last_lines(root / plan.paths.log(job), 1)
        lines.append(f"  {now.rules[job]} -> {job}" + (f"\n    {progress[0].strip()}" if progress else ""))
    if now.failed:
        lines += ["", "failed:"]
    for failure in now.failed:
        lines += [f"  {failure.rule} -> {failure.output}", f"    {reason(failure, root)}"]
        lines += [f"    | {line}" for line in (last_lines(root / failure.log) if failure.log else [])]
    done = sum(now.states[job] == "done" for job in wanted)
    lines += [
        "",
        bar(done, len(wanted), 0.0, "jobs").split(",")[0] + remaining(now, list(wanted), max(1, len(running))),
    ]
    return "\n".join(lines)


def remaining(now: Standing, jobs: Iterable[str], lanes: int) -> str:
    """Return how long the rest may take, judged by the jobs that are finished."""
    rest = [job for job in jobs if now.states[job] != "done"]
    if not rest:
        return ""
    # By rule, since jobs of one rule take about as long as each other.
    means = {rule: sum(taken) / len(taken) for rule, taken in now.seconds.items()}
    known = [means[now.rules[job]] for job in rest if now.rules[job] in means]
    if not known:
        return "; no job of the remaining steps has finished yet, so there is no estimate"
    unknown = len(rest) - len(known)
    text = f"; about {span(sum(known) / lanes)} to go with {lanes} at a time"
    return text + (f", plus {unknown} jobs of steps that have not run yet" if unknown else "")
