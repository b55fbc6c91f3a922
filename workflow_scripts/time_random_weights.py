"""Measure time and memory of several methods on a model of random weights: for time alone, since its answers mean nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from himap.files import write_text
from himap.workflow.jobs.model_script import choose_device, parse_json, parse_schedules
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer


def main(argv: Sequence[str] | None = None) -> None:
    """Make the model from its seed, time all methods on random prompts, and write one row per round, batch and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", required=True, metavar="JSON", help="the decoder's sizes")
    parser.add_argument("--methods", required=True, metavar="JSON", help="resolved methods by name")
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="the config's latency.random_weights, and the seed"
    )
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    parser.add_argument("--out", required=True, metavar="FILE", help="where the result is written")
    arguments = parser.parse_args(argv)
    schedules, settings = parse_schedules(arguments.methods), parse_json("settings", arguments.settings)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.experiments.latency import Protocol, count_rows, time_methods
        from himap.experiments.machine import device_name
        from himap.experiments.random_weights import random_questions, random_weights
        from himap.models.loading import DTYPES
        from himap.models.sizes import Dims

        model = random_weights(
            Dims(**parse_json("sizes", arguments.sizes)),
            text_tokens=settings["text_tokens"],
            seed=settings["seed"],
            dtype=DTYPES[settings["dtype"]],
            device=choose_device(arguments.device),
        )
        tokens = settings["new_tokens"]
        protocol = Protocol(
            max_new_tokens=tokens,
            # Random weights may end an answer at any token, and all methods must generate as many.
            min_new_tokens=tokens,
            **{key: settings[key] for key in ("rounds", "seed", "batches", "eager")},
        )
        # Black pictures: their content does not change how long a forward pass takes.
        questions = random_questions(settings["examples"])
        rows = time_methods(model, questions, schedules, protocol)
        frame = pd.DataFrame(progress(rows, count_rows(len(questions), schedules, protocol), "latency random weights"))
        frame["device"] = device_name(model.device)
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, frame.to_csv(index=False, float_format="%.8g"))


if __name__ == "__main__":
    run(main)
