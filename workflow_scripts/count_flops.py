"""Count each method's FLOPs: by three formulas, and on real prefills with scoring included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from himap.files import write_text
from himap.workflow.jobs.model_script import model_arguments, open_model, parse_json, question, read_settings
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

SETTINGS = {"measured": 4}


def main(argv: Sequence[str] | None = None) -> None:
    """Count every method on the same questions, and write one row per method and convention."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--methods", required=True, metavar="JSON", help="resolved methods by name")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    methods = parse_json("methods", arguments.methods)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples

        benchmark, model = get(arguments.benchmark), open_model(arguments, settings)
        samples = islice(read_samples(arguments.samples), max(1, settings["measured"]))
        questions = [question(sample, benchmark, model.family, settings["protocol"]) for sample in samples]
        costs_by_method = {name: costs(model, questions, method) for name, method in methods.items()}
        full = costs(model, questions, {"stages": [], "image_grid": None})
        rows = [
            {
                "method": name,
                "convention": convention,
                "flops": value,
                "ratio": value / full[convention],
                "image_tokens": cost["image_tokens"],
                "text_tokens": cost["text_tokens"],
            }
            for name, cost in costs_by_method.items()
            for convention, value in cost.items()
            if convention not in ("image_tokens", "text_tokens")
        ]
        write_provenance(arguments.out, model, arguments, settings)
        write_text(arguments.out, pd.DataFrame(rows).to_csv(index=False))


def costs(model: Any, questions: Sequence[Any], method: dict[str, Any]) -> dict[str, float]:
    """Return the mean cost over the questions under every convention, and the mean numbers of tokens."""
    from statistics import fmean

    from himap.costs.formulas import CONVENTIONS, flops
    from himap.decoder.tokens import IMAGE
    from himap.experiments.answers import encode
    from himap.experiments.counted_flops import prefill_flops

    prompts = [encode(model, [question], method.get("image_grid")) for question in questions]
    image_tokens = [int((prompt.groups == IMAGE).sum()) for prompt in prompts]
    text_tokens = [prompt.positions.shape[1] - n for prompt, n in zip(prompts, image_tokens, strict=True)]
    cost = {
        convention: fmean(
            flops(model.dims, method["stages"], convention, n_image=i, n_text=t)
            for i, t in zip(image_tokens, text_tokens, strict=True)
        )
        for convention in CONVENTIONS
    }
    cost["measured"] = fmean(prefill_flops(model, prompt, method["stages"]) for prompt in prompts)
    return {**cost, "image_tokens": fmean(image_tokens), "text_tokens": fmean(text_tokens)}


if __name__ == "__main__":
    run(main)
