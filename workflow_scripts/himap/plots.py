"""The figures: one function each, from its tidy table to a drawing. Layers count from 0 everywhere, and the axes say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from himap.drawing import Look, legend_below, panels
from himap.metrics.statistics import mean_of_intervals

LAYER = "layer (from 0)"
CURVES = {
    "system": "system",
    "image": "image",
    "instruction": "instruction",
    "image_from_image": "image ← image ($S_{vv}$)",
    "instruction_from_image": "instruction ← image ($S_{vt}$)",
}
FLOWS = {
    "img2txt": "image → instruction cut",
    "img2img": "image → image cut",
    "random": "as many random pairs cut",
    "random_unmatched": "random rows cut (released code)",
}
EXTENTS = {"single": "layer l alone", "suffix": "layer l and all above", "window": "a window of layers"}
MEASURES = {"label": "label consistency", "label_released": "reference in answer", "score": "score consistency (top 5)"}
VARIANTS = {
    "paper": "paper's definition",
    "released": "released code",
    "random weights, paper": "random weights, paper's",
    "random weights, released": "random weights, code's",
}


def curves_per_layer(frame: pd.DataFrame, look: Look, label: str) -> Figure:
    """One row of panels per model and benchmark, one column per definition; the paper's curve thin behind the one it fits."""
    ours = frame[frame["source"] == "ours"]
    places = list(ours[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None))
    variants = sorted(ours["variant"].unique(), key=list(VARIANTS).index)
    figure, axes = panels(len(places), len(variants), look, sharey="all")
    for row, (model, task) in enumerate(places):
        here = frame[(frame["model"] == model) & (frame["benchmark"] == task)]
        for column, variant in enumerate(variants):
            ax = axes[row][column]
            for number, curve in enumerate(name for name in CURVES if name in set(here["curve"])):
                own = here[(here["source"] == "ours") & (here["variant"] == variant) & (here["curve"] == curve)]
                own = own.sort_values("layer")
                ax.plot(own["layer"], own["value"], color=f"C{number}", marker="o", markersize=3, label=CURVES[curve])
                if variant == "released":
                    behind(ax, here[(here["source"] == "paper") & (here["curve"] == curve)], own, f"C{number}")
            ax.set_title(f"{model}, {task}\n{VARIANTS.get(variant, variant)}")
            layer_axis(ax)
        axes[row][0].set_ylabel(label)
    paper_in_legend(axes[0][0], frame)
    legend_below(figure, axes[0][0])
    return figure


def paper_in_legend(ax: Axes, frame: pd.DataFrame) -> None:
    """A word on the paper's curves, if there are any, for the legend that this panel gives."""
    if (frame["source"] == "paper").any():
        label = "thin: the paper's (dashed: over the same share of the depth)"
        ax.plot([], [], color="black", linewidth=0.7, linestyle="--", label=label)


def layer_axis(ax: Axes) -> None:
    """Whole numbers of layers, counted from 0."""
    ax.set_xlabel(LAYER)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def behind(ax: Axes, theirs: pd.DataFrame, ours: pd.DataFrame, color: str, of: str = "layer") -> None:
    """The paper's curve thin behind ours; over relative depth, dashed, if its model has another number of layers. The last
    layers are where the curves end, or one less than the depth in a column of that name."""
    if len(theirs) and len(ours):
        less = int(of == "depth")
        stretch = (ours[of].max() - less) / (theirs[of].max() - less)
        theirs = theirs.sort_values("layer")
        line = "-" if stretch == 1 else "--"
        ax.plot(theirs["layer"] * stretch, theirs["value"], color=color, linewidth=0.7, alpha=0.6, linestyle=line)


def figure3(frame: pd.DataFrame, look: Look) -> Figure:
    """Flow out of (paper) or into (released code) each group of tokens, per token, by layer."""
    return curves_per_layer(frame, look, "saliency per token (min-max)")


def figure4(frame: pd.DataFrame, look: Look) -> Figure:
    """Flow among image tokens and from image to instruction tokens, by layer."""
    return curves_per_layer(frame, look, "saliency (min-max)")


def figure5(frame: pd.DataFrame, look: Look) -> Figure:
    """Label and score consistency, two rows a model: per layer, and means over the first and last layers, with the floor."""
    ours = frame[frame["source"] == "ours"]
    models = list(dict.fromkeys(ours["model"]))
    extents = [name for name in EXTENTS if name in set(ours["extent"])]
    measures = [name for name in ("label", "score") if name in set(ours["measure"])]
    columns = [(measure, extent) for measure in measures for extent in extents]
    figure, axes = panels(2 * len(models), len(columns), look, sharey="all")
    for row, model in enumerate(models):
        above, below = axes[2 * row], axes[2 * row + 1]
        for column, (measure, extent) in enumerate(columns):
            here = ours[(ours["model"] == model) & (ours["measure"] == measure) & (ours["extent"] == extent)]
            consistency_by_layer(above[column], here[here["part"] == "layer"])
            of = (frame["source"] == "paper") & (frame["model"] == model) & (frame["measure"] == measure)
            consistency_bars(below[column], here[here["part"] != "layer"], frame[of & (extent == "suffix")])
            above[column].set_title(f"{model}: {MEASURES[measure]}\n{EXTENTS[extent]}")
            if measure == "label":
                for ax in (above[column], below[column]):
                    floor = here["floor"].mean()
                    ax.axhline(floor, color="black", linestyle=":", linewidth=1, label="commonest answer always")
    for line in axes:
        line[0].set_ylabel("consistency")
        line[0].set_ylim(0, 1.05)
    if "suffix" in extents and (frame["source"] == "paper").any():
        axes[0][0].plot([], [], color="black", linewidth=1, label="stroke across a bar: the paper's")
    legend_below(figure, axes[0][0], columns=2)
    return figure


def consistency_by_layer(ax: Axes, frame: pd.DataFrame) -> None:
    """One line per flow, mean over benchmarks."""
    for number, flow in enumerate(name for name in FLOWS if name in set(frame["flow"])):
        line = frame[frame["flow"] == flow].groupby("layer")["value"].mean()
        ax.plot(line.index, line, color=f"C{number}", marker="o", markersize=3, label=FLOWS[flow])
    layer_axis(ax)


def consistency_bars(ax: Axes, frame: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Bars for the first and the last layers, mean over benchmarks, with 95 % intervals; the paper's value as a tick."""
    flows = [name for name in FLOWS if name in set(frame["flow"])]
    width = 0.8 / max(1, len(flows))
    for number, flow in enumerate(flows):
        for position, part in enumerate(("first", "last")):
            own = frame[(frame["flow"] == flow) & (frame["part"] == part)]
            x = position + (number - (len(flows) - 1) / 2) * width
            if own.empty:
                continue
            mean, low, high = mean_of_intervals(own["value"].tolist(), list(zip(own["low"], own["high"], strict=True)))
            edges = [[mean - max(low, 0.0)], [min(high, 1.0) - mean]]  # a share lies between 0 and 1
            ax.bar(x, mean, width * 0.92, color=f"C{number}", yerr=edges, capsize=2)
            paper = theirs[(theirs["flow"] == flow) & (theirs["part"] == part)]["value"]
            if len(paper):
                ax.plot([x - width / 2, x + width / 2], [paper.mean()] * 2, color="black", linewidth=1)
    ax.set_xticks([0, 1], ["first layers", "last layers"])


def figure6(frame: pd.DataFrame, look: Look) -> Figure:
    """Bias ratio per layer, for both extents and both measures, with the paper's curve thin behind."""
    ours, theirs = frame[frame["source"] == "ours"], frame[frame["source"] == "paper"]
    models = list(dict.fromkeys(frame["model"]))
    figure, axes = panels(1, len(models), look)
    for ax, model in zip(axes[0], models, strict=True):
        number = 0
        for measure in ("label", "score"):
            for extent in EXTENTS:
                line = ours[
                    (ours["model"] == model) & (ours["measure"] == measure) & (ours["extent"] == extent)
                ].sort_values("layer")
                if len(line):
                    label = f"{MEASURES[measure]}, {EXTENTS[extent]}"
                    ax.plot(line["layer"], line["value"], color=f"C{number}", marker="o", markersize=3, label=label)
                number += 1
        behind(ax, theirs[theirs["model"] == model], ours[ours["model"] == model], "black", of="depth")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(model)
        layer_axis(ax)
    axes[0][0].set_ylabel(r"$D_l = \log(E_{vv}/E_{vt})$, $E$ = 1 − consistency")
    paper_in_legend(axes[0][0], frame)
    legend_below(figure, axes[0][0], columns=2)
    return figure


def figure7(frame: pd.DataFrame, look: Look) -> Figure:
    """Image tokens that each layer sees, as steps, by method."""
    places = list(frame[["model", "kind"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = panels(1, len(places), look)
    for ax, (model, kind) in zip(axes[0], places, strict=True):
        here = frame[(frame["model"] == model) & (frame["kind"] == kind)]
        for number, (method, own) in enumerate(here.groupby("method", sort=False)):
            ax.step(own["layer"], own["tokens"], where="mid", color=f"C{number}", label=str(method))
        ax.set_title(f"{model}, {kind}")
        layer_axis(ax)
        ax.set_ylim(bottom=0)
    axes[0][0].set_ylabel("image tokens")
    legend_below(figure, axes[0][0])
    return figure


def figure8(frame: pd.DataFrame, look: Look) -> Figure:
    """Seconds per example by method, with the ideal of fewer tokens as a tick."""
    models, tasks = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["benchmark"]))
    figure, axes = panels(len(models), len(tasks), look, sharey="none")
    for row, model in enumerate(models):
        for column, task in enumerate(tasks):
            ax, here = axes[row][column], frame[(frame["model"] == model) & (frame["benchmark"] == task)]
            positions = np.arange(len(here))
            ax.bar(
                positions,
                here["seconds"],
                0.7,
                color=[f"C{n}" for n in range(len(here))],
                yerr=[here["seconds"] - here["low"], here["high"] - here["seconds"]],
                capsize=2,
            )
            for number, ideal in enumerate(here["ideal"]):
                label = "ideal: time in proportion to tokens" if number == 0 else None
                ax.plot([number - 0.35, number + 0.35], [ideal, ideal], color="black", linewidth=1.2, label=label)
            if here["paper"].notna().any():
                ax.plot(positions, here["paper"], "D", color="black", markersize=4, linestyle="", label="the paper's")
            ax.set_xticks(positions, here["title"], rotation=20)
            ax.set_title(f"{model}, {task} (n = {int(here['n'].max()) if len(here) else 0})")
        axes[row][0].set_ylabel("seconds per example")
    legend_below(figure, axes[0][0])
    return figure


def frontier(frame: pd.DataFrame, look: Look) -> Figure:
    """Score against cost over the grid; the schedules that no other beats are joined."""
    places = list(frame[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = panels(1, len(places), look)
    for ax, (model, task) in zip(axes[0], places, strict=True):
        here = frame[(frame["model"] == model) & (frame["benchmark"] == task)]
        best = here[here["frontier"]].sort_values("ratio")
        ax.scatter(100 * here["ratio"], here["score"], s=12, color="C0", alpha=0.6, label="a schedule")
        ax.step(100 * best["ratio"], best["score"], where="post", color="C1", label="frontier")
        ax.set_title(f"{model}, {task} (n = {int(here['n'].max())})")
        ax.set_xlabel("FLOPs, % of unpruned")
    axes[0][0].set_ylabel("score")
    legend_below(figure, axes[0][0])
    return figure


def ablations(frame: pd.DataFrame, look: Look) -> Figure:
    """Paired difference to the unpruned model with its interval: a row per ablation and model, a panel per benchmark."""
    rows, tasks = frame[["table", "model"]].drop_duplicates(), list(dict.fromkeys(frame["benchmark"]))
    figure, axes = panels(len(rows), len(tasks), look, sharey="none")
    for row, (table, model) in enumerate(rows.itertuples(index=False, name=None)):
        here = frame[(frame["table"] == table) & (frame["model"] == model)]
        methods = list(dict.fromkeys(here["title"]))
        for column, task in enumerate(tasks):
            ax = axes[row][column]
            own = here[here["benchmark"] == task].set_index("title").reindex(methods)
            spread: Any = np.abs(own[["vs_vanilla_low", "vs_vanilla_high"]].to_numpy().T - own["vs_vanilla"].to_numpy())
            colors = [f"C{number}" for number in range(len(methods))]
            bars = ax.bar(
                range(len(methods)), own["vs_vanilla"], yerr=spread, color=colors, error_kw={"linewidth": 0.7}
            )
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set_xticks([])
            ax.set_title(task)
        axes[row][0].set_ylabel(f"{model}, {table.replace('_', ', ')}\ndifference to vanilla")
        axes[row][-1].legend(bars.patches, methods, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure
