"""Snakemake's logger plugin `himap`: passes on to this project's view what happens in a run (`--logger himap`).

Snakemake finds it by its name on the module path; himap.workflow.run puts it there. Snakemake's own log file stays as it is.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from himap.workflow.progress_view import Job, View
from himap.workflow.reasons import Planned, explain
from himap.workflow.snakemake_log import failures, shared_name
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Messages without an event and below the level of a warning that a user should see nevertheless.
PASSED_ON = ("Nothing to be done", "Will exit after finishing")
REPEATED = re.compile(r"Trying to restart job (\d+)\.")
TOLD_OTHERWISE = (  # what the view, or the last lines of himap.workflow.run, say better
    "Exiting because a job execution failed",
    "At least one job did not complete",
    "WorkflowError:\nAt least one job did not complete",
)


class LogHandler(LogHandlerBase):
    """Takes Snakemake's events in the order in which they happen."""

    # Snakemake asks these: a handler that writes to the stream replaces Snakemake's own output.
    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.dry = bool(self.common_settings.dryrun)
        # The list of a dry run is a result that one may pipe; the lines of a run are messages.
        self.stream = sys.stdout if self.dry else sys.stderr
        live = not self.dry and self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.view = View(Path.cwd(), self.stream, live)
        self.planned: list[Planned] = []
        self.errors = ""  # Snakemake says how a shell ended before it says whose it was, and of an array only once
        self.interrupted = False
        self.passed_on: set[str] = set()  # Snakemake repeats some of them several times a second
        if not self.dry:
            self.notice_interrupt()

    def notice_interrupt(self) -> None:
        """Know of Ctrl-C before the jobs that it ends are reported as failed."""
        # Snakemake's own handler is called by ours, so that it still stops the run.
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):  # a background job of a shell ignores it
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            before(number, frame)

        signal.signal(signal.SIGINT, handle)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the view of one event."""
        try:
            self.tell(record, getattr(record, "event", None))
        # As every handler of `logging` does: a mistake in the view must not stop a run.
        except Exception:
            self.handleError(record)

    def tell(self, record: logging.LogRecord, event: LogEvent | None) -> None:
        """Sort an event; what has no event is a message, of which only warnings and errors count."""
        facts: dict[str, Any] = record.__dict__
        if event == LogEvent.RUN_INFO:
            self.tell_counts(facts["stats"])
        elif event == LogEvent.JOB_INFO:
            self.tell_job(facts)
        elif event == LogEvent.JOB_FINISHED:
            self.view.finished(facts["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.tell_failure(record)
        elif record.levelno >= logging.WARNING:
            self.tell_trouble(record)
        elif event is None and (message := record.getMessage()).startswith(PASSED_ON) and message not in self.passed_on:
            self.passed_on.add(message)
            self.view.say(message)
        elif event is None and (again := REPEATED.match(record.getMessage())):
            self.view.repeated(int(again[1]))

    def tell_counts(self, stats: dict[str, int]) -> None:
        """How many jobs there are; a dry run says it itself, with the reasons."""
        if not self.dry:
            self.view.planned(stats)

    def tell_job(self, facts: dict[str, Any]) -> None:
        """A job begins, or is listed by a dry run."""
        wildcards = {name: str(value) for name, value in facts["wildcards"].items()}
        rule = shared_name(facts["rule_name"])
        if self.dry:
            outputs = [name.split(" ")[0] for name in facts["output"] or ()]  # `x (deleted)`, `x (update)`
            self.planned.append(Planned(Job(rule, wildcards), outputs, facts["reason"]))
            return
        log = next(iter(facts["log"] or ()), None)
        self.view.described(facts["jobid"], Job(rule, wildcards, log, bool(facts["output"])))

    def tell_failure(self, record: logging.LogRecord) -> None:
        """A job failed; why is read from the same words that Snakemake writes into its log file."""
        number = record.__dict__["jobid"]
        if self.interrupted:
            self.view.stopped(number)
            return
        # The event's text alone does not say how the shell ended, nor why sbatch refused.
        for failure in failures(f"{self.errors}\n{self.format(record)}\n"):
            self.view.failed(number, failure)

    def tell_trouble(self, record: logging.LogRecord) -> None:
        """A warning or an error; how a job's shell ended is kept for the job's own report."""
        text = self.format(record)
        if text.startswith("RuleException:\nCalledProcessError") or "sbatch failed" in text:
            # Bounded, because a long run may have many failures; only the latest words matter.
            self.errors = f"{self.errors}\n{text}"[-200_000:]
        elif text.startswith("MissingOutputException") and (job := re.search(r"^Job (\d+) ", text, re.MULTILINE)):
            for failure in failures(text):
                self.view.failed(int(job[1]), failure)
        elif text and not text.startswith(TOLD_OTHERWISE) and not self.interrupted:
            self.view.say(text)

    def close(self) -> None:
        """The last words."""
        self.view.close()
        planned, self.planned = self.planned, []  # Snakemake closes twice
        if planned:
            print(explain(planned, Path.cwd()), file=self.stream, flush=True)
        super().close()
