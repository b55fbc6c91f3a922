"""Score answers with a benchmark's official metric: headline, interval, further scores, one row per sample.

Give `--predictions`, `--out` and, where answers were judged, `--judgements` once for each method.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from himap import benchmarks
from himap.benchmarks import _base
from himap.workflow.jobs import script
from himap.workflow.jobs.journal import forget


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--benchmark", required=True, choices=benchmarks.names())
    options.add_argument("--samples", type=Path, required=True, help="samples.parquet of the benchmark")
    options.add_argument(
        "--predictions", type=Path, required=True, action="append", help="JSON lines with sample_id and prediction"
    )
    options.add_argument(
        "--judgements",
        type=Path,
        nargs="+",
        action="append",
        help="verdicts for a judged benchmark, made by judge_answers.py",
    )
    options.add_argument(
        "--allow-missing",
        action="store_true",
        help="score only the samples that have a prediction, and print how many have none",
    )
    options.add_argument(
        "--out", type=Path, required=True, action="append", help="score.json; per_sample.parquet is written beside it"
    )
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Read samples and answers, score them, write both outputs."""
    arguments = parser().parse_args(argv)
    from himap.benchmarks.samples.files import check_benchmark, read_for_scoring, read_predictions

    count = len(arguments.predictions)
    judged = arguments.judgements or [None] * count
    if len(arguments.out) != count or len(judged) != count:
        raise ValueError(
            f"--predictions is given {count} times, --out {len(arguments.out)} and --judgements {len(judged)} times; "
            "give each file of answers an output and, if they were judged, its verdicts"
        )
    benchmark = benchmarks.get(arguments.benchmark)
    check_benchmark(arguments.samples, benchmark.name)
    samples = list(read_for_scoring(arguments.samples, benchmark))
    if benchmark.foresee and count > 1:
        benchmark.foresee([text for file in arguments.predictions for text in read_predictions(file).values()])
    for file, out, verdicts in zip(arguments.predictions, arguments.out, judged, strict=True):
        predictions = read_predictions(file)
        # None for a benchmark without a judge, and for a judged one whose answers nobody has graded.
        graded = read_verdicts(benchmark, verdicts)
        try:
            scores = benchmarks.score(benchmark, samples, predictions, graded, allow_missing=arguments.allow_missing)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        write(scores, out, out.parent / "per_sample.parquet")
        print(f"{file}: {describe(scores)}" if count > 1 else describe(scores))
        # Snakemake has noted the answers as finished, so their journal is no longer needed.
        forget(file)


def read_verdicts(benchmark: _base.Benchmark, paths: Sequence[Path] | None) -> dict[str, list] | None:
    """Return a judge's verdicts by sample id, None if no file is given. Raise ValueError if the benchmark has no judge."""
    from himap.judging.judgements import read_judgements

    if paths and not benchmark.judged:
        raise ValueError(f"{benchmark.name} is not judged: leave --judgements out")
    return read_judgements(benchmark, paths) if paths else None


def write(scores, out: Path, per_sample: Path) -> None:
    """Write both outputs, the table first, so that no score exists without its table."""
    from himap.benchmarks.samples.files import disk_full
    from himap.files import write_json, write_parquet

    with disk_full(per_sample):
        write_parquet(per_sample, scores.per_sample)
    with disk_full(out):
        write_json(out, scores.as_json())


def describe(scores) -> str:
    """Return the result in one line, for the log."""
    left_out = f", {len(scores.missing)} samples without a prediction left out" if scores.missing else ""
    if scores.headline is None:
        return f"{scores.benchmark}: not judged (n = {scores.n}{left_out})"
    low, high = scores.interval
    # A judge's reply may hold no verdict; such samples are named, not counted as wrong.
    if (verdicts := int(scores.scores.get("verdicts", 0))) and (unreadable := int(scores.scores["unreadable"])):
        left_out += f", {unreadable} of {verdicts} verdicts unreadable and left out"
    size = f"n = {scores.n}" + (f", pictures = {scores.pictures}" if scores.pictures < scores.n else "")
    return f"{scores.benchmark}: {scores.metric} {scores.headline:.2f} [{low:.2f}, {high:.2f}] ({size}{left_out})"


if __name__ == "__main__":
    script.run(main)
