"""Score the answers of a grid of schedules, add their FLOPs by formula, and mark those on the frontier."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.benchmarks import _base
from himap.costs.formulas import Drop, flops, on_frontier, ratio
from himap.files import write_text
from himap.models.sizes import Dims
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.benchmarks._scoring import Scores

KEYS = ("k1", "r1", "k2", "r2")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--benchmark", required=True, choices=benchmarks.names())
    options.add_argument("--samples", type=Path, required=True, help="samples.parquet of the benchmark")
    options.add_argument("--predictions", type=Path, required=True, help="JSON lines of explore_grid.py")
    options.add_argument("--sizes", required=True, metavar="JSON", help="the decoder's sizes")
    options.add_argument("--out", type=Path, required=True, help="scores.csv")
    options.add_argument(
        "--by-sample", type=Path, required=True, help="samples.csv: each sample's score under each schedule"
    )
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Score each schedule, and write one row for each, and one for each of its samples."""
    arguments = parser().parse_args(argv)
    import pandas as pd
    from himap.benchmarks.samples.files import read_for_scoring, read_jsonl

    benchmark, dims = benchmarks.get(arguments.benchmark), Dims(**json.loads(arguments.sizes))
    by_schedule: dict[tuple[Any, ...], dict[str, str]] = {}
    for _, row in read_jsonl(arguments.predictions):
        # {(k1, r1, k2, r2): {sample id: answer}}
        by_schedule.setdefault(tuple(row[key] for key in KEYS), {})[row["sample_id"]] = row["prediction"]
    answered = set(next(iter(by_schedule.values()), {}))  # the grid may have run on a part of the samples
    samples = [sample for sample in read_for_scoring(arguments.samples, benchmark) if sample.sample_id in answered]
    if benchmark.foresee:
        benchmark.foresee([text for answers in by_schedule.values() for text in answers.values()])
    results = {
        schedule: benchmarks.score(benchmark, samples, answers) for schedule, answers in sorted(by_schedule.items())
    }
    frame = pd.DataFrame([score_row(benchmark, result, dims, schedule) for schedule, result in results.items()])
    frame["frontier"] = on_frontier(frame["ratio"].tolist(), frame["score"].tolist())
    # Each sample's score too, for paired comparisons of schedules (figure `sweep`).
    single = [
        result.per_sample[["sample_id", "picture", "score"]].assign(**dict(zip(KEYS, schedule, strict=True)))
        for schedule, result in results.items()
    ]
    write_text(arguments.by_sample, pd.concat(single).to_csv(index=False, float_format="%.6g"))
    write_text(arguments.out, frame.to_csv(index=False))


def score_row(benchmark: _base.Benchmark, result: Scores, dims: Dims, schedule: tuple[Any, ...]) -> dict[str, Any]:
    """Return a schedule's score with its interval, and its cost in the paper's convention."""
    k1, r1, k2, r2 = schedule
    stages = [Drop(k1, float(r1)), Drop(k2, float(r2))]
    if result.headline is None or result.interval is None:
        raise ValueError(f"{benchmark.name} is judged and cannot be searched over a grid; choose another benchmark")
    return {
        **dict(zip(KEYS, schedule, strict=True)),
        "tflops": flops(dims, stages) / 1e12,
        "ratio": ratio(dims, stages),
        "score": result.headline,
        "low": result.interval[0],
        "high": result.interval[1],
        "n": result.n,
    }


if __name__ == "__main__":
    run(main)
