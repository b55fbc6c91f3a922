"""Answer questions while attention paths are cut, for a block of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from himap.files import write_parquet
from himap.workflow.jobs.model_script import model_arguments, open_model, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.models.model import Model

SETTINGS: dict[str, Any] = {
    "flows": ["img2txt", "img2img", "random"],
    "extents": ["single", "suffix"],
    "window": 5,
    "blocks": ["pre"],
    "new_tokens": 8,
    "only_correct": True,
    "limit": None,
}
COLUMNS = (
    "sample_id", "layer", "flow", "extent", "block", "answer", "clean_answer", "reference", "same_answer",
    "same_first_token", "reference_in_answer", "jaccard",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sweep on each sample, and write one row per sample, layer, flow, extent and block."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument("--layers", required=True, metavar="A-B", help="first and last layer of the block, from 0")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings, SETTINGS)
    layers = read_layers(arguments.layers)

    with sole_writer(arguments.out):
        import pandas as pd
        from himap.benchmarks import get, read_samples

        model, benchmark = open_model(arguments, settings), get(arguments.benchmark)
        if layers[-1] >= len(model.layers):
            raise ValueError(f"--layers: {arguments.layers} goes beyond the model's last layer {len(model.layers) - 1}")
        rows: list[dict[str, object]] = []
        used = 0
        label = f"disruption {model.name} {benchmark.name} layers {arguments.layers}"
        # Read one by one: how many are needed depends on how many the model answers right.
        for sample in progress(read_samples(arguments.samples), settings["limit"], label):
            sample_rows = list(_of_sample(model, benchmark, sample, layers, settings))
            # The limit counts samples that were disrupted, not those that were looked at.
            used += bool(sample_rows)
            rows += sample_rows
            if used == settings["limit"]:
                break
        if not rows:
            raise ValueError(
                f"{arguments.samples}: the undisturbed model answers no sample right, so there is nothing to disrupt; "
                'use settings {"only_correct": false}'
            )
        write_provenance(arguments.out, model, arguments, settings)
        write_parquet(arguments.out, pd.DataFrame(rows, columns=list(COLUMNS)))


def read_layers(text: str) -> list[int]:
    """Read a block of layers, written first-last or as a single number."""
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
        raise ValueError(f"--layers: {text!r} is not a block of layers; write it as 0-3")
    return list(range(int(first), int(last or first) + 1))


def _of_sample(
    model: Model, benchmark: Benchmark, sample: Sample, layers: list[int], settings: Mapping[str, Any]
) -> Iterator[dict[str, object]]:
    """Yield the rows of one sample's disturbed runs, for further blocks on the first flow alone.

    There are none where the undisturbed model is wrong and only samples that it answers right count.
    """
    from himap.experiments.answers import encode
    from himap.experiments.cut_runs import run_undisturbed, sweep, top5_overlap
    from himap.experiments.sharing import sample_seed

    asked = question(sample, benchmark, model.family, settings["protocol"])
    # Once per sample: every cut is compared with this run and resumes from its layers.
    clean = run_undisturbed(model, encode(model, [asked]), settings["new_tokens"], asked.prompt.choices)
    clean_answer = model.detokenize(clean.ids)
    if settings["only_correct"] and not benchmark.rows([sample], [clean_answer])[0]["score"]:
        return
    reference = sample.references[0] if sample.references else ""
    options = {key: settings[key] for key in ("window", "new_tokens")}
    # By sample, so that the random control does not depend on which samples a job has.
    seed = sample_seed(settings["seed"], sample.sample_id)
    for number, block in enumerate(settings["blocks"]):
        # The second way of cutting is there for the comparison of both; on one flow it shows the difference at a fraction of the time.
        flows = settings["flows"] if number == 0 else settings["flows"][:1]
        for outcome in sweep(model, clean, layers, flows, settings["extents"], block=block, seed=seed, **options):
            answer = model.detokenize(outcome.ids)
            yield {
                "sample_id": sample.sample_id,
                "layer": outcome.layer,
                "flow": outcome.flow,
                "extent": outcome.extent,
                "block": block,
                "answer": answer,
                "clean_answer": clean_answer,
                "reference": reference,
                "same_answer": answer == clean_answer,
                "same_first_token": outcome.ids[:1] == clean.ids[:1],
                "reference_in_answer": reference in answer,
                "jaccard": top5_overlap(outcome.logits, clean.logits[0]),
            }


if __name__ == "__main__":
    run(main)
