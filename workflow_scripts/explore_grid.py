"""Answer a benchmark's questions under a grid of two-stage schedules, in one job that shares work between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from himap.files import write_jsonl
from himap.workflow.jobs.model_script import add_batch_size, model_arguments, open_model, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS: dict[str, Any] = {
    "k1": [1, 2, 3, 4],
    "r1": [0.75, 0.5, 0.25],
    "k2": [8, 12, 15],
    "r2": [0.25, 0.125, 0.0625],
    "criteria": ["instruction_attention", "image_attention"],
    "max_new_tokens": None,
    "limit": None,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = model_arguments(__doc__, SETTINGS)
    add_batch_size(parser)
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)

    with sole_writer(arguments.out):
        from himap.benchmarks import get, read_samples
        from himap.experiments.grid import Grid, GridRow, answer_grid

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        protocol = settings["protocol"]
        limit = settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol)
        size = 8 if arguments.batch_size == "auto" else arguments.batch_size
        samples = list(islice(read_samples(arguments.samples), settings["limit"]))
        batches = [samples[begin : begin + size] for begin in range(0, len(samples), size)]
        grid = Grid(**{key: settings[key] for key in ("k1", "r1", "k2", "r2", "criteria")})
        rows: list[GridRow] = []
        for batch in progress(batches, len(batches), f"grid {model.name} {benchmark.name}"):
            questions = [question(sample, benchmark, model.family, protocol) for sample in batch]
            limits = {"max_new_tokens": limit, "min_new_tokens": benchmark.min_new_tokens(model.family, **protocol)}
            rows += answer_grid(model, questions, grid, seed=settings["seed"], **limits)
        write_provenance(arguments.out, model, arguments, settings)
        write_jsonl(arguments.out, rows)


if __name__ == "__main__":
    run(main)
