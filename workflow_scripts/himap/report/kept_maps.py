"""Heat maps of the image tokens that a method keeps."""

from __future__ import annotations

import base64
import io
from operator import index
from typing import Any

import numpy as np
from PIL import Image

from himap import numbers
from himap.decoder.bitmaps import unpacked
from himap.decoder.layout import layout_of
from himap.results import Results, methods_of, scope

# ---- where the kept tokens lie

# Nine colors of matplotlib's cividis, from dark blue to yellow: readable with every kind of color vision.
CIVIDIS = np.array(
    [
        (0, 32, 76), (0, 48, 110), (50, 72, 108), (85, 96, 110), (117, 121, 115), (149, 145, 117), (184, 172, 109),
        (222, 203, 90), (255, 234, 70),
    ]
)  # fmt: skip
MOST = 3.0  # times chance at the top of the scale


def histograms(results: Results) -> list[dict[str, Any]]:
    """Return per model and method, how often each place of the image is still there after the last stage."""
    parts = []
    for model, facts in results.facts["models"].items():
        counts: dict[str, list[np.ndarray]] = {}
        for task in results.facts["benchmarks"]:
            for method in methods_of(results, model, task):
                answers = results.predictions(model, task, method) or []
                last = [kept_places(answer, facts) for answer in answers if answer["kept"]]
                counts.setdefault(method, []).extend(places for places in last if places is not None)
        main = results.facts["main_methods"]
        # Methods of the first table in its order, then the others as they came.
        ordered = sorted(counts, key=lambda name: (name not in main, main.index(name) if name in main else 0))
        # A method whose last stage drops every image token has no places to show.
        shown = [method for method in ordered if np.any(counts[method])]
        methods = [histogram(results, method, np.array(counts[method])) for method in shown]
        parts.append({"model": model, "scope": scope(results.facts, model), "grid": facts["grid"], "methods": methods})
    return parts


def kept_places(answer: dict[str, Any], facts: dict[str, Any]) -> np.ndarray | None:
    """Return over the model's grid, which share of the tokens of each place is left; None for an answer about more pictures."""
    layout = layout_of(answer, facts["grid"])
    if answer["image_tokens"] != index(layout):
        return None
    return layout.density(unpacked(answer["kept"][-1:], index(layout))[0], tuple(facts["grid"]))


def histogram(results: Results, method: str, kept: np.ndarray) -> dict[str, Any]:
    """Return quarter method's map, and its kept tokens over the four quarters of the image from top to bottom."""
    # [rows, columns] from [answers, rows, columns].
    share = kept.mean(axis=0)
    # Against chance, not as a share, so that methods that keep 5 % and 50 % can be compared by their colors.
    of_chance = share / share.mean()
    quarters = [100 * part.sum() / share.sum() for part in np.array_split(share, 4, axis=0)]
    return {
        "title": results.facts["methods"][method]["title"],
        "n": len(kept),
        "keep": f"{100 * float(share.mean()):.3g} %",
        "map": heat_map(of_chance),
        "quarters": [{"text": numbers.number(quarter, 0), "value": float(quarter)} for quarter in quarters],
        "most": numbers.number(float(of_chance.max())),
    }


def heat_map(values: np.ndarray) -> str:
    """Return values from 0 to MOST as a small PNG, a pixel per token."""
    # Position between two neighboring colors, mixed linearly.
    place = np.clip(values / MOST, 0, 1) * (len(CIVIDIS) - 1)
    below = np.minimum(place.astype(int), len(CIVIDIS) - 2)
    colors = CIVIDIS[below] + (place - below)[..., None] * (CIVIDIS[below + 1] - CIVIDIS[below])
    packed = io.BytesIO()
    Image.fromarray(colors.round().astype(np.uint8)).save(packed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
