"""Answer a benchmark's questions under a grid of two-stage schedules, in one job that shares work between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from himap.files import write_jsonl
from himap.workflow.jobs.model_script import add_batch_size, model_arguments, open_model, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS: dict[str, Any] = {
    "k1": [1, 2, 3],
    "r1": [0.7, 0.5, 0.3],
    "k2": [8, 12, 15],
    "r2": [0.5, 0.25, 0.125],
    "criteria": ["instruction_attention", "image_attention"],
    "max_new_tokens": None,
    "limit": None,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the first samples under every schedule, and write one row for each of both."""
    parser = model_arguments(__doc__, SETTINGS)
    add_batch_size(parser)
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)

    with sole_writer(arguments.out):
        from himap.benchmarks import get, read_samples
        from himap.experiments.answers import Asking
        from himap.experiments.batches import answer_each
        from himap.experiments.grid import Grid, grid_row

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        protocol = settings["protocol"]
        samples = list(islice(read_samples(arguments.samples), settings["limit"]))
        schedules = Grid(**{key: settings[key] for key in ("k1", "r1", "k2", "r2", "criteria")}).schedules(model.dims)
        asking = Asking(
            # Schedules are keys, values are their points of the grid.
            list(schedules),
            max_new_tokens=settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol),
            min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
            seed=settings["seed"],
            question=partial(question, benchmark=benchmark, family=model.family, protocol=protocol),
        )
        # On a GPU not what fits for one method: every sample is in memory once for each schedule of the grid. A processor
        # spends its time in the steps of long captions, which a batch shares.
        auto = 8 if model.device.type == "cuda" else 32
        size = auto if arguments.batch_size == "auto" else arguments.batch_size
        answers = answer_each(model, samples, [asking], batch_size=size)
        total = len(samples) * len(schedules)
        rows = [
            grid_row(answer, *schedules[schedule])
            for schedule, answer in progress(answers, total, f"grid {model.name} {benchmark.name}")
        ]
        write_provenance(arguments.out, model, arguments, settings)
        write_jsonl(arguments.out, rows)


if __name__ == "__main__":
    run(main)
