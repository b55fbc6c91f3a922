"""A brake for Snakemake's scheduler, which would otherwise keep a core busy once a few hundred jobs have ended."""

from __future__ import annotations

from threading import Lock, Timer
from typing import Any


def limit_timers(scheduler: Any) -> None:
    """Let at most one timer of the scheduler wait at a time.

    Snakemake 9 looks for jobs to start whenever one ends and, because of its limit of jobs per second, once more a second
    later. Each of these looks sets a timer for a further one, so a timer is added with every job and none ever goes: after
    300 jobs it looks 300 times a second, and each time asks the disk for the inputs of all jobs that are ready.
    """
    release, waiting = scheduler._open_jobs.release, Lock()  # `waiting` is held from a timer's start to its end

    def look_again() -> None:
        # Before the look begins, because it must be able to set the next timer.
        waiting.release()
        release()

    def schedule(delay: float) -> None:
        if waiting.acquire(blocking=False):
            Timer(delay, look_again).start()

    scheduler._schedule_reevalutation = schedule  # Snakemake's own spelling
