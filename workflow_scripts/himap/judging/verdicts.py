"""Judging every answer in every run: many tasks at once, each through the cache, ended by the first failure."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

from himap.benchmarks._base import Benchmark, Sample
from himap.judging.cache import Cache
from himap.judging.endpoint import Client, api_key, printable
from himap.judging.requests import Settings, Task, protocol_of, request_of, tasks_of
from himap.locks import locked

HOPELESS = 20  # verdicts without a readable one, after which no more are paid for


class Judging:
    """Judges tasks concurrently, each through the cache."""

    def __init__(self, benchmark: Benchmark, settings: Settings) -> None:
        self.protocol, self.settings = protocol_of(benchmark), settings
        self.cache = Cache(settings.cache, settings.base_url, self.protocol.parse)
        self.client = Client(settings, api_key())
        self.cache.make_private()
        self.locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)  # one for each file of the cache
        self.guard = threading.Lock()  # for what threads share: the locks and the problem
        self.problem: BaseException | None = None

    def verdict(self, task: Task) -> dict[str, Any]:
        """Return one row of judgements; the first failure is remembered and keeps the other threads from sending more."""
        try:
            reply = self.reply(task)
        except BaseException as error:
            with self.guard:
                self.problem = self.problem or error  # the first: later ones are mostly "stopped"
            self.client.stopped.set()
            raise
        row = {"sample_id": task.sample.sample_id, "run": task.run, "verdict": self.protocol.parse(reply["content"])}
        # A reply of an earlier version has no count.
        row |= {"tries": reply.get("tries", 1)}
        return row | {name: self.client.hide_key(str(reply.get(name, ""))) for name in ("model", "content")}

    def reply(self, task: Task) -> dict[str, Any]:
        """Return the reply to a task, kept or new; equal tasks, of any process, wait for one another."""
        path = self.cache.path(request_of(self.protocol, task, self.settings.model), task.run)
        with self.guard:
            lock = self.locks[path]
        # Threads of this process wait here for an equal task, other processes at the file lock below.
        with lock:
            if kept := self.cache.get(path):
                return kept
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with locked(path):  # another process may have asked meanwhile
                return self.cache.get(path) or self.asked(task, path)

    def asked(self, task: Task, path: Path) -> dict[str, Any]:
        """Ask until a verdict can be read, which is kept, or the protocol gives up."""
        for attempt in range(1, self.protocol.tries + 1):
            request = request_of(self.protocol, task, self.settings.model, attempt)
            reply = {**self.client.ask(request), "tries": attempt}
            if self.protocol.parse(reply["content"]) is not None:
                self.cache.put(path, request, task.run, reply)
                break
        return reply  # the last one, readable or not

    def all(self, tasks: Sequence[Task]) -> Generator[dict[str, Any], None, None]:
        """Yield verdicts as they come; the first failure stops everything, what could be read stays in the cache."""
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="judge")
        try:
            for future in as_completed([pool.submit(self.verdict, task) for task in tasks]):
                if (
                    self.problem is not None
                ):  # before `result`, which would raise whichever failure came first in this order
                    raise self.problem
                yield future.result()
        finally:
            self.client.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


def judge(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], settings: Settings
) -> list[dict[str, Any]]:
    """Judge every answer in every run; rows are ordered by run and sample whatever order the answers came in."""
    from tqdm import tqdm

    tasks = tasks_of(samples, predictions, settings.runs)
    order = {(task.run, task.sample.sample_id): place for place, task in enumerate(tasks)}
    rows: list[dict[str, Any]] = []
    with closing(Judging(benchmark, settings).all(tasks)) as verdicts:
        for row in tqdm(verdicts, total=len(tasks), unit="verdict", disable=None):
            rows.append(row)
            # A wrong model or one that explains itself first fails on every answer; `check_readable` then says so.
            if len(rows) >= HOPELESS and all(row["verdict"] is None for row in rows):
                break
    check_readable(benchmark, rows, settings)
    return sorted(rows, key=lambda row: order[row["run"], row["sample_id"]])


def check_readable(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Raise ValueError if more verdicts are unreadable than the settings allow: that says nothing about the answers."""
    unreadable = [row for row in rows if row["verdict"] is None]
    if len(unreadable) <= settings.unreadable * len(rows):
        return
    example = printable(unreadable[0]["content"])
    raise ValueError(
        f"{benchmark.name}: {len(unreadable)} of {len(rows)} verdicts of the judge {settings.model} at "
        f"{settings.base_url.rsplit('@', 1)[-1]} could not be read, after {unreadable[0]['tries']} tries each, more than the "
        f"{settings.unreadable:.3g} that judge.unreadable (--unreadable) allows; one reply is "
        f"{repr(example) if example else 'empty'}. Choose a judge.model (--model) that keeps to the format and run again "
        "(what could be read is kept), or allow more: such answers are left out of the score"
    )
