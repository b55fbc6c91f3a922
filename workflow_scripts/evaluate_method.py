"""Answer a benchmark's questions with one model under one pruning method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from himap.files import write_jsonl
from himap.workflow.jobs.journal import Journal
from himap.workflow.jobs.model_script import model_arguments, open_model, parse_json, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import job_key, provenance_file, write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS = {"batch_size": "auto", "max_new_tokens": None}


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the samples of one shard that the journal does not have yet, and write all answers of the shard."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--method", required=True, metavar="JSON", help='{"name", "stages", "rerank", "image_grid"}')
    parser.add_argument("--shard", type=int, default=0, help="which shard of the samples to answer, from 0")
    parser.add_argument("--shards", type=int, default=1, help="number of shards")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    method = {
        "name": "unnamed",
        "rerank": False,
        "image_grid": None,
        "stages": [],
        **parse_json("method", arguments.method),
    }
    if not 0 <= arguments.shard < arguments.shards:
        raise ValueError(
            f"--shard: {arguments.shard} is not one of {arguments.shards} shards; allowed: 0 to {arguments.shards - 1}"
        )

    from himap.benchmarks import get, read_samples
    from himap.pruning.criteria import get as criterion_named

    benchmark = get(arguments.benchmark)
    criteria = {criterion_named(stage.get("criterion")).score.__module__ for stage in method["stages"]}
    # Benchmark and criteria are imported by name, so the hash of this script's imports does not cover their code.
    code = ("evaluate_method.py", f"himap.benchmarks.{arguments.benchmark}", *sorted(criteria))
    with sole_writer(arguments.out):
        journal = Journal(arguments.out, job_key(arguments, *code))
        try:
            samples = list(islice(read_samples(arguments.samples), arguments.shard, None, arguments.shards))
            missing = [sample for sample in samples if sample.sample_id not in journal.done]
            if missing or not provenance_file(arguments.out).is_file():
                model = open_model(arguments, settings)
                write_provenance(arguments.out, model, arguments, {**settings, "method": method})
                answer(model, benchmark, missing, method, settings, journal)
            write_jsonl(arguments.out, [journal.done[sample.sample_id] for sample in samples])
        finally:
            journal.close()


def answer(model, benchmark, samples, method, settings, journal) -> None:  # type: ignore[no-untyped-def]
    """Answer samples and add each answer to the journal at once, so that a killed job continues where it was."""
    from himap.experiments.answers import answer_all

    protocol = settings["protocol"]
    limit = settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol)
    rows = answer_all(
        model,
        (question(sample, benchmark, model.family, protocol) for sample in samples),
        method,
        max_new_tokens=limit,
        min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
        batch_size=settings["batch_size"],
        seed=settings["seed"],
    )
    for row in progress(rows, len(samples), f"{model.name} {benchmark.name} {method['name']}"):
        journal.add(row)


if __name__ == "__main__":
    run(main)
