"""Measure time and memory of several methods, which take turns, one question at a time and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from himap.files import write_text
from himap.workflow.jobs.model_script import model_arguments, open_model, parse_schedules, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS: dict[str, Any] = {"examples": 100, "rounds": 3, "max_new_tokens": None, "batches": [], "eager": False}


def main(argv: Sequence[str] | None = None) -> None:
    """Time all methods on the same questions, and write one row per batch size, round, batch and method."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--methods", required=True, metavar="JSON", help="resolved methods by name")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    schedules = parse_schedules(arguments.methods)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples
        from himap.experiments.latency import Protocol, count_rows, time_methods
        from himap.experiments.machine import device_name

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        asked = settings["protocol"]
        samples = list(islice(read_samples(arguments.samples), settings["examples"]))
        questions = [question(sample, benchmark, model.family, asked) for sample in samples]
        if not questions:
            raise ValueError(f"{arguments.samples}: no samples to time; set `examples` to at least 1")
        protocol = Protocol(
            max_new_tokens=settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **asked),
            min_new_tokens=benchmark.min_new_tokens(model.family, **asked),
            **{key: settings[key] for key in ("rounds", "seed", "batches", "eager")},
        )
        # Yielded as they are timed; methods take turns, so that a slower hour of the machine hits all of them.
        rows = time_methods(model, questions, schedules, protocol)
        total = count_rows(len(questions), schedules, protocol)
        frame = pd.DataFrame(progress(rows, total, f"latency {model.name} {benchmark.name}"))
        # In the file itself, as the table `efficiency` names the device of each time.
        frame["device"] = device_name(model.device)
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, frame.to_csv(index=False, float_format="%.8g"))


if __name__ == "__main__":
    run(main)
