"""What a figure shows, as plain data: panels of curves, of dots with intervals, or of points.

`_matplotlib.py` and `_page.py` draw the same panels, so that a figure is described once.

    Curves(title="released code", x_label=LAYER, y_label="saliency", curves=[Curve("image", [(0, 0.2), (1, 0.7)])])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.figures._labels import INTERVAL
from himap.numbers import is_missing

if TYPE_CHECKING:
    import pandas as pd

Range = tuple[float, float]  # low, high


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight line across a panel at a value; one with a label is dotted and has an entry in the legend."""

    at: float
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes. Panels of the same `group` are drawn side by side under that heading."""

    title: str
    x_label: str
    y_label: str = ""
    group: str = ""
    model: str = ""  # whose results they are: the page marks those of the embedded world
    lines: Sequence[Line] = ()


@dataclass(frozen=True)
class Curve:
    """A curve. `look` chooses color, dashes and marker; the paper's own curves are thin and have no markers."""

    label: str
    points: Sequence[tuple[float, float]]
    look: int = 0
    paper: bool = False  # one of the paper's own
    step: bool = False
    listed: bool = True  # False: left out of the table of numbers, because its x values are not those of the others
    intervals: Sequence[tuple[float, float, float]] = ()  # (x, low, high)


@dataclass(frozen=True, kw_only=True)
class Curves(Panel):
    """Curves over layers; those that come first are drawn behind."""

    curves: Sequence[Curve]
    y_range: Range | None = None
    digits: int = 3  # decimal places in the table of numbers


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A row of a dot chart: a value with its interval, and what it is compared with."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    ideal: float | None = None  # a second mark in the same row, as for Figure 8's ideal time
    paper: float | None = None
    look: int = 0
    cells: Sequence[str] = ()  # its row in the table of numbers, as long as the panel's `head`


@dataclass(frozen=True, kw_only=True)
class Dots(Panel):
    """A row for each value, as in a forest plot."""

    dots: Sequence[Dot]
    head: Sequence[str]  # of the table of numbers
    x_range: Range | None = None
    from_zero: bool = False  # whether the axis begins at 0, for seconds and other amounts
    says: str = INTERVAL  # what dot and whisker are, for the legend
    ideal: str = ""
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of a scatter plot; the best ones are joined. One with a `look` has its color and marker."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    best: bool = False  # whether it is one of the frontier
    look: int | None = None
    label: str = ""
    cells: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Scatter(Panel):
    """Points, those of the frontier joined by steps."""

    points: Sequence[Point]
    head: Sequence[str]
    says: str  # what a point is, for the legend
    best: str = ""  # what the steps are


@dataclass(frozen=True)
class Key:
    """An entry of the legend: `kind` is curve, steps, paper, line, dot, ideal, diamond, point, spread or stairs."""

    kind: str
    label: str
    look: int = 0


def legend(panels: Iterable[Panel]) -> list[Key]:
    """Return each entry once, in the order in which the panels bring them, the paper's last."""
    # dict.fromkeys keeps the order of first occurrence, and panels with equal curves share an entry.
    keys = dict.fromkeys(key for panel in panels for key in keys_of(panel))
    return sorted(
        keys,
        key=lambda key: (
            ["curve", "steps", "dot", "point", "spread", "stairs", "line", "ideal", "paper", "diamond"]
        ).index(key.kind),
    )


def keys_of(panel: Panel) -> list[Key]:
    """Return what one panel has in the legend."""
    keys = [Key("line", line.label) for line in panel.lines if line.label]
    if isinstance(panel, Curves):
        keys += [
            Key("paper" if curve.paper else "steps" if curve.step else "curve", curve.label, curve.look)
            for curve in panel.curves
            if curve.points
        ]
    if isinstance(panel, Dots) and panel.dots:
        keys.append(Key("dot", panel.says))
        keys += [Key("ideal", panel.ideal)] if any(dot.ideal is not None for dot in panel.dots) else []
        keys += [Key("diamond", panel.paper)] if any(dot.paper is not None for dot in panel.dots) else []
    if isinstance(panel, Scatter):
        whiskers = any(point.low is not None for point in panel.points)
        keys += [Key("spread" if whiskers else "point", panel.says)]
        keys += [Key("stairs", panel.best, 1)] if panel.best else []
    return keys


def groups(panels: Iterable[Panel]) -> dict[str, list[Panel]]:
    """Return the panels below their headings, both in order; no axes are drawn around nothing."""
    below: dict[str, list[Panel]] = {}
    for panel in filter(has_content, panels):
        below.setdefault(panel.group, []).append(panel)
    return below


def has_content(panel: Panel) -> bool:
    """Return whether a panel has a value to show."""
    if isinstance(panel, Curves):
        return any(curve.points for curve in panel.curves)
    return bool(panel.dots if isinstance(panel, Dots) else panel.points if isinstance(panel, Scatter) else True)


def spans(panel: Panel) -> tuple[Range, Range]:
    """Return the ranges of both axes, the same in every drawing."""
    lines = [line.at for line in panel.lines]
    if isinstance(panel, Curves):
        xs = [x for curve in panel.curves for x, _ in curve.points] or [0.0, 1.0]
        ys = [y for curve in panel.curves for _, y in curve.points]
        # Intervals count, too, so that no whisker leaves the panel.
        ys += [edge for curve in panel.curves for _, *edges in curve.intervals for edge in edges]
        return (min(xs), max(xs)), panel.y_range or padded([*ys, *lines])
    if isinstance(panel, Dots):
        marks = [(dot.value, dot.low, dot.high, dot.ideal, dot.paper) for dot in panel.dots]
        values = [value for dot in marks for value in dot if value is not None]
        across = panel.x_range or padded([*values, *lines], include=0.0 if panel.from_zero else None)
        return across, (0.0, float(len(panel.dots)))  # upward, a row of height 1 for each dot
    if isinstance(panel, Scatter):
        heights = [value for point in panel.points for value in (point.y, point.low, point.high) if value is not None]
        return padded([point.x for point in panel.points]), padded(heights)
    raise TypeError(f"a panel is Curves, Dots or Scatter, not {type(panel).__name__}")


def padded(values: Sequence[float], share: float = 0.06, include: float | None = None) -> Range:
    """Return the range of values with some air around it; none beyond `include` where the values end there."""
    # Without a value some range, since axes need one.
    known = [*values, *([] if include is None else [include])] or [0.0, 1.0]
    low, high = min(known), max(known)
    # A range of one value gets a share of the value, and a range of zeros 1.
    air = (high - low) * share or abs(high) * share or 1.0
    return low - (air if low != include else 0), high + air


def points(frame: pd.DataFrame, x: str = "layer", y: str = "value") -> list[tuple[float, float]]:
    """Return a curve's points in order, undefined ones left out."""
    # `dropna`: a line goes on to the next defined point; matplotlib would break it at NaN.
    return [(float(a), float(b)) for a, b in frame.sort_values(x)[[x, y]].dropna().itertuples(index=False)]


def number_or_none(value: float) -> float | None:
    """Return a number of a table, or None for an empty cell."""
    return None if is_missing(value) else float(value)
