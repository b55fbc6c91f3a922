"""Panels of curves over layers, the paper's thin behind ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from himap import benchmarks
from himap.figures._base import OURS, PAPER
from himap.figures._labels import CURVES, LAYER, VARIANTS
from himap.figures._panels import Curve, Curves, points

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

STRETCHED = "thin: the paper's, over the same share of the depth"
BEHIND = "thin: the paper's"


def stretched(curve: Curve, last: float, paper_last: float) -> Curve:
    """Return a curve of the paper's model over the layers of another one, whose last layer is `last`.

    Such a curve is not listed among the numbers: its places lie between our layers.
    """
    return replace(curve, points=[(x / paper_last * last, y) for x, y in curve.points], listed=False)


def with_size(heading: str, frame: pd.DataFrame) -> str:
    """Return a heading with the number of samples; numbers of an earlier version do not know it."""
    # The maximum: a curve may lack samples in some layers.
    return f"{heading}, n = {int(frame['n'].max())}" if "n" in frame and frame["n"].notna().any() else heading


def saliency_panels(frame: pd.DataFrame, names: tuple[str, ...], y_label: str) -> list[Panel]:
    """Return a group of panels per model and benchmark, one panel per definition and control."""
    groups = frame.groupby(["model", "benchmark"], sort=False)
    return [
        panel for (model, task), here in groups for panel in variant_panels(str(model), str(task), here, names, y_label)
    ]


def variant_panels(model: str, task: str, frame: pd.DataFrame, names: tuple[str, ...], y_label: str) -> Iterator[Panel]:
    """Yield a panel per definition; the paper's curves lie behind the released code's, which they fit, and are shown
    alone once more where our layers are not theirs."""
    ours, theirs = frame[frame["source"] == OURS], frame[frame["source"] == PAPER]
    base = Curves(
        title="", group=with_size(f"{model}, {benchmarks.get(task).title}", ours), model=model, x_label=LAYER, y_label=y_label,
        curves=(), y_range=(0.0, 1.04),
    )  # fmt: skip
    paper = [  # read off the published figure
        Curve(f"{CURVES[name]}, paper", points(part), look, paper=True)
        for look, name in enumerate(names)
        if len(part := theirs[theirs["curve"] == name])
    ]
    last, paper_last = ours["layer"].max(), theirs["layer"].max()  # layers count from 0, so this is the depth less one
    for variant in (name for name in VARIANTS if name in set(ours["variant"])):
        part = ours[ours["variant"] == variant]
        curves = [Curve(CURVES[name], points(part[part["curve"] == name]), look) for look, name in enumerate(names)]
        title = VARIANTS[variant]
        if variant == "released" and paper:
            same = last == paper_last
            title = f"{title}; {BEHIND if same else STRETCHED}"
            # The paper's first, which lie behind.
            curves = [*(paper if same else (stretched(curve, last, paper_last) for curve in paper)), *curves]
        yield replace(base, title=title, curves=curves)
        if variant == "released" and paper and last != paper_last:
            yield replace(base, title="the paper's curves over their own layers", curves=paper)
