"""Charts as geometry: scales, ticks, paths and a table of the same numbers; the template turns them into inline SVG.

The table below each chart is what the page's script reads for hovering and the arrow keys: its rows carry the places of
the points, so that no number is embedded twice and everything can be read without the drawing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

from himap.numbers import number, significant

WIDTH, HEIGHT = 372, 236
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 12, 36
ROW = 36  # height of one row of a dot chart
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Series:
    """One curve: `slot` chooses colour and dash, `kind` is ours, or the paper's (thin, without marks); `listed`: in the table too."""

    label: str
    points: Sequence[tuple[float, float]]
    slot: int = 0
    kind: str = "ours"
    step: bool = False
    listed: bool = True


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers across a range."""
    span = (high - low) or 1.0
    raw = span / most
    magnitude = 10 ** floor(log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    if whole:
        step = max(1, round(step))
    first = -(-low // step) * step if low % step > 1e-9 * step else low
    marks, mark = [], first
    while mark <= high + 1e-9 * span:
        marks.append(round(mark, 10) + 0.0)
        mark += step
    return marks


def linear(domain: tuple[float, float], start: float, end: float) -> Scale:
    """A linear scale; an empty domain goes to the middle."""
    low, high = domain
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


def padded(values: Sequence[float], share: float = 0.06, include: float | None = None) -> tuple[float, float]:
    """The range of values with some air."""
    known = [*values, *([] if include is None else [include])] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = (high - low) * share or abs(high) * share or 1.0
    return low - (air if low != include else 0), high + air


def axis(marks: Sequence[float], scale: Scale) -> list[dict[str, Any]]:
    """Ticks with their places and texts."""
    return [{"at": scale(mark), "text": significant(mark, 4)} for mark in marks]


def path(points: Sequence[tuple[float, float]], step: bool = False) -> str:
    """An SVG path through points, or steps between them."""
    pieces = [f"M{points[0][0]:g} {points[0][1]:g}"] if points else []
    for (x0, _), (x, y) in itertools.pairwise(points):
        pieces.append(f"H{(x0 + x) / 2:g}V{y:g}H{x:g}" if step else f"L{x:g} {y:g}")
    return "".join(pieces)


def line_chart(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str,
    y_range: tuple[float, float] | None = None, lines: Sequence[tuple[float, str]] = (), places: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """Curves over layers."""
    told = [one for one in series if one.listed]
    xs = sorted({x for one in told for x, _ in one.points})
    values = [y for one in series for _, y in one.points] + [y for y, _ in lines]
    domain = (xs[0], xs[-1]) if xs else (0, 1)
    span = y_range or padded(values)
    x, y = linear(domain, LEFT + 4, WIDTH - RIGHT - 4), linear(span, HEIGHT - BOTTOM, TOP)
    by_x = [dict(one.points) for one in told]
    return {
        "kind": "line", "title": title, "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": HEIGHT - BOTTOM, "x_label": x_label, "y_label": y_label,
        "x_ticks": axis(ticks(domain[0], domain[1], most=8, whole=True), x), "y_ticks": axis(ticks(*span), y),
        "lines": [{"at": y(value), "text": text} for value, text in lines],
        "series": [
            {
                "label": one.label, "slot": one.slot, "kind": one.kind,
                "path": path([(x(a), y(b)) for a, b in one.points], one.step),
                "marks": [(x(a), y(b)) for a, b in one.points] if one.kind == "ours" and not one.step else [],
            }
            for one in series
        ],
        "head": [x_label, *(one.label for one in told)],
        "rows": [
            {"x": x(place), "cells": [f"{place:g}", *(number(own.get(place), places) for own in by_x)]} for place in xs
        ],
        "summary": "; ".join(described(one, places) for one in told if one.points),
    }  # fmt: skip


def described(one: Series, places: int) -> str:
    """A curve in words: its highest and lowest point."""
    top, bottom = max(one.points, key=lambda p: p[1]), min(one.points, key=lambda p: p[1])
    return f"{one.label}: highest {number(top[1], places)} at {top[0]:g}, lowest {number(bottom[1], places)} at {bottom[0]:g}"


def dot_chart(
    title: str, rows: Sequence[dict[str, Any]], *, x_label: str, head: Sequence[str], zero: bool = False,
    x_range: tuple[float, float] | None = None, lines: Sequence[tuple[float, str]] = (),
) -> dict[str, Any]:  # fmt: skip
    """One row per thing: a dot with its interval, and marks beside it (`ideal`, `paper`); `cells` go to the table."""
    values = [
        row[key] for row in rows for key in ("value", "low", "high", "ideal", "paper") if row.get(key) is not None
    ]
    span = x_range or padded([*values, *(value for value, _ in lines)], include=0.0 if zero else None)
    height = TOP + ROW * len(rows) + BOTTOM
    x = linear(span, 12, WIDTH - RIGHT - 4)
    drawn = []
    for index, row in enumerate(rows):
        middle = TOP + ROW * index + 24
        marks = {key: x(row[key]) for key in ("value", "low", "high", "ideal", "paper") if row.get(key) is not None}
        drawn.append({"label": row["label"], "slot": row.get("slot", 0), "y": middle, "text_y": middle - 11, **marks})
    return {
        "kind": "dots", "title": title, "width": WIDTH, "height": height, "left": 12, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": height - BOTTOM, "x_label": x_label, "y_label": "",
        "x_ticks": axis(ticks(*span, most=6), x), "y_ticks": [],
        "lines": [{"at": x(value), "text": text} for value, text in lines], "series": [], "dots": drawn,
        "head": list(head),
        "rows": [
            {"x": one.get("value", one.get("low")), "y": one["y"], "cells": row["cells"]}
            for one, row in zip(drawn, rows, strict=True)
        ],
        "summary": "; ".join(f"{row['label']}: {', '.join(row['cells'][1:])}" for row in rows),
    }  # fmt: skip


def scatter_chart(
    title: str, points: Sequence[dict[str, Any]], *, x_label: str, y_label: str, head: Sequence[str]
) -> dict[str, Any]:
    """Points, those of the frontier joined; `cells` go to the table."""
    x_span, y_span = padded([p["x"] for p in points]), padded([p["y"] for p in points])
    x, y = linear(x_span, LEFT + 4, WIDTH - RIGHT - 4), linear(y_span, HEIGHT - BOTTOM, TOP)
    best = sorted((p for p in points if p["best"]), key=lambda p: p["x"])
    stairs = [(x(p["x"]), y(p["y"])) for p in best]
    line = "".join([f"M{stairs[0][0]:g} {stairs[0][1]:g}"] + [f"H{a:g}V{b:g}" for a, b in stairs[1:]]) if stairs else ""
    ordered = sorted(points, key=lambda p: (p["x"], -p["y"]))
    return {
        "kind": "scatter", "title": title, "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": HEIGHT - BOTTOM, "x_label": x_label, "y_label": y_label,
        "x_ticks": axis(ticks(*x_span), x), "y_ticks": axis(ticks(*y_span), y), "lines": [], "series": [],
        "points": apart([point(p, x(p["x"]), y(p["y"])) for p in ordered]), "stairs": line,
        "head": list(head),
        "rows": [{"x": x(p["x"]), "y": y(p["y"]), "cells": p["cells"], "best": p["best"]} for p in ordered],
        "summary": f"{len(points)} points, {len(best)} of them on the frontier",
    }  # fmt: skip


def point(one: dict[str, Any], x: float, y: float) -> dict[str, Any]:
    """A point and its name, if it has one, on the side where there is room."""
    right = x < (LEFT + WIDTH) / 2
    place = {"text_x": x + (7 if right else -7), "text_y": y - 5, "right": right}
    return {"x": x, "y": y, "best": one["best"], "label": one.get("label", "")} | place


def apart(points: list[dict[str, Any]], line: float = 11.5) -> list[dict[str, Any]]:
    """Names moved up just so far that none covers another."""
    placed: list[dict[str, Any]] = []
    for one in sorted((p for p in points if p["label"]), key=lambda p: -p["y"]):  # from below
        room = 6.5 * len(one["label"])
        near = [
            other for other in placed if abs(other["text_x"] - one["text_x"]) < max(room, 6.5 * len(other["label"]))
        ]
        for other in sorted(near, key=lambda p: -p["text_y"]):
            if abs(other["text_y"] - one["text_y"]) < line:
                one["text_y"] = round(other["text_y"] - line, 1)
        placed.append(one)
    return points
