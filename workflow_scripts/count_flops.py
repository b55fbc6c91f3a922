"""Count what a method costs: by three formulas, and on real prefills with scoring included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from himap.files import write_text
from himap.pruning.stage import Schedule
from himap.workflow.jobs.model_script import model_arguments, open_model, parse_json, question, read_settings
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.experiments.answers import Question
    from himap.models.model import Model

SETTINGS = {"measured": 4}


def main(argv: Sequence[str] | None = None) -> None:
    """Count every method on the same questions, and write one row per method and convention."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--method", required=True, metavar="JSON", help='{"name", "stages", "image_grid"}')
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    schedule = Schedule.from_json(parse_json("method", arguments.method))

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        samples = islice(read_samples(arguments.samples), max(1, settings["measured"]))
        questions = [question(sample, benchmark, model.family, settings["protocol"]) for sample in samples]
        cost, full = (costs(model, questions, each) for each in (schedule, Schedule()))
        rows = [
            {
                "method": schedule.name,
                "convention": convention,
                "flops": value,
                "ratio": value / full[convention],
                "image_tokens": cost["image_tokens"],
                "text_tokens": cost["text_tokens"],
            }
            for convention, value in cost.items()
            if convention not in ("image_tokens", "text_tokens")
        ]
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, pd.DataFrame(rows).to_csv(index=False))


def costs(model: Model, questions: Sequence[Question], schedule: Schedule) -> dict[str, float]:
    """Return the mean cost over the questions under every convention, and the mean numbers of tokens."""
    from statistics import fmean

    from himap.costs.formulas import CONVENTIONS, flops
    from himap.experiments.answers import encode
    from himap.experiments.counted_flops import prefill_flops

    prompts = [encode(model, [question], schedule.image_grid) for question in questions]
    counts = [prompt.counts() for prompt in prompts]
    cost = {
        convention: fmean(
            flops(model.dims, schedule.stages, convention, n_image=image, n_text=text, n_padding=padding)
            for image, text, padding in counts
        )
        for convention in CONVENTIONS
    }
    cost["measured"] = fmean(prefill_flops(model, prompt, schedule.stages) for prompt in prompts)
    image_tokens, text_tokens = (fmean(count[place] for count in counts) for place in (0, 1))
    return {**cost, "image_tokens": image_tokens, "text_tokens": text_tokens}


if __name__ == "__main__":
    run(main)
