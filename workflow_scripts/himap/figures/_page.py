"""Panels for the report page: scales, ticks and paths, which the template turns into inline SVG.

The numbers below each chart are text that the page's script reads for hovering and the arrow keys, and makes a table of when
they are opened: no number is embedded twice, and everything can be read without the drawing and without a script.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from math import floor, log10
from typing import Any

from himap.figures._labels import COLORS, MARKERS, look
from himap.figures._panels import Curve, Curves, Dot, Dots, Key, Panel, Point, Scatter, groups, legend, spans
from himap.numbers import interval, number, significant

WIDTH, HEIGHT = 372, 236  # of a chart, in pixels of its SVG
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 12, 36  # margins, for tick labels and axis titles
EDGE = 4  # room for marks beside the axes
ROW = 36  # height of a row of a dot chart
LOOKS = 24  # curves that the style sheet tells apart
STROKE = 2  # width of a curve
Scale = Callable[[float], float]  # from a value to pixels


def page_groups(panels: Iterable[Panel]) -> list[dict[str, Any]]:
    """Return the charts below their headings, as the template takes them."""
    return [
        {"title": heading, "model": members[0].model, "charts": [chart(panel) for panel in members]}
        for heading, members in groups(panels).items()
    ]


def page_legend(panels: Iterable[Panel]) -> list[dict[str, Any]]:
    """Return the legend's entries, as the template takes them."""
    return [page_key(key) for key in legend(panels)]


def page_key(key: Key) -> dict[str, Any]:
    """Return one entry; its mark lies in the middle of a line of 34 by 12."""
    mark = marks([(17, 6)], key.look) if key.kind == "curve" else ""
    return {"kind": key.kind, "label": key.label, "slot": key.look % LOOKS, "marks": mark}


def style_sheet() -> str:
    """Return the colors and dashes of curves: the same as in the drawings, and lighter ones on a dark page."""
    light, dark = (" ".join(f"--c{number}: {pair[side]};" for number, pair in enumerate(COLORS)) for side in (0, 1))
    rules = [f":root {{ {light} }}", f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"]
    for slot in range(LOOKS):
        color = f"var(--c{slot % len(COLORS)})"
        # Dashes are in widths of the line.
        dashes = " ".join(f"{STROKE * part:g}" for part in look(slot).dashes) or "none"
        rules.append(f".s{slot} {{ stroke: {color}; stroke-dasharray: {dashes}; }} .f{slot} {{ fill: {color}; }}")
    return "\n".join(rules) + "\n"


# ---- charts


def chart(panel: Panel) -> dict[str, Any]:
    """Return one panel as geometry."""
    if isinstance(panel, Curves):
        return line_chart(panel)
    if isinstance(panel, Dots):
        return dot_chart(panel)
    if isinstance(panel, Scatter):
        return scatter_chart(panel)
    raise TypeError(f"a panel is Curves, Dots or Scatter, not {type(panel).__name__}")


def frame(panel: Panel, kind: str, height: int = HEIGHT, left: int = LEFT) -> dict[str, Any]:
    """Return what all charts have."""
    return {
        "kind": kind, "title": panel.title, "width": WIDTH, "height": height, "left": left, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": height - BOTTOM, "x_label": panel.x_label, "y_label": panel.y_label, "series": [],
    }  # fmt: skip


def line_chart(panel: Curves) -> dict[str, Any]:
    """Return curves over layers."""
    listed = [curve for curve in panel.curves if curve.listed]
    across, up = spans(panel)
    # SVG counts y downward, so the low end of the y axis lies at the larger pixel.
    x, y = linear(across, LEFT + EDGE, WIDTH - RIGHT - EDGE), linear(up, HEIGHT - BOTTOM, TOP)
    # A row of the table for each x that any curve has.
    places = sorted({x for curve in listed for x, _ in curve.points})
    return frame(panel, "line") | {
        "x_ticks": axis(ticks(*across, most=8, whole=True), x),
        "y_ticks": axis(ticks(*up), y),
        "lines": [{"at": y(line.at), "text": line.label} for line in panel.lines],
        "series": [series(curve, x, y) for curve in panel.curves],
        "head": [panel.x_label, *(curve.label for curve in listed)],
        "rows": [
            {"x": x(place), "cells": [f"{place:g}", *(value_cell(curve, place, panel.digits) for curve in listed)]}
            for place in places
        ],
        "summary": "; ".join(described(curve, panel.digits) for curve in listed if curve.points),
    }  # fmt: skip


def value_cell(curve: Curve, place: float, digits: int) -> str:
    """Return a curve's value at a place, with its interval if it has one."""
    text = number(dict(curve.points).get(place), digits)
    edges = next(((low, high) for x, low, high in curve.intervals if x == place), None)
    return f"{text} ({interval(*edges, digits)})" if edges else text


def series(curve: Curve, x: Scale, y: Scale) -> dict[str, Any]:
    """Return one curve: its line, and its marks as one path."""
    spots = [(x(a), y(b)) for a, b in curve.points]
    kind = "paper" if curve.paper else "steps" if curve.step else "curve"
    return {
        "label": curve.label, "slot": curve.look % LOOKS, "kind": kind, "path": path(spots, curve.step),
        "marks": marks(spots, curve.look) if kind == "curve" else "",
        "whiskers": "".join(f"M{x(a):g} {y(low):g}V{y(high):g}" for a, low, high in curve.intervals),
    }  # fmt: skip


def described(curve: Curve, digits: int) -> str:
    """Return a curve in words: its highest and lowest point."""
    top, bottom = max(curve.points, key=lambda p: p[1]), min(curve.points, key=lambda p: p[1])
    words = f"highest {number(top[1], digits)} at {top[0]:g}, lowest {number(bottom[1], digits)} at {bottom[0]:g}"
    return f"{curve.label}: {words}"


def dot_chart(panel: Dots) -> dict[str, Any]:
    """Return a row per dot; the marks beside it are what it is compared with."""
    across, _ = spans(panel)
    x = linear(across, 12, WIDTH - RIGHT - EDGE)
    drawn = [dot_row(dot, index, x) for index, dot in enumerate(panel.dots)]
    return frame(panel, "dots", height=TOP + ROW * len(panel.dots) + BOTTOM, left=12) | {
        "x_ticks": axis(ticks(*across, most=6), x),
        "y_ticks": [],
        "lines": [{"at": x(line.at), "text": line.label} for line in panel.lines],
        "dots": drawn,
        "head": list(panel.head),
        "rows": [
            {"x": row["value"], "y": row["y"], "cells": list(dot.cells)}
            for row, dot in zip(drawn, panel.dots, strict=True)
        ],
        "summary": "; ".join(f"{dot.label}: {', '.join(dot.cells[1:])}" for dot in panel.dots),
    }


def dot_row(dot: Dot, index: int, x: Scale) -> dict[str, Any]:
    """Return one row of a dot chart."""
    middle = TOP + ROW * index + 24  # two thirds down, since the label is above the dot
    values = {name: getattr(dot, name) for name in ("value", "low", "high", "ideal", "paper")}
    places = {name: x(value) for name, value in values.items() if value is not None}
    return {"label": dot.label, "slot": dot.look % LOOKS, "y": middle, "text_y": middle - 11, **places}


def scatter_chart(panel: Scatter) -> dict[str, Any]:
    """Return points, those of the frontier joined."""
    across, up = spans(panel)
    x, y = linear(across, LEFT + EDGE, WIDTH - RIGHT - EDGE), linear(up, HEIGHT - BOTTOM, TOP)
    best = [(x(p.x), y(p.y)) for p in sorted(panel.points, key=lambda p: p.x) if p.best]
    # Along first and then up: a better score begins where it is paid for.
    stairs = "".join([f"M{best[0][0]:g} {best[0][1]:g}", *(f"H{a:g}V{b:g}" for a, b in best[1:])]) if best else ""
    ordered = sorted(panel.points, key=lambda p: (p.x, -p.y))  # the order in which arrow keys go through them
    return frame(panel, "scatter") | {
        "x_ticks": axis(ticks(*across), x),
        "y_ticks": axis(ticks(*up), y),
        "lines": [{"at": y(line.at), "text": line.label} for line in panel.lines],
        "points": apart([spot(p, x(p.x), y) for p in ordered]),
        "stairs": stairs,
        "head": list(panel.head),
        "rows": [{"x": x(p.x), "y": y(p.y), "cells": list(p.cells), "best": p.best} for p in ordered],
        "summary": f"{len(panel.points)} points, {len(best)} of them on the frontier"
        if panel.best
        else "; ".join(f"{p.label}: {', '.join(p.cells[1:])}" for p in ordered),
    }


def spot(point: Point, x: float, up: Scale) -> dict[str, Any]:
    """Return a point and its name, if it has one, on the side where there is room."""
    y = up(point.y)
    right = x < (LEFT + WIDTH) / 2
    place = {"text_x": x + (7 if right else -7), "text_y": y - 5, "right": right}
    slot = point.look if point.look is not None else 1 if point.best else 0  # as in `_matplotlib.point_style`
    marked = {"slot": slot % LOOKS, "marks": "" if point.look is None else marks([(x, y)], point.look)}
    edges = {} if point.low is None or point.high is None else {"low": up(point.low), "high": up(point.high)}
    return {"x": x, "y": y, "best": point.best, "label": point.label, **place, **marked, **edges}


def apart(spots: list[dict[str, Any]], line: float = 11.5) -> list[dict[str, Any]]:
    """Move names up just so far that none covers another."""
    placed: list[dict[str, Any]] = []
    for named in sorted((p for p in spots if p["label"]), key=lambda p: -p["y"]):  # from below
        room = 6.5 * len(named["label"])  # about 6.5 pixels a letter
        near = [
            other for other in placed if abs(other["text_x"] - named["text_x"]) < max(room, 6.5 * len(other["label"]))
        ]
        for other in sorted(near, key=lambda p: -p["text_y"]):
            if abs(other["text_y"] - named["text_y"]) < line:
                # Only upward and only from below: a name that is placed never moves again, so this ends.
                named["text_y"] = round(other["text_y"] - line, 1)
        placed.append(named)
    return spots


# ---- scales, ticks, paths


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Return round numbers across a range."""
    span = (high - low) or 1.0
    raw = span / most  # the step with `most` intervals, before it is rounded up
    magnitude = 10 ** floor(log10(raw))
    # 0.999 forgives rounding, as 0.30000000000000004.
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    if whole:
        step = max(1, round(step))
    # The first multiple of the step within the range; the tolerance forgives a low end that misses one by rounding.
    first = -(-low // step) * step if low % step > 1e-9 * step else low
    places, place = [], first
    while place <= high + 1e-9 * span:
        # + 0.0 turns minus zero into zero, which would be written with a sign.
        places.append(round(place, 10) + 0.0)
        place += step
    return places


def linear(domain: tuple[float, float], start: float, end: float) -> Scale:
    """Return a linear scale; a domain of one value goes to the middle."""
    low, high = domain
    if high == low:
        return lambda _: (start + end) / 2
    # A tenth of a pixel: nobody sees more, and a page of thousands of points is half as long.
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


def axis(places: Sequence[float], scale: Scale) -> list[dict[str, Any]]:
    """Return ticks with their places and texts."""
    return [{"at": scale(place), "text": significant(place, 4)} for place in places]


def path(spots: Sequence[tuple[float, float]], step: bool = False) -> str:
    """Return an SVG path through points, or steps between them."""
    pieces = [f"M{spots[0][0]:g} {spots[0][1]:g}"] if spots else []
    for (x0, _), (x, y) in itertools.pairwise(spots):
        # Steps change halfway, as matplotlib's steps-mid.
        pieces.append(f"H{(x0 + x) / 2:g}V{y:g}H{x:g}" if step else f"L{x:g} {y:g}")
    return "".join(pieces)


def marks(spots: Sequence[tuple[float, float]], number: int) -> str:
    """Return the marks of a curve around its points as one SVG path."""
    return "".join(f"M{x:g} {y:g}{MARKERS[look(number).marker]}" for x, y in spots)
