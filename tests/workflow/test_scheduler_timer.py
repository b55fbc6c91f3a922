"""Snakemake's scheduler looks for jobs once a second, not once a second for every job that has ended."""

from __future__ import annotations

import time
from threading import Semaphore

import pytest
from himap.workflow.scheduler_timer import limit_timers
from snakemake.scheduling.job_scheduler import JobScheduler


def looks_after(scheduler: JobScheduler, looks: int) -> int:
    """Return how often the scheduler is woken after so many looks, each of which asks for a further one."""
    for _ in range(looks):
        scheduler._schedule_reevalutation(0.05)
    time.sleep(0.3)
    woken = 0
    while scheduler._open_jobs.acquire(blocking=False):
        woken += 1
    return woken


@pytest.fixture
def scheduler() -> JobScheduler:
    """A scheduler of the installed Snakemake, as far as its timers go."""
    scheduler = JobScheduler.__new__(JobScheduler)
    scheduler._open_jobs = Semaphore(0)
    return scheduler


def test_one_timer_waits_at_a_time_and_the_next_look_sets_another(scheduler: JobScheduler) -> None:
    assert looks_after(scheduler, 20) == 20, "Snakemake has fixed it: delete scheduler_timer.py"
    limit_timers(scheduler)
    assert looks_after(scheduler, 20) == 1
    assert looks_after(scheduler, 20) == 1
