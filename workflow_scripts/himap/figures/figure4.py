"""Figure 4: flow among image tokens (S_vv) and from image to instruction tokens (S_vt), layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap.figures._base import OURS, Figure, Run, files_of
from himap.figures._curves import saliency_panels
from himap.figures._saliency import PANEL, asked_for, normalized, read_saliency, with_published

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

FLOWS = ("image_from_image", "instruction_from_image")


def inputs(run: Run) -> list[str]:
    """Return the saliency of each model and benchmark."""
    return files_of(run, "saliency", "{model}/{benchmark}/saliency.parquet")


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return the mean of both flows per layer; the paper's definition divides by the number of image tokens."""
    import numpy as np
    import pandas as pd

    frame = read_saliency(settings, results)
    # The released code sums without dividing.
    size = np.where(frame["definition"] == "released", 1, frame["size_image"])
    rows = [frame[[*PANEL, "layer"]].assign(curve=curve, raw=frame[curve] / size) for curve in FLOWS]
    means = (
        pd.concat(rows).groupby([*PANEL, "layer", "curve"], as_index=False).agg(raw=("raw", "mean"), n=("raw", "size"))
    )
    return with_published("figure4", settings, normalized(means).assign(source=OURS))


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a panel per definition with both flows."""
    return saliency_panels(frame, FLOWS, "saliency, min–max")


FIGURE = Figure(
    title="Figure 4: flow among image tokens and to the instruction",
    about="Flow among image tokens and from image to instruction, per layer.",
    caption="Flow among image tokens and from image to instruction tokens by layer, averaged over n samples, with one"
    " min–max over each panel; by equation 1, and as the released code computes it. Thin lines without markers are the"
    " paper's, read off its figure, behind ours as the released code computes it: layer by layer where the models have as"
    " many layers, elsewhere over the same share of the depth and once more alone over their own layers. They are"
    " LLaVA-7B's where the model is none of the paper's.",
    inputs=inputs,
    settings=asked_for,
    numbers=numbers,
    panels=panels,
    rank=4,
)
