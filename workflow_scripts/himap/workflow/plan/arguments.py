"""What a job's script is told on its command line besides its settings: the model, the source of a benchmark, the judge."""

from __future__ import annotations

import dataclasses

from himap.workflow.plan.content_hash import as_json
from himap.workflow.plan.originals import pinned
from himap.workflow.plan.plan import Plan


def model(plan: Plan, name: str) -> list[str]:
    """Return which model a script loads."""
    folder = plan.checkpoint(name)
    # A folder has no revision; a hub model is loaded from the cache at its pinned one.
    return ["--model", *([folder] if folder else pinned(plan, name))]


def fetch(plan: Plan, name: str) -> list[str]:
    """Return where a model comes from."""
    folder, text_tower = plan.checkpoint(name), plan.model(name).text_tower
    source = ["--path", folder] if folder else ["--id", *pinned(plan, name)]
    return source + (["--text-tower", text_tower] if text_tower else [])


def drawing(plan: Plan, benchmark: str) -> list[str]:
    """Return what the embedded world draws for a benchmark."""
    limit = plan.benchmark(benchmark).limit
    return ["--benchmark", benchmark, *(["--limit", str(limit)] if limit else [])]


def samples(plan: Plan, benchmark: str) -> list[str]:
    """Return where a benchmark's rows come from, and which of them are taken."""
    entry = plan.benchmark(benchmark)
    # The embedded world's drawn rows are read like any local file.
    rows = plan.mini_rows(benchmark) or [entry.source]
    arguments = ["--from-hub"] if entry.source == "hub" else ["--from-path", *rows]
    for key in ("id", "config", "split", "revision"):
        if getattr(entry, key) is not None:
            arguments += [f"--{key}", getattr(entry, key)]
    if entry.limit is not None and entry.source != "mini":  # the embedded world draws only as many as are asked for
        arguments += ["--limit", str(entry.limit), "--seed", str(plan.config.seed)]
    options = plan.row_options(benchmark)
    return arguments + (["--protocol", as_json(options)] if options else [])


def part(name: str) -> list[str]:
    """Return which part of the samples an evaluation answers, from its file's name: `shard-0-of-2`, or all (`predictions`)."""
    if name == "predictions":
        return []
    # shard-0-of-2 counts from 0, as --shard does.
    _, shard, _, shards = name.split("-")
    return ["--shard", shard, "--shards", shards]


def batch_size(plan: Plan) -> list[str]:
    """Return how many samples share a forward pass, which makes nothing stale: only in half precision may an answer depend on it."""
    return ["--batch-size", str(plan.config.execution.batch_size)]


def method(plan: Plan, model: str, benchmark: str, method: str) -> str:
    """Return a method resolved for a model and a benchmark."""
    return as_json(plan.method(model, benchmark, method).to_json())


def timed_methods(plan: Plan, model: str, benchmark: str) -> str:
    """Return the methods that are timed against each other, resolved."""
    return as_json({method: plan.method(model, benchmark, method).to_json() for method in plan.config.latency.methods})


def random_methods(plan: Plan) -> str:
    """Return the methods that are timed on random weights, resolved."""
    return as_json({name: schedule.to_json() for name, schedule in plan.random_schedules().items()})


def random_sizes(plan: Plan) -> str:
    """Return the sizes of the model of random weights."""
    return as_json(dataclasses.asdict(plan.random_weights.dims))


def sizes(plan: Plan, model: str) -> str:
    """Return a decoder's sizes, for FLOPs by formula."""
    return as_json(dataclasses.asdict(plan.dims(model)))


def judge(plan: Plan) -> list[str]:
    """Return the judge: what decides a verdict, and how it is reached."""
    entry = plan.config.judge
    if entry is None:
        return []
    # The rule passes this through `uncompared`; what decides a verdict is compared as `settings.judge`.
    arguments = ["--base-url", entry.base_url, "--cache-dir", entry.cache, "--concurrency", str(entry.concurrency)]
    arguments += ["--timeout", str(entry.timeout), "--attempts", str(entry.attempts)]
    arguments += ["--unreadable", str(entry.unreadable)]
    arguments += ["--model", entry.model] if entry.model else []
    return arguments + (["--runs", str(entry.runs)] if entry.runs else [])


def judgements(plan: Plan, model: str, benchmark: str, method: str) -> list[str]:
    """Return the verdicts that a judged benchmark is scored by."""
    files = plan.judgements(model, benchmark, method)
    return ["--judgements", *files] if files else []
