"""Where a run stands: per experiment what is done, running, failed, waiting, and how long the rest may take.

Which outputs are up to date is asked of Snakemake; what runs and what failed is read from the notes that it keeps.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from himap.endings import killed, last_lines, last_words, scheduler_words, signal_behind, silence
from himap.jobs import bar, span
from himap.journal import try_lock
from himap.notes import INCOMPLETE, METADATA, notes

if TYPE_CHECKING:
    from himap.plan import Plan

STATES = ("done", "running", "failed", "waiting")
ENDED_FROM_OUTSIDE = {  # what a scheduler calls it, what its log says of it, what it means and what helps
    "OUT_OF_MEMORY": (
        r"exceeded (?:job )?memory limit|oom.?kill",
        "its memory was not enough; raise the model's `memory_gb`",
    ),
    "TIMEOUT": (
        r"DUE TO TIME LIMIT",
        "its time was not enough; raise `execution.runtime_minutes`, or cut the work into more `shards`",
    ),
    "PREEMPTED": (r"DUE TO PREEMPTION", "it had to make room for another job"),
    "NODE_FAIL": (r"DUE TO NODE FAILURE", "its node failed"),
    "CANCELLED": (r"CANCELLED AT", "it was cancelled"),
}

NEXT_MESSAGE = re.compile(r"^(?:\[\w{3} \w{3} +\d|Error in |(?:local)?rule \w+:)", re.MULTILINE)
INVISIBLE = re.compile(  # a job ended well, but its result does not appear
    r"^MissingOutputException in rule (\w+)[^\n]*\nJob (\d+) +completed successfully, but some output files are missing\."
    r"[^\n]*\n([^\n]+?)(?: \(missing[^\n]*)?$",
    re.MULTILINE,
)
SHELL = re.compile(r"^    shell:\n        (.*?)\n        \(command exited", re.MULTILINE | re.DOTALL)
REFUSAL = re.compile(r"sbatch failed[^\n]*error message was '(.*?)'\.?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """A job that failed and was not made good by a later attempt."""

    rule: str
    output: str
    log: str | None
    state: str | None = None  # what the scheduler calls its end
    cluster_log: str | None = None
    refused: str | None = None  # what the scheduler said when it did not take the job
    invisible: bool = False  # it ended well, but its output did not appear
    signal: int | None = None  # what ended its shell
    begun: float = 0.0  # when its last attempt was started


def failures(snakemake_log: str) -> list[Failure]:
    """The jobs that Snakemake's own log reports as failed; those that a later attempt finished are left out."""
    found: dict[str, tuple[int, Failure]] = {}
    for error in re.finditer(r"^Error in (?:rule|group) (\w+):\n", snakemake_log, re.MULTILINE):
        body = NEXT_MESSAGE.split(snakemake_log[error.end() :], maxsplit=1)[0]
        number, output, logs, state = (
            re.search(pattern, body, re.MULTILINE)
            for pattern in (
                r"^    jobid: (\d+)", r"^    output: ([^,\n]+)", r"^    log: ([^(\n]+)", r"status is: '?(\w+)"
            )
        )  # fmt: skip
        own, _, cluster = logs[1].strip().partition(", ") if logs else ("", "", "")
        refusal = REFUSAL.findall(
            snakemake_log[: error.end()] + body
        )  # an array's stands once, before its jobs' errors
        failure = Failure(
            rule=error[1],
            output=output[1].strip() if output else "?",
            log=own or None,
            state=state[1] if state else None,
            cluster_log=cluster or None,
            refused=refusal[-1] if refusal and "sbatch" in body.partition("jobid:")[0] else None,
            signal=signal_behind(snakemake_log[: error.start()], shell[1]) if (shell := SHELL.search(body)) else None,
            begun=start_of(number[1], snakemake_log[: error.start()]) if number else 0.0,
        )
        found[number[1] if number else failure.output] = (error.start(), failure)
    for error in INVISIBLE.finditer(snakemake_log):
        rule, job, file = error.groups()
        said = re.findall(rf"^    log: ([^,\n]+)\n(?:    .*\n)*?    jobid: {job}$", snakemake_log, re.MULTILINE)
        found[job] = (error.start(), Failure(rule, file, said[-1] if said else None, invisible=True))
    finished = {one[1]: one.start() for one in re.finditer(r"^Finished jobid: (\d+)", snakemake_log, re.MULTILINE)}
    return [failure for number, (place, failure) in found.items() if finished.get(number, -1) < place]


def start_of(number: str, snakemake_log: str) -> float:
    """When Snakemake last started a job, by the time above its announcement; 0 if the log does not say."""
    announced = re.findall(
        rf"^\[([^\]\n]+)\]\n(?:local)?rule \w+:\n(?:    .*\n)*?    jobid: {number}$", snakemake_log, re.MULTILINE
    )
    return time.mktime(time.strptime(announced[-1])) if announced else 0.0


def logs(state: Path, since: float = 0.0) -> list[Path]:
    """What Snakemake wrote down of its runs that ended after `since`, the latest first; looking writes logs too."""
    found = [(path.stat().st_mtime, path) for path in (state / "log").glob("*.snakemake.log")]
    return [path for ended, path in sorted(found, reverse=True) if ended >= since]


def latest_log(state: Path, since: float = 0.0) -> str:
    """What Snakemake wrote down of its last run that executed jobs, if that ended after `since`."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in logs(state, since))
    return next((text for text in texts if re.search(r"^Execute \d+ jobs", text, re.MULTILINE)), "")


def reason(failure: Failure, root: Path) -> str:
    """Why a job failed, in one line."""
    if failure.invisible:
        return (
            "it ended well, but its output did not appear in time; start again, on a slow shared file system with a"
            " longer wait (--latency-wait 300)"
        )
    if failure.refused:
        return f"SLURM did not take it: {' '.join(failure.refused.split())}"
    ended = failure.state if failure.state in ENDED_FROM_OUTSIDE else ended_by(failure.cluster_log)
    if ended:
        return f"SLURM says {ended}: {ENDED_FROM_OUTSIDE[ended][1]}"
    if failure.signal:
        return killed(failure.signal)
    log = root / failure.log if failure.log else None
    if log and (words := last_words(log, failure.begun)):
        return words
    if failure.cluster_log and (words := scheduler_words(found_log(failure.cluster_log))):
        return f"it never spoke itself; SLURM's log says: {words} ({found_log(failure.cluster_log)})"
    return silence(log, failure.begun) if log else "see Snakemake's message above"


def ended_by(log: str | None) -> str | None:
    """The scheduler's word for a job's end, from its own log."""
    if log is None:
        return None
    text = "\n".join(last_lines(found_log(log), 200))
    return next((state for state, (sign, _) in ENDED_FROM_OUTSIDE.items() if re.search(sign, text)), None)


def found_log(log: str) -> Path:
    """A scheduler's log where it lies: an array's one folder higher than the plugin says."""
    return Path(log) if Path(log).is_file() else Path(log).parent.parent / Path(log).name


def summary(failed: Iterable[Failure], root: Path, again: str) -> str:
    """The last words of a run that failed: which jobs, why, what to type next."""
    listed = list(failed)
    lines = [f"{len(listed)} job{'' if len(listed) == 1 else 's'} failed:"]
    for one in listed:
        lines += [f"  {one.rule} -> {one.output}", f"    log: {one.log or 'none'}", f"    reason: {reason(one, root)}"]
    lines += ["What was finished is kept. Fix the cause and start again; only the rest is run:", f"  {again}"]
    return "\n".join(lines)


def experiments(plan: Plan) -> dict[str, list[str]]:
    """Return the first output of every job that each experiment needs."""
    found = {name: [outputs[0] for outputs in jobs] for name, jobs in plan.experiments.items()}
    return {**found, "report": [f"{plan.out}/report.html"]}


def log_of(output: str, out: str) -> str:
    """Where the job behind a result writes what it says."""
    path = Path(output.removeprefix(out + "/"))
    if path.name in ("manifest.json", "samples.parquet", "saliency.parquet") or path.parts[0] == "grid":
        path = path.parent
    return f"{out}/logs/{path.with_suffix('.log') if path.suffix in ('.jsonl', '.parquet', '.csv') else f'{path}.log'}"


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


def durations(state: Path) -> dict[str, list[float]]:
    """Seconds that each finished job took, by rule."""
    found: dict[str, list[float]] = defaultdict(list)
    seen: set[tuple[str, float]] = set()
    for _, path in notes(state / METADATA):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            rule, begun, ended = note["rule"], float(note["starttime"]), float(note["endtime"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if (rule, begun) not in seen:  # a job with several outputs counts once
            seen.add((rule, begun))
            found[rule].append(ended - begun)
    return found


@dataclass(frozen=True)
class Standing:
    """State and rule of every output, what failed, and how long finished jobs took."""

    states: Mapping[str, str]
    rules: Mapping[str, str]
    failed: list[Failure]
    seconds: Mapping[str, list[float]]


def parse_summary(text: str) -> tuple[dict[str, str], set[str]]:
    """Rule of every output, and the outputs that need nothing, from `snakemake --summary`."""
    rules: dict[str, str] = {}
    current: set[str] = set()
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) >= 6 and cells[0] != "output_file":
            rules[cells[0]] = cells[2]
            if cells[-1] == "no update":
                current.add(cells[0])
    return rules, current


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
    for name, files in experiments(plan).items():
        jobs = [file for file in files if file in now.states]
        wanted |= dict.fromkeys(jobs)
        counts = {one: sum(now.states[job] == one for job in jobs) for one in STATES}
        filled = 20 * counts["done"] // max(len(jobs), 1)
        lines.append(f"{name:<22}" + "".join(f"{counts[one]:>9}" for one in STATES) + f"  [{'#' * filled:-<20}]")
    running = [job for job in wanted if now.states[job] == "running"]
    if running:
        lines += ["", "running:"]
    for job in running:
        said = last_lines(root / log_of(job, plan.out), 1)
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
