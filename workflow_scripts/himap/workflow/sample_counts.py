"""How many samples each benchmark has, counted at its source before anything is downloaded or drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.project import ROOT
from himap.workflow.plan.plan import Plan


def sample_count(plan: Plan, benchmark: str) -> int:
    """Return how many samples a benchmark has under a config."""
    entry = plan.benchmark(benchmark)
    questions = benchmark_named(benchmark).group_size  # a limit counts groups of questions that are scored together
    if entry.source == "mini" and entry.limit:  # its generator draws as many as are asked for
        return questions * entry.limit
    rows = source_rows(plan, benchmark)
    return min(rows, questions * entry.limit) if entry.limit else rows


def source_rows(plan: Plan, name: str) -> int:
    """Return how many samples a benchmark's source has: counted in local files, as published for the hub."""
    entry, benchmark = plan.benchmark(name), benchmark_named(name)
    published = benchmark.source_of(entry.protocol)
    if entry.source == "mini":
        from himap.mini.benchmarks import get as mini_named

        return mini_named(name).samples * benchmark.group_size
    # Counting on the hub would mean downloading, so the published number is in the benchmark's declaration.
    if entry.source == "hub":
        if published.rows is None:
            raise ValueError(f"benchmarks.{name}: the size of the published set is not known; set a `limit`")
        return published.rows
    from himap.benchmarks.samples.rows import row_count, rows_of
    from himap.benchmarks.samples.source import from_path

    given: dict[str, Any] = {
        "hub_id": entry.id,
        "config": entry.config,
        "split": entry.split,
        "revision": entry.revision,
    }
    source = replace(published, **{key: value for key, value in given.items() if value is not None})
    files = from_path(ROOT / entry.source, source)
    # Parquet heads hold the number of rows; with a `keep` that drops some, each row has to be looked at.
    if benchmark.keep is None:
        return sum(map(row_count, files.files))
    options = benchmark.protocol(entry.protocol)
    return sum(benchmark.keep(row, options) for _, _, row in rows_of(files, source))
