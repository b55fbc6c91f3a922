"""Measure the seconds per example of several methods, which take turns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from himap.files import write_text
from himap.workflow.jobs.model_script import model_arguments, open_model, parse_schedules, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS = {"examples": 100, "rounds": 3, "max_new_tokens": None}


def main(argv: Sequence[str] | None = None) -> None:
    """Time all methods on the same questions, and write one row per round, question and method."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--methods", required=True, metavar="JSON", help="resolved methods by name")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    schedules = parse_schedules(arguments.methods)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples
        from himap.experiments.latency import time_methods

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        protocol = settings["protocol"]
        samples = list(islice(read_samples(arguments.samples), settings["examples"]))
        questions = [question(sample, benchmark, model.family, protocol) for sample in samples]
        if not questions:
            raise ValueError(f"{arguments.samples}: no samples to time; set `examples` to at least 1")
        limit = settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol)
        rows = time_methods(
            model, questions, schedules, max_new_tokens=limit, rounds=settings["rounds"], seed=settings["seed"],
            min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
        )  # fmt: skip
        total = settings["rounds"] * len(questions) * len(schedules)
        frame = pd.DataFrame(progress(rows, total, f"latency {model.name} {benchmark.name}"))
        frame["device"] = str(model.device)
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, frame.to_csv(index=False, float_format="%.6f"))


if __name__ == "__main__":
    run(main)
