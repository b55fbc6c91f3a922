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
PER_INPUT = 64  # samples over which a schedule's cost is averaged if each of them finds its own layers or counts


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
        measured = max(1, settings["measured"])
        samples = islice(read_samples(arguments.samples), measured if schedule.is_fixed else max(measured, PER_INPUT))
        questions = [question(sample, benchmark, model.family, settings["protocol"]) for sample in samples]
        cost, full = (costs(model, questions, each, measured) for each in (schedule, Schedule()))
        rows = [
            {
                "method": schedule.name,
                "convention": convention,
                "flops": value,
                "ratio": value / full[convention],
                "image_tokens": cost["image_tokens"],
                "text_tokens": cost["text_tokens"],
                # of how many samples a cost by formula is the mean, where each input has its own
                **({} if schedule.is_fixed else {"samples": len(questions)}),
            }
            for convention, value in cost.items()
            if convention not in ("image_tokens", "text_tokens")
        ]
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, pd.DataFrame(rows).to_csv(index=False))


def costs(model: Model, questions: Sequence[Question], schedule: Schedule, measured: int) -> dict[str, float]:
    """Return the mean cost over the questions under every convention, and the mean numbers of tokens.

    Operations are counted on the first `measured` questions only, as counting takes long.
    """
    from statistics import fmean

    from himap.costs.formulas import CONVENTIONS, flops
    from himap.decoder.tokens import IMAGE
    from himap.experiments.answers import encode
    from himap.experiments.counted_flops import prefill_flops, stages_on

    prompts = [encode(model, [question], schedule.image_grid) for question in questions]
    image = [int((prompt.groups == IMAGE).sum()) for prompt in prompts]
    text = [prompt.positions.shape[1] - n for prompt, n in zip(prompts, image, strict=True)]
    acted = [stages_on(model, prompt, schedule) for prompt in prompts]
    cost = {
        convention: fmean(
            flops(model.dims, stages, convention, n_image=i, n_text=t)
            for stages, i, t in zip(acted, image, text, strict=True)
        )
        for convention in CONVENTIONS
    }
    cost["measured"] = fmean(prefill_flops(model, prompt, schedule.stages) for prompt in prompts[:measured])
    return {**cost, "image_tokens": fmean(image), "text_tokens": fmean(text)}


if __name__ == "__main__":
    run(main)
