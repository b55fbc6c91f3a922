"""Grade the answers to a judged benchmark (LLaVA-Bench, MM-Vet) with a language model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from himap import benchmarks
from himap.workflow.jobs import script


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    # Only these can be named: others have an official rule and need no judge.
    judged = [name for name in benchmarks.names() if benchmarks.get(name).judged]
    options = argparse.ArgumentParser(
        description=__doc__, epilog="The key is taken from HIMAP_JUDGE_API_KEY or OPENAI_API_KEY."
    )
    options.add_argument("--benchmark", required=True, choices=judged)
    options.add_argument("--samples", type=Path, required=True, help="samples.parquet of the benchmark")
    options.add_argument("--predictions", type=Path, required=True, help="JSON lines with sample_id and prediction")
    options.add_argument("--out", type=Path, required=True, help="judgements.jsonl")
    options.add_argument("--base-url", required=True, help="an OpenAI-compatible endpoint, with /v1")
    options.add_argument("--model", help="the judge's name there (default: the benchmark's official judge)")
    options.add_argument("--runs", type=int, help="how often every answer is judged (default: the official number)")
    options.add_argument("--concurrency", type=int, default=8, help="requests in flight at once")
    options.add_argument("--cache-dir", type=Path, required=True, help="folder in which every reply is kept")
    options.add_argument(
        "--unreadable",
        type=share,
        default=0.02,
        help="share of the verdicts that may be unreadable and are left out of the score; more is an error (default: 0.02)",
    )
    options.add_argument(
        "--timeout", type=float, default=120.0, help="seconds for one request, from the connection to the last byte"
    )
    options.add_argument("--attempts", type=int, default=8, help="how often a failing request is sent")
    options.add_argument(
        "--pause", type=float, default=1.0, help="seconds before the second attempt; doubles with each further one"
    )
    options.add_argument("--estimate-only", action="store_true", help="print how much would be sent, and stop")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Print how much will be sent, send it, write the verdicts."""
    arguments = parser().parse_args(argv)
    from himap.benchmarks.samples.files import check_benchmark, disk_full, read_predictions
    from himap.files import write_jsonl
    from himap.judging.endpoint import address_problem
    from himap.judging.requests import Settings, protocol_of, workload
    from himap.judging.verdicts import judge
    from himap.workflow.jobs.sole_writer import sole_writer

    if problem := address_problem(arguments.base_url):
        raise ValueError(f"--base-url: {problem}")
    benchmark = benchmarks.get(arguments.benchmark)
    protocol = protocol_of(benchmark)
    settings = Settings(
        base_url=arguments.base_url,
        model=arguments.model or protocol.default_model,
        runs=positive(arguments.runs or protocol.default_runs, "--runs"),
        cache=arguments.cache_dir,
        concurrency=positive(arguments.concurrency, "--concurrency"),
        unreadable=arguments.unreadable,
        timeout=arguments.timeout,
        attempts=positive(arguments.attempts, "--attempts"),
        pause=arguments.pause,
    )
    check_benchmark(arguments.samples, benchmark.name)
    samples = list(benchmarks.read_samples(arguments.samples, ["question", "references", "metadata"]))
    predictions = read_predictions(arguments.predictions)
    if unknown := set(predictions) - {sample.sample_id for sample in samples}:
        raise ValueError(f"{arguments.predictions}: '{sorted(unknown)[0]}' is not a sample of {arguments.samples}")
    # Before the first request: what is sent costs money.
    print(f"{benchmark.name}, {settings.model}: {workload(benchmark, samples, predictions, settings)}", flush=True)
    if arguments.estimate_only:
        return
    # Only now: --estimate-only should not wait for a running job.
    with sole_writer(arguments.out), disk_full(arguments.out):
        rows = judge(benchmark, samples, predictions, settings)
        write_jsonl(arguments.out, rows)
    unreadable = sum(row["verdict"] is None for row in rows)
    print(
        f"{benchmark.name}: {len(rows)} verdicts, {unreadable} unreadable (left out of the score), in {arguments.out}"
    )


def share(text: str) -> float:
    """Return a share from 0 to below 1. Raise ArgumentTypeError for any other number."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share: write a number from 0 to below 1")
    return value


def positive(value: int, name: str) -> int:
    """Return a count of at least 1. Raise ValueError for a smaller one."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


if __name__ == "__main__":
    script.run(main)
