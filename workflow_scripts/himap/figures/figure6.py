"""Figure 6: whether a layer depends more on flow among image tokens or on flow to the instruction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from himap.figures._base import OURS, PAPER, Figure
from himap.figures._curves import BEHIND, STRETCHED, stretched, with_size
from himap.figures._disruption import asked_for, disruption_inputs, read_disruption
from himap.figures._labels import EXTENTS, LAYER, MEASURES
from himap.figures._panels import Curve, Curves, Line, points
from himap.paper.published import figure_values

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

Y_LABEL = "log of E_vv over E_vt"


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return D_l = log(E_vv / E_vt), mean over benchmarks, with E = 1 - consistency (an assumption); undefined where E is 0."""
    import pandas as pd

    frame = read_disruption(settings, results)
    frame = frame[frame["flow"].isin(["img2img", "img2txt"])]
    keys = ["model", "extent", "measure", "layer"]
    # Samples of all benchmarks.
    n = frame.groupby(["model", "benchmark"])["sample_id"].nunique().groupby(level="model").sum()
    # E by model, extent, measure, layer and benchmark; a column per flow.
    bias = 1 - frame.groupby([*keys, "benchmark", "flow"])["value"].mean().unstack("flow")
    # If a cut changes no answer, log(0) says nothing about the layer but that there are few samples.
    defined = bias[(bias > 0).all(axis=1)]
    logs = (defined["img2img"] / defined["img2txt"]).map(math.log)
    # Over benchmarks: the mean of logarithms, not the logarithm of a mean.
    ratio = logs.groupby(level=keys).mean().rename("value").reset_index()
    depths = {model: facts["layers"] for model, facts in settings["models"].items()}
    rows = [ratio.assign(source=OURS, depth=ratio["model"].map(depths), n=ratio["model"].map(n))]
    for model, facts in settings["models"].items():
        name = facts["published"] or "LLaVA-13B"  # the only model whose curve the paper shows
        values = figure_values("figure6", name) or {}
        # The published curve has every second layer only; the depth is that of the same model's curves in Figure 4.
        depth = len((figure_values("figure4", f"{name}/scienceqa") or {}).get("image_from_image", []))
        curve = pd.DataFrame({"layer": list(values), "value": list(values.values())})  # keys are layers
        rows.append(curve.assign(model=model, source=PAPER, depth=depth))
    return pd.concat(rows, ignore_index=True)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a group per model: a panel for each way of cutting, and the paper's curve alone where the depths differ."""
    return [panel for model, here in frame.groupby("model", sort=False) for panel in model_panels(str(model), here)]


def model_panels(model: str, frame: pd.DataFrame) -> list[Panel]:
    """Return the panels of one model."""
    ours, theirs = frame[frame["source"] == OURS], frame[frame["source"] == PAPER]
    base: dict[str, Any] = {
        "group": with_size(model, ours),
        "model": model,
        "x_label": LAYER,
        "y_label": Y_LABEL,
        "lines": [Line(at=0.0)],
    }
    paper = [Curve("LLaVA-13B, paper", points(theirs), 6, paper=True)] if len(theirs) else []
    # Whether both can share an axis as they are.
    same = not paper or ours.empty or ours["depth"].max() == theirs["depth"].max()
    behind = paper if same else [stretched(paper[0], ours["depth"].max() - 1, theirs["depth"].max() - 1)]
    shown: list[Panel] = []
    for extent in (name for name in EXTENTS if name in set(ours["extent"])):
        part = ours[ours["extent"] == extent]
        curves = [
            Curve(label, points(part[part["measure"] == measure]), look)
            for look, (measure, label) in enumerate(MEASURES.items())
            if measure in set(part["measure"])
        ]
        thin = f"; {BEHIND if same else STRETCHED}" if behind else ""
        shown.append(Curves(title=f"{EXTENTS[extent]}{thin}", curves=[*behind, *curves], **base))
    if paper and not (same and shown):  # also where we have no curve at all
        shown.append(Curves(title="the paper's LLaVA-13B over its own layers", curves=paper, **base))
    return shown


FIGURE = Figure(
    title="Figure 6: bias ratio per layer",
    about="Bias ratio per layer.",
    caption="Below zero a layer depends more on flow from image to instruction, above zero more on flow among image tokens."
    " The paper does not print E; here it is 1 − consistency, averaged over n samples, with the natural logarithm. Where a"
    " cut changes no answer the ratio is undefined and the curve has no point. The thin line is the paper's LLaVA-13B, read"
    " off its figure, over the same share of the depth where the model has another number of layers.",
    inputs=disruption_inputs,
    settings=asked_for,
    numbers=numbers,
    panels=panels,
    rank=6,
)
