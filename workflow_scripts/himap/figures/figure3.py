"""Figure 3: how much flows out of (paper) or into (released code) each group of tokens, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap.figures._base import OURS, Figure, Run, files_of
from himap.figures._curves import saliency_panels
from himap.figures._saliency import GROUPS, PANEL, asked_for, normalized, read_saliency, with_published

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel


def inputs(run: Run) -> list[str]:
    """Return the saliency of each model and benchmark."""
    return files_of(run, "saliency", "{model}/{benchmark}/saliency.parquet")


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return the mean flow of each group per token and layer: a column's sum in the paper, a row's in the code."""
    import numpy as np
    import pandas as pd

    frame = read_saliency(settings, results)
    released = frame["definition"] == "released"
    rows = []
    for group in GROUPS:
        # `a_from_b` is the sum over queries of group a and keys of group b.
        into = sum(frame[f"{group}_from_{key}"] for key in GROUPS)
        out_of = sum(frame[f"{query}_from_{group}"] for query in GROUPS)
        # Per token, since groups differ in size.
        flow = np.where(released, into, out_of) / frame[f"size_{group}"]
        rows.append(frame[[*PANEL, "layer"]].assign(curve=group, raw=flow))  # one row per sample and layer
    means = (
        pd.concat(rows).groupby([*PANEL, "layer", "curve"], as_index=False).agg(raw=("raw", "mean"), n=("raw", "size"))
    )
    return with_published("figure3", settings, normalized(means).assign(source=OURS))


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a panel per definition with a curve for each group of tokens."""
    return saliency_panels(frame, GROUPS, "saliency per token, min–max")


FIGURE = Figure(
    title="Figure 3: share of each modality per layer",
    about="Modality shares per layer.",
    caption="Saliency of system, image and instruction tokens by layer, per token and averaged over n samples, with one"
    " min–max over each panel. The paper's equations 2 to 4 sum the flow out of a group, the released code the flow into"
    " it. Thin lines without markers are the paper's, read off its figure, behind ours as the released code computes it:"
    " layer by layer where the models have as many layers, elsewhere over the same share of the depth and once more alone"
    " over their own layers. They are LLaVA-7B's where the model is none of the paper's.",
    inputs=inputs,
    settings=asked_for,
    numbers=numbers,
    panels=panels,
    rank=3,
)
