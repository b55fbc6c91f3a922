"""Answer a benchmark's questions with one model under one pruning method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from himap.files import write_jsonl
from himap.pruning.stage import Schedule
from himap.workflow.jobs.journal import Journal
from himap.workflow.jobs.model_script import (
    add_batch_size,
    model_arguments,
    open_model,
    parse_json,
    question,
    read_settings,
)
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import job_key, provenance_file, write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.models.model import Model

SETTINGS = {"max_new_tokens": None}


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the samples of one shard that the journal does not have yet, and write all answers of the shard."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--method", required=True, metavar="JSON", help='{"name", "stages", "rerank", "image_grid"}')
    add_batch_size(parser)
    parser.add_argument("--shard", type=int, default=0, help="which part of the samples, from 0")
    parser.add_argument("--shards", type=int, default=1, help="into how many parts they are cut")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    schedule = Schedule.from_json(parse_json("method", arguments.method))
    if not 0 <= arguments.shard < arguments.shards:
        raise ValueError(
            f"--shard: {arguments.shard} is not one of {arguments.shards} shards; allowed: 0 to {arguments.shards - 1}"
        )

    from himap.benchmarks import get, read_samples
    from himap.pruning.criteria import get as criterion_named

    benchmark = get(arguments.benchmark)
    criteria = {criterion_named(stage.criterion).score.__module__ for stage in schedule.stages}
    code = ("evaluate_method.py", f"himap.benchmarks.{arguments.benchmark}", *sorted(criteria))
    with sole_writer(arguments.out):
        journal = Journal(arguments.out, job_key(arguments, *code, ignore=("device", "batch_size")))
        try:
            samples = list(islice(read_samples(arguments.samples), arguments.shard, None, arguments.shards))
            missing = [sample for sample in samples if sample.sample_id not in journal.done]
            if missing or not provenance_file(arguments.out).is_file():
                model = open_model(arguments, settings)
                told = {**settings, "batch_size": arguments.batch_size, "method": schedule.to_json()}
                write_provenance(arguments.out, model, arguments, told)
                _answer(model, benchmark, missing, schedule, settings, arguments.batch_size, journal)
            write_jsonl(arguments.out, [journal.done[sample.sample_id] for sample in samples])
        finally:
            journal.close()


def _answer(
    model: Model,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    schedule: Schedule,
    settings: Mapping[str, Any],
    batch_size: int | str,
    journal: Journal,
) -> None:
    """Answer samples under a schedule; the journal keeps each answer at once, as a job may be killed at any time."""
    from himap.experiments.answers import answer_all

    protocol = settings["protocol"]
    limit = settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol)
    rows = answer_all(
        model,
        (question(sample, benchmark, model.family, protocol) for sample in samples),
        schedule,
        max_new_tokens=limit,
        min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
        batch_size=batch_size,
        seed=settings["seed"],
    )
    for row in progress(rows, len(samples), f"{model.name} {benchmark.name} {schedule.name}"):
        journal.add(row)


if __name__ == "__main__":
    run(main)
