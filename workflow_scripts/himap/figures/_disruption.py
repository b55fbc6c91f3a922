"""Reading the disruption results for Figures 5 and 6."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.figures._base import found_files

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._base import Run


def disruption_inputs(run: Run) -> list[str]:
    """Return the blocks of layers of each model and benchmark."""
    return [
        f"{run.out}/disruption/{model}/{task}/layers-{block}.parquet"
        for model in run.models_for()
        for task in run.known(run.config.disruption.benchmarks)
        for block in run.layer_blocks(model)
    ]


def asked_for(run: Run) -> dict[str, Any]:
    """Return the benchmarks, layers and blocks of layers that the run's disruption has."""
    blocks = {name: [f"layers-{block}.parquet" for block in run.layer_blocks(name)] for name in run.models_for()}
    part = run.config.disruption
    return {"benchmarks": run.known(part.benchmarks), "layers": part.layers, "blocks": blocks}


def disruption_files(settings: dict[str, Any], results: str) -> list[tuple[str, str, Path]]:
    """Return (model, benchmark, file) of this run's blocks of layers; an earlier run may have left others."""
    files = found_files(results, settings, "disruption", "{}/layers-*.parquet")
    # Otherwise a block of an earlier config, say layers 0-7, would count its layers twice.
    return [(model, task, path) for model, task, path in files if path.name in settings["blocks"][model]]


def read_disruption(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return a row per sample, layer, cut and measure: label (same answer), label_released and score."""
    import pandas as pd

    parts = [
        pd.read_parquet(path).assign(model=model, benchmark=task)
        for model, task, path in disruption_files(settings, results)
    ]
    frame = pd.concat(parts, ignore_index=True)
    # The first way of cutting; the second was run on one flow only and is compared on the page, not here.
    frame = frame[frame["block"] == frame["block"].iloc[0]]
    if settings["layers"] is not None:
        frame = frame[frame["layer"].isin(settings["layers"])]
    renamed = frame.rename(
        # label: the same text as undisturbed; label_released: the benchmark's own answer occurs in it, as the released
        # code tests.
        columns={"same_answer": "label", "reference_in_answer": "label_released", "jaccard": "score"}
    )
    kept = ["model", "benchmark", "extent", "flow", "layer", "sample_id"]
    # A row per measure, as `groupby` wants it.
    long = renamed.melt(kept, ["label", "label_released", "score"], "measure", "value")
    return long.assign(value=long["value"].astype(float))  # booleans become 0 and 1
