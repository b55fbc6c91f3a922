"""Open question 1: when the picture reaches the text, over relative depth, in one panel per model whatever its architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._panels import Curves, Dots
from himap.figures._questions import curve, measured_dot, question_figure, read_question, shares
from himap.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from himap.figures._panels import Panel

NAME = "oq1"  # of the question, whose rows lie under it
DEPTH = "layer, as a share of the depth"
KEYS = ("part", "flow", "extent", "layer")  # what a mean is taken within
MEASURES = {"same": "cut", "overlap": "cut", "share": "saliency"}  # columns of the rows, and the part that has them
EXTENTS = {"suffix": "from layer l on", "prefix": "in all layers below l", "single": "at layer l alone"}
FLOWS = {"s_vt": "picture to instruction (S_vt)", "s_vv": "among image tokens (S_vv)"}
CONTROLS = {"spared": "all but evidence", "random": "random pairs"}
CUTS = {"img2alltxt": "picture", **CONTROLS}
SCHEDULES = {"himap": "HiMAP", "random": "random tokens"}


# ---- numbers


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return what is left of the answers under every cut, the saliency over the depth, and the halves compared."""
    import pandas as pd

    frame = read_question(settings, results, NAME).fillna({"extent": ""})
    parts = []
    for (model, task), here in frame.groupby(["model", "benchmark"], sort=False):
        tables = [
            shares(here[here["part"] == part], KEYS, name).assign(measure=name) for name, part in MEASURES.items()
        ]
        pruned = here[here["part"] == "pruned"]
        tables += [
            shares(pruned, KEYS, "same").assign(measure="pruned"),
            # The same for every question of a model, or nearly: an interval would say nothing.
            shares(pruned, KEYS, "cost").assign(measure="cost", low=float("nan"), high=float("nan")),
        ]
        answers = with_whole_cuts(pd.concat(tables, ignore_index=True), int(here["layers"].iloc[0]))
        parts += [
            part.assign(model=str(model), benchmark=str(task), **dict(here[["layers", "beside"]].iloc[0]))
            for part in (answers, halves(here), against_random(pruned))
        ]
    made = pd.concat(parts, ignore_index=True)
    return made.assign(depth=made["layer"] / made["layers"])  # 0 to 1: models of unequal depth share the axis


def with_whole_cuts(frame: pd.DataFrame, layers: int) -> pd.DataFrame:
    """Return the rows with those of a cut in all layers a second time: from the first one on is below the last one's end."""
    import pandas as pd

    whole = frame[(frame["extent"] == "suffix") & (frame["layer"] == 0)]  # from layer 0 on: every layer
    return pd.concat([frame, whole.assign(extent="prefix", layer=layers)], ignore_index=True)


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points more answers stay without the second half than without the first, and than under each control.

    A cut disturbs a model even where nothing is lost, so it says something only against a cut of as many pairs.
    """
    import pandas as pd

    # At this layer a `suffix` cut takes the second half and a `prefix` cut the first.
    cuts = frame[(frame["part"] == "cut") & (frame["layer"] == middle(frame))]
    # A row per question, so that differences are paired.
    table = cuts.pivot_table(index="sample_id", columns=["flow", "extent"], values="same", sort=False)
    pairs = [("second half less first", "", ("img2alltxt", "prefix"), ("img2alltxt", "suffix"))]
    pairs += [
        (f"{control} less cut", extent, ("img2alltxt", extent), (control, extent))
        for control in CONTROLS
        for extent in ("suffix", "prefix")
    ]
    return pd.DataFrame(
        {"measure": measure, "extent": extent, "layer": middle(frame), **difference(table[[first, second]].dropna())}
        for measure, extent, first, second in pairs
        if first in table and second in table  # with cross-attention there are no random pairs
    )


def against_random(frame: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points more answers stay under HiMAP's stages than where random tokens are kept at the same places."""
    import pandas as pd

    table = frame.pivot_table(index="sample_id", columns=["flow", "extent"], values="same", sort=False)
    return pd.DataFrame(
        {"measure": "himap less random", "extent": places, **difference(table[[("random", places), ("himap", places)]])}
        for places in frame["extent"].unique()
    )


def difference(table: pd.DataFrame) -> dict[str, float]:
    """Return the second less the first column of answers that stay or not, in points, with interval and McNemar's p."""
    from himap.metrics.paired import paired
    from himap.metrics.statistics import mean_of

    first, second = (mean_of(table[column].to_numpy(), binary=True) for column in table)
    compared = paired(first, second)
    low, high = compared.interval
    return {"value": compared.difference, "low": low, "high": high, "p": compared.p_value, "n": compared.n}


def middle(frame: pd.DataFrame) -> int:
    """Return the first layer of the second half."""
    return (int(frame["layers"].iloc[0]) + 1) // 2  # of 5 layers the last two are the second half


# ---- panels


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return panels of what cuts leave, then of their controls, then of the saliency, each time one per model."""
    cells = [
        (f"{model}, {benchmarks.get(str(task)).title}", str(model), here)
        for (model, task), here in frame.groupby(["model", "benchmark"], sort=False)
    ]
    rows = (cut_panel, control_panel, saliency_panel, transfer_panel)
    return [panel for row in rows for title, model, here in cells for panel in row(title, model, here)]


def cut_panel(title: str, model: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield how many answers stay when text is cut off from the picture, over the depth."""
    part = frame[(frame["measure"] == "same") & (frame["flow"] == "img2alltxt")]
    curves = [
        curve(part[part["extent"] == extent], f"cut {words}", look, x="depth")
        for look, (extent, words) in enumerate(EXTENTS.items())
    ]
    yield Curves(
        title=f"{title}, {architecture(part)}, n = {int(part['n'].max())}", group="Text cut off from the picture",
        model=model, x_label=DEPTH, y_label="answers that stay", y_range=(0.0, 1.04), digits=2, curves=curves,
    )  # fmt: skip


def control_panel(title: str, model: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield what is left by cuts of half of the layers and of all, and by their controls as far as there are any."""
    part = frame[frame["measure"] == "same"]
    half, layers = middle(part), int(part["layers"].iloc[0])
    dots = [
        measured_dot(f"{place}: {words}", row)
        for place, extent, layer in (
            ("2nd half", "suffix", half), ("1st half", "prefix", half), ("all", "prefix", layers),
        )
        for flow, words in CUTS.items()
        for row in part[(part["flow"] == flow) & (part["extent"] == extent) & (part["layer"] == layer)].to_dict("records")
    ]  # fmt: skip
    yield Dots(
        title=title, group="Controls: half of the layers cut, or all", model=model, x_label="answers that stay",
        x_range=(0.0, 1.04), dots=dots, head=["cut", "share", "95 % interval", "n"],
    )  # fmt: skip


def saliency_panel(title: str, model: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield over which layers the flows from the picture are spread."""
    part = frame[frame["measure"] == "share"]
    curves = [
        curve(part[part["flow"] == flow], words, 7 + look, x="depth")  # 7: other dashes than those of the cuts
        for look, (flow, words) in enumerate(FLOWS.items())
        if flow in set(part["flow"])
    ]
    absent = "" if "s_vv" in set(part["flow"]) else ": no S_vv in the decoder"
    yield Curves(
        title=title + absent, group="Saliency", model=model, x_label=DEPTH, y_label="share of the flow",
        curves=curves, digits=3,
    )  # fmt: skip


def transfer_panel(title: str, model: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield how many answers stay under HiMAP's stages at other models' places, and under random tokens there."""
    cost = frame[frame["measure"] == "cost"].set_index(["flow", "extent"])["value"]
    dots = [
        measured_dot(f"{words} at {row['extent'].replace(' ', ', ')}: {number(100 * cost[flow, row['extent']], 0)} % of FLOPs", row)
        for flow, words in SCHEDULES.items()
        for row in frame[(frame["measure"] == "pruned") & (frame["flow"] == flow)].to_dict("records")
    ]  # fmt: skip
    if dots:
        yield Dots(
            title=title, group="HiMAP's stages at K1, K2 of other models, as shares of the depth", model=model,
            x_label="answers that stay", x_range=(0.0, 1.04), dots=dots, head=["schedule", "share", "95 % interval", "n"],
        )  # fmt: skip


def architecture(frame: pd.DataFrame) -> str:
    """Return in a word where a model has its image tokens."""
    return "cross-attention" if frame["beside"].iloc[0] else "in the sequence"


FIGURE = question_figure(
    NAME,
    title="Phased processing across architectures",
    about="When the picture reaches the text, over relative depth, in models with image tokens in the sequence and beside it.",
    caption="One panel per model. First, text is cut off from the picture in a layer and all above it (where the curve is high,"
    " injection is complete), in all layers below it (where it is high, injection has not begun), or in one layer; share of first"
    " answer tokens that stay, of questions that the model answers right. A cut in all layers shows what is answered without the picture."
    " Second, the same at half of the depth, beside two controls: all image tokens but those that the question is about (its"
    " evidence), and as many pairs at random. Where text looks at the picture by cross-attention, no other rows see it, so there are no"
    " random pairs. Third, |sum over heads of A * dL/dA| of each flow, in shares of its sum over all layers. With cross-attention"
    " nothing flows among image tokens in the decoder, and only layers that look at the picture have points. Fourth, the answers that"
    " stay when HiMAP's two stages act at the paper's K1 and K2 and at those of the embedded model, at the same relative depth, and when"
    " random tokens are kept there; with cross-attention a dropped token is a key that no layer sees any more, a stage acts after"
    " the first layer that looks at the picture, and both rank by the instruction's attention. Bars are 95 %"
    " intervals over questions, each about one picture.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=3, width=12.0),
    rank=13,
)
