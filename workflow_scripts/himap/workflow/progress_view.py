"""What a run shows on the terminal: a line per finished job, each failure at once, and a live view of what is running.

Snakemake's logger plugin (snakemake_logger_plugin_himap) reports each event; nothing here imports Snakemake.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from himap.workflow.endings import is_progress, last_lines
from himap.workflow.plan.passes import RULES
from himap.workflow.snakemake_log import Failure, durations, reason, shared_name

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

RUNNING_SHOWN = 4  # running jobs in the live view


@dataclass
class Job:
    """A job as the view shows it."""

    rule: str
    wildcards: Mapping[str, str]
    log: str | None = None
    has_output: bool = True
    begun: float = 0.0  # by the view's clock
    started: float = field(default_factory=time.time)

    @property
    def step(self) -> str:
        """Return the step's name for people."""
        return self.rule.replace("_", " ")

    @property
    def what(self) -> str:
        """Return what the job is about: model, benchmark, method."""
        return " · ".join(wildcard_words(self.wildcards))


def wildcard_words(wildcards: Mapping[str, str]) -> Iterable[str]:
    """Yield the values of a job's wildcards; the part of an evaluation only if there are several."""
    for name, value in wildcards.items():
        if name == "part":  # shard-0-of-2, or `predictions` for all
            if shard := re.fullmatch(r"shard-(\d+)-of-(\d+)", value):
                yield f"shard {int(shard[1]) + 1} of {shard[2]}"
        else:
            yield f"layers {value}" if name == "layers" else value


def spell(seconds: float) -> str:
    """Return a duration for people: 1.2 s, 41 s, 2 min 5 s, 1 h 12 min."""
    # 9.96 would be shown as 10.0 s, a digit too many.
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rules_with_output(folder: Path) -> set[str]:
    """Return the rules that make files: to a reader, a target such as `all` or `table1` is no job."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.smk"))]
    blocks = [block for text in texts for block in re.split(r"^(?=rule )", text, flags=re.MULTILINE)]
    names = (re.match(r"rule (\w+):", block) for block in blocks if re.search(r"^    output:", block, re.MULTILINE))
    return {name[1] for name in names if name} | RULES  # those of passes are made in a loop


class Pace:
    """How long the rest takes, judged by what jobs of the same step took, in this run and in earlier ones."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = {rule: list(taken) for rule, taken in seconds.items()}
        self.begun: float | None = None

    def weight(self, jobs: Mapping[str, int]) -> float:
        """Return the seconds of work in a number of jobs of each step. A step that never ran counts as the mean of all."""
        # A first run has no times yet: then all jobs weigh the same.
        everything = [value for taken in self.seconds.values() for value in taken] or [1.0]
        means = {rule: sum(taken) / len(taken) for rule, taken in self.seconds.items() if taken}
        return sum(
            count * max(means.get(rule, sum(everything) / len(everything)), 0.01) for rule, count in jobs.items()
        )

    def to_go(self, done: Mapping[str, int], left: Mapping[str, int], now: float) -> str:
        """Return `about 2 min to go`, or nothing while too few jobs are done to tell how fast this machine is."""
        if self.begun is None or sum(done.values()) < 3 or not sum(left.values()):
            return ""
        # Work left over work done, in the time since the start: several jobs at a time are counted in that way.
        seconds = (now - self.begun) * self.weight(left) / self.weight(done)
        if seconds < 60:
            return "less than 1 min to go"
        minutes = round(seconds / 60)
        return f"about {minutes} min to go" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min to go"


class View:
    """The terminal's view of a run."""

    def __init__(self, root: Path, stream: IO[str], live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.root, self.stream, self.clock = root, stream, clock
        self.making = rules_with_output(root / "rules")
        self.jobs: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.left: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.total = 0
        self.pace = Pace({})
        # The live view is redrawn by a thread of its own while events change the jobs.
        self.lock = threading.RLock()
        self.live: Live | None = self.open_live() if live else None

    # ---- what happens

    def planned(self, counts: Mapping[str, int]) -> None:
        """Begin with the number of jobs of each rule."""
        self.left = Counter()
        for rule, count in counts.items():
            self.left[shared_name(rule)] += count if shared_name(rule) in self.making else 0
        self.left = +self.left  # drops the zeros of targets
        self.total = sum(self.left.values())
        # Begins with what jobs of the same rules took in earlier runs in this folder.
        self.pace = Pace(durations(self.root / ".snakemake"))
        self.pace.begun = self.clock()
        if self.total:
            self.say(
                f"{self.total} job{'s' if self.total > 1 else ''} to run (Snakemake's own output: -v, and .snakemake/log)"
            )
        if self.live:
            self.live.start()
            self.live.console.show_cursor(True)  # a killed run would leave the terminal without one

    def described(self, number: int, job: Job) -> None:
        """Note that a job is about to run."""
        with self.lock:
            job.begun = self.clock()
            self.jobs[number] = job
            if job.has_output:
                self.running[number] = job

    def finished(self, number: int) -> None:
        """Show that a job succeeded."""
        with self.lock:
            job = self.jobs.get(number)
            self.running.pop(number, None)
            if job is None or not job.has_output:
                return
            now = self.clock()
            self.done[job.rule] += 1
            self.left[job.rule] -= 1
            self.pace.seconds.setdefault(job.rule, []).append(now - job.begun)
            line = f"{self.count()} {self.name(job):<62} {spell(now - job.begun):>11}"
            self.say(f"{line}   {self.to_go()}".rstrip())

    def failed(self, number: int, failure: Failure) -> None:
        """Show that a job failed: which, why, and where its log is."""
        with self.lock:
            # A job whose announcement was not seen still gets its message.
            job = self.jobs.get(number) or Job(failure.rule, {})
            self.running.pop(number, None)
            self.say(
                f"FAILED {self.name(job).rstrip()}   after {spell(self.clock() - job.begun)}\n"
                f"    reason: {reason(replace(failure, begun=int(job.started)), self.root)}\n"
                f"    log: {failure.log or job.log or 'none'}",
                style="bold red",
            )

    def stopped(self, number: int) -> None:
        """Note that the run's interrupt ended a job."""
        with self.lock:
            self.running.pop(number, None)

    def repeated(self, number: int) -> None:
        """Show that a job that failed is tried again."""
        job = self.jobs.get(number)
        self.say(f"    trying again: {self.name(job).rstrip() if job else f'job {number}'}")

    def say(self, text: str, style: str = "") -> None:
        """Print a permanent message, above the bar if there is one."""
        if self.live:
            from rich.text import Text

            self.live.console.print(Text(text, style=style), soft_wrap=True, highlight=False)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """End the view: the bar disappears, the lines stay."""
        if self.live:
            self.live.stop()

    # ---- how it looks

    def count(self) -> str:
        """Return the count of finished jobs: [ 37/423]."""
        width = len(str(self.total))
        return f"[{sum(self.done.values()):>{width}}/{self.total}]"

    def name(self, job: Job) -> str:
        """Return step and subject in columns."""
        width = max((len(rule) for rule in self.left), default=0)
        return f"{job.step:<{width}}  {job.what}"

    def to_go(self) -> str:
        """Return how long the rest may take."""
        return self.pace.to_go(self.done, self.left, self.clock())

    def open_live(self) -> Live:
        """Return the bar and the running jobs, redrawn twice a second at the bottom of the terminal."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream, force_terminal=True)
        # transient: at the end the bar disappears and only the lines stay.
        return Live(console=console, get_renderable=self.picture, refresh_per_second=2, transient=True)

    def picture(self) -> Group:
        """Return the live part: bar, count, time to go, and each running job with its progress."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self.lock:
            running, done = list(self.running.values()), sum(self.done.values())
            since = self.clock() - (self.pace.begun or self.clock())
            head = Table.grid(padding=(0, 2))
            bar = ProgressBar(total=max(self.total, 1), completed=done, width=40)
            head.add_row(bar, f"{done}/{self.total}", f"{spell(since)} so far", self.to_go())
        jobs = Table.grid(padding=(0, 2))
        for job in running[:RUNNING_SHOWN]:
            jobs.add_row("running", job.step, job.what, spell(self.clock() - job.begun), Text(self.reached(job)))
        more = len(running) - RUNNING_SHOWN
        return Group(head, jobs, *([Text(f"and {more} more")] if more > 0 else []))

    def reached(self, job: Job) -> str:
        """Return a running job's progress, from the bar in its log."""
        lines = last_lines(self.root / job.log, 1) if job.log else []
        bar = re.match(r"\[[#-]+\] \d+/\d+", lines[0].strip()) if lines and is_progress(lines[0]) else None
        return bar[0] if bar else ""
