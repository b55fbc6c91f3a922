"""Count what methods cost: by three formulas, and on real prefills with scoring included.

Give `--method`, `--settings` and `--out` once for each method; settings given once are those of all methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from himap.files import write_text
from himap.pruning.stage import Schedule
from himap.workflow.jobs.model_script import each_method, model_arguments, open_model, question
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.experiments.answers import Question
    from himap.models.model import Model

SETTINGS = {"measured": 4}
PER_INPUT = 64  # samples over which a schedule's cost is averaged if each of them finds its own layers or counts


def main(argv: Sequence[str] | None = None) -> None:
    """Count every method on the same questions, and write a file for each with one row per convention."""
    parser = model_arguments(__doc__, SETTINGS, several=True)
    parser.add_argument(
        "--method", required=True, action="append", metavar="JSON", help='{"name", "stages", "image_grid"}'
    )
    arguments = parser.parse_args(argv)
    methods = each_method(arguments, SETTINGS)
    settings = methods[0][1]
    if any(other != settings for _, other, _ in methods):
        raise ValueError("--settings: the FLOPs of methods compare only if all are counted with the same settings")

    with sole_writer(*arguments.out):
        from himap.benchmarks import get, read_samples

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        measured = max(1, settings["measured"])  # at least one, since the formulas need the length of a real prompt
        # Formulas cost nothing, so a schedule that each input finds for itself is averaged over more prompts.
        every = max([measured, *(PER_INPUT for schedule, _, _ in methods if not schedule.is_fixed)])
        samples = islice(read_samples(arguments.samples), every)
        questions = [question(sample, benchmark, model.family, settings["protocol"]) for sample in samples]
        full: dict[int, dict[str, float]] = {}  # by the number of questions
        for schedule, _, own in progress(methods, len(methods), f"{model.name} {benchmark.name} FLOPs"):
            asked = questions[: measured if schedule.is_fixed else every]
            # The share is taken of the unpruned model on the same prompts.
            if len(asked) not in full:
                full[len(asked)] = costs(model, asked, Schedule(), measured)
            # An unpruned method is the reference itself and needs no second count.
            is_plain = not schedule.stages and not schedule.image_grid
            cost = full[len(asked)] if is_plain else costs(model, asked, schedule, measured)
            # Of how many samples a cost by formula is the mean, where each input has its own.
            more = {} if schedule.is_fixed else {"samples": len(asked)}
            write_provenance(own.out, model, own, settings)
            write_text(own.out, table(schedule.name, cost, full[len(asked)], more))


def table(name: str, cost: dict[str, float], full: dict[str, float], more: dict[str, int]) -> str:
    """Return a method's costs as CSV, one row per convention, with the share of the unpruned model's."""
    import pandas as pd

    tokens = {"image_tokens": cost["image_tokens"], "text_tokens": cost["text_tokens"]}
    rows = [
        {"method": name, "convention": convention, "flops": value, "ratio": value / full[convention], **tokens, **more}
        for convention, value in cost.items()
        if convention not in tokens
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def costs(model: Model, questions: Sequence[Question], schedule: Schedule, measured: int) -> dict[str, float]:
    """Return the mean cost over the questions under every convention, and the mean numbers of tokens.

    Operations are counted on the first `measured` questions only, as counting takes long.
    """
    from statistics import fmean

    from himap.costs.formulas import CONVENTIONS, flops
    from himap.experiments.answers import encode
    from himap.experiments.counted_flops import prefill_flops, stages_on

    prompts = [encode(model, [question], schedule.image_grid) for question in questions]
    counts = [prompt.counts() for prompt in prompts]
    # The stages as they acted on each prompt, rules replaced by the layer and count that it found.
    acted = [stages_on(model, prompt, schedule) for prompt in prompts]
    cost = {
        convention: fmean(
            flops(model.dims, stages, convention, n_image=image, n_text=text, n_padding=padding)
            for stages, (image, text, padding) in zip(acted, counts, strict=True)
        )
        for convention in CONVENTIONS
    }
    cost["measured"] = fmean(prefill_flops(model, prompt, schedule.stages) for prompt in prompts[:measured])
    image_tokens, text_tokens = (fmean(count[place] for count in counts) for place in (0, 1))
    return {**cost, "image_tokens": image_tokens, "text_tokens": text_tokens}


if __name__ == "__main__":
    run(main)
