"""What a judge is asked: its settings, one task per answer and run, the request of a task, and how much all of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himap.benchmarks._base import Benchmark, JudgeProtocol, Sample
from himap.judging.cache import Cache

LETTERS_PER_TOKEN = 4  # of English text, about; only the estimate uses it


@dataclass(frozen=True)
class Settings:
    """Where the judge is and how patiently it is asked; the key comes from the environment alone."""

    base_url: str  # as https://api.openai.com/v1, without /chat/completions
    model: str
    runs: int
    cache: Path
    concurrency: int = 8  # requests at a time
    unreadable: float = 0.02  # share of the verdicts that may be unreadable; more is an error
    timeout: float = 120.0  # seconds for one request, from the connection to the last byte
    attempts: int = 8  # for one request, after failures of the endpoint; unreadable verdicts have their own tries
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one


@dataclass(frozen=True)
class Workload:
    """What a judging will send: first tries only, since nobody knows how many verdicts will be unreadable."""

    requests: int
    cached: int
    tokens_to_send: int
    tokens_to_receive: int  # at most: what `max_tokens` allows

    def __str__(self) -> str:
        to_pay = f"{self.requests} requests ({self.cached} more are in the cache)"
        return (
            f"{to_pay}, about {self.tokens_to_send:,} tokens to send and at most {self.tokens_to_receive:,} to receive"
        )


@dataclass(frozen=True)
class Task:
    """One run of the judge over one answer."""

    sample: Sample
    prediction: str
    run: int


def tasks_of(samples: Sequence[Sample], predictions: dict[str, str], runs: int) -> list[Task]:
    """Return a task for every answer in every run; samples without an answer are left out."""
    answered = [one for one in samples if one.sample_id in predictions]
    # Run by run: where a judging is cut off, whole runs are in the cache rather than a part of each.
    return [Task(one, predictions[one.sample_id], run) for run in range(1, runs + 1) for one in answered]


def protocol_of(benchmark: Benchmark) -> JudgeProtocol:
    """Return the benchmark's way of being judged."""
    if benchmark.judge is None:
        raise ValueError(f"{benchmark.name} is scored without a judge; run score_predictions.py")
    return benchmark.judge


def request_of(protocol: JudgeProtocol, task: Task, model: str, attempt: int = 1) -> dict[str, Any]:
    """Return the request of the first or a later try, which asks again in the protocol's way and hotter."""
    make = protocol.messages if attempt == 1 or protocol.again is None else protocol.again
    return {
        "model": model,
        "messages": make(task.sample, task.prediction),
        "temperature": protocol.temperature + protocol.hotter * (attempt - 1),
        "max_tokens": protocol.max_tokens,
    }


def workload(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], settings: Settings
) -> Workload:
    """Return how much judging these answers will send and may receive."""
    protocol = protocol_of(benchmark)
    cache = Cache(settings.cache, settings.base_url, protocol.parse)
    letters = requests = cached = 0
    for task in tasks_of(samples, predictions, settings.runs):
        request = request_of(protocol, task, settings.model)
        if cache.get(cache.path(request, task.run)) is not None:
            cached += 1
        else:
            requests += 1
            letters += sum(len(message["content"]) for message in request["messages"])
    return Workload(requests, cached, letters // LETTERS_PER_TOKEN, requests * protocol.max_tokens)
