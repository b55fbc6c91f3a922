"""Where a run stands: per experiment what is done, running, failed, waiting, and how long the rest may take.

Which outputs are up to date is asked of Snakemake; what runs and what failed is read from the notes that it keeps.
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
    """The last words of a run that failed: which jobs, why, what to type next."""
    listed = list(failed)
    lines = [f"{len(listed)} job{'' if len(listed) == 1 else 's'} failed:"]
    for one in listed:
        lines += [f"  {one.rule} -> {one.output}", f"    log: {one.log or 'none'}", f"    reason: {reason(one, root)}"]
    lines += ["What was finished is kept. Fix the cause and start again; only the rest is run:", f"  {again}"]
    return "\n".join(lines)


def under_way(state: Path) -> set[str]:
    """Outputs of jobs that this run began and did not end; older marks were left by a run that was killed."""
    begin = state / "reproduce.running"
    since = begin.stat().st_mtime if begin.exists() else 0.0
    return {output for output, path in notes(state / INCOMPLETE) if path.stat().st_mtime >= since}


def is_held(lock: Path) -> bool:
    """Whether a run is at work now."""
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
    rows = (line.split("\t") for line in summary_text.splitlines())
    return {cells[0] for cells in rows if len(cells) >= 6 and cells[-2] == "missing"}


def standing(root: Path, summary_text: str) -> Standing:
    """Put together what Snakemake says and what its notes say."""
    state = root / ".snakemake"
    rules, current = parse_summary(summary_text)
    begun = under_way(state) if is_held(state / "reproduce.lock") else set()
    made = {output for output in current if (root / output).exists()}
    found = [
        one for one in failures(latest_log(state)) if one.output in rules
    ]  # the last run may have had another config
    failed = [one for one in found if one.output not in begun and one.output not in made]
    broken = {one.output for one in failed}
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
    """The whole picture as lines of text."""
    lines = [f"{'experiment':<22}" + "".join(f"{name:>9}" for name in STATES)]
    wanted: dict[str, None] = {}
    for name, files in first_outputs(plan).items():
        jobs = [file for file in files if file in now.states]
        wanted |= dict.fromkeys(jobs)
        counts = {one: sum(now.states[job] == one for job in jobs) for one in STATES}
        filled = 20 * counts["done"] // max(len(jobs), 1)
        lines.append(f"{name:<22}" + "".join(f"{counts[one]:>9}" for one in STATES) + f"  [{'#' * filled:-<20}]")
    running = [job for job in wanted if now.states[job] == "running"]
    if running:
        lines += ["", "running:"]
    for job in running:
        said = last_lines(root / plan.paths.log(job), 1)
        lines.append(f"  {now.rules[job]} -> {job}" + (f"\n    {said[0].strip()}" if said else ""))
    if now.failed:
        lines += ["", "failed:"]
    for one in now.failed:
        lines += [f"  {one.rule} -> {one.output}", f"    {reason(one, root)}"]
        lines += [f"    | {line}" for line in (last_lines(root / one.log) if one.log else [])]
    done = sum(now.states[job] == "done" for job in wanted)
    lines += [
        "",
        bar(done, len(wanted), 0.0, "jobs").split(",")[0] + remaining(now, list(wanted), max(1, len(running))),
    ]
    return "\n".join(lines)


def remaining(now: Standing, jobs: Iterable[str], lanes: int) -> str:
    """How long the rest may take, judged by the jobs that are finished."""
    rest = [job for job in jobs if now.states[job] != "done"]
    if not rest:
        return ""
    means = {rule: sum(taken) / len(taken) for rule, taken in now.seconds.items()}
    known = [means[now.rules[job]] for job in rest if now.rules[job] in means]
    if not known:
        return "; no job of the kinds that are left has finished yet, so there is no estimate"
    unknown = len(rest) - len(known)
    text = f"; about {span(sum(known) / lanes)} to go with {lanes} at a time"
    return text + (f", besides {unknown} jobs of kinds that have not run yet" if unknown else "")
