"""Saliency of attention between token groups, per layer and sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from himap.files import write_parquet
from himap.registry import unknown
from himap.workflow.jobs.model_script import model_arguments, open_model, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.models.model import Model

SETTINGS: dict[str, Any] = {
    "definitions": ["paper", "released"],
    "weights": ["trained", "random"],
    "targets": ["emitted"],
    "limit": None,
}
GROUPS = ("system", "image", "instruction")


def main(argv: Sequence[str] | None = None) -> None:
    arguments = model_arguments(__doc__, SETTINGS).parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    # The workflow's config checks this too; a script run by hand has only this check.
    for key, allowed in (
        ("weights", ("trained", "random")),
        ("targets", ("emitted", "released")),
        ("definitions", ("paper", "released")),
    ):
        for value in settings[key]:
            if value not in allowed:
                raise unknown(f"value in settings.{key}", value, allowed)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples
        from himap.models.loading import redraw_weights

        samples = list(islice(read_samples(arguments.samples), settings["limit"]))
        model, benchmark = open_model(arguments, settings), get(arguments.benchmark)
        rows: list[dict[str, object]] = []
        # Trained first, because redrawing overwrites the weights.
        for weights in sorted(settings["weights"], key=["trained", "random"].index):
            if weights == "random":
                redraw_weights(model, settings["seed"])
            for sample in progress(samples, len(samples), f"saliency {model.name} {benchmark.name} {weights}"):
                rows += _of_sample(model, benchmark, sample, weights, settings)
        write_provenance(arguments.out, model, arguments, settings)
        write_parquet(arguments.out, pd.DataFrame(rows))


def _of_sample(
    model: Model, benchmark: Benchmark, sample: Sample, weights: str, settings: Mapping[str, Any]
) -> Iterator[dict[str, object]]:
    """Yield a row per layer, definition and target; the loss is that of the right answer's first token.

    The control, random weights, has the first target only.
    """
    from himap.experiments.answers import encode
    from himap.experiments.saliency import saliency

    if not sample.references or not sample.references[0]:
        raise ValueError(f"sample {sample.sample_id!r} has no reference answer: saliency needs one as its target")
    prompt = encode(model, [question(sample, benchmark, model.family, settings["protocol"])])
    for target in settings["targets"] if weights == "trained" else settings["targets"][:1]:
        answer = sample.references[0]
        # "released" is the bare letter's id, without the mark that begins a word: the model never emits it, the release explains it.
        token = model.answer_ids(answer)[0] if target == "emitted" else model.plain_id(answer)
        result = saliency(model, prompt, token, tuple(settings["definitions"]))
        for definition, blocks in result.blocks.items():
            for layer, block in enumerate(blocks.tolist()):
                yield {
                    "sample_id": sample.sample_id,
                    "layer": layer,
                    "definition": definition,
                    "weights": weights,
                    "target": target,
                    **{f"size_{name}": int(size) for name, size in zip(GROUPS, result.sizes.tolist(), strict=True)},
                    **{
                        # Rows of a block receive, columns give: image_from_image, instruction_from_image, …
                        f"{query}_from_{key}": block[q][k]
                        for q, query in enumerate(GROUPS)
                        for k, key in enumerate(GROUPS)
                    },
                }


if __name__ == "__main__":
    run(main)
