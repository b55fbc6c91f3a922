"""FLOPs that the paper prints and that no formula here gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from himap.costs.formulas import flops, ratio
from himap.models.sizes import Dims
from himap.paper.published import decoder, published

# ---------------------------------------------------------------- what the paper prints


@dataclass(frozen=True)
class Unexplained:
    """A printed cost that the formula does not give at the stated setting, and the nearest setting to it."""

    table: str
    model: str
    method: str
    quantity: str  # tflops, or ratio in percent
    printed: float
    stated: float  # what the stated setting gives
    nearest: str
    there: float  # what the nearest setting gives


def prints(value: float, printed: float, places: int) -> bool:
    """Whether a value appears in print as that figure, rounded or cut off."""
    scale = 10**places
    return round(printed * scale) in (round(value * scale), math.floor(value * scale))


STAGES = {"vanilla": 0, "fastv": 1}  # how many of the two stages that a caption states these methods have


def stated_stages(table: str, model: str, method: str) -> list[dict[str, Any]]:
    """Return the stages that the paper states for a row: K and R of the table's caption, or of the text for this model."""
    stated = published()["tables"][table]
    caption = stated["stages_in_caption"] | stated.get("stages_elsewhere", {}).get(model, {}).get(method, {})
    keep = 1 - caption["r1"] / 100
    stages = [
        {"layer": caption["k1"], "keep": keep},
        {"layer": caption["k2"], "keep": keep * (1 - caption["r2"] / 100)},
    ]
    return stages[: STAGES.get(method, 2)]


@cache
def unexplained() -> tuple[Unexplained, ...]:
    """The TFLOPs and ratios of the paper's tables that its formula does not give, each with the nearest setting.

    Looked at are the layers of the stages and, where not even the unpruned cost is explained, the number of image
    tokens. Of several settings that give the printed figure the nearest has the smallest shift of layers, K1's first.
    """
    found = []
    for table, entry in published()["tables"].items():
        caption = entry.get("stages_in_caption") or {}
        if None in (caption.get("k1"), caption.get("k2")):
            continue
        for model, methods in entry["cells"].items():
            dims = decoder(model)
            vanilla = methods["vanilla"].get("tflops")
            open_tokens = vanilla is not None and not prints(flops(dims, []) / 1e12, vanilla, 2)
            for method, cells in methods.items():
                stages = stated_stages(table, model, method)
                for quantity, places in (("tflops", 2), ("ratio", 0)):
                    if (printed := cells.get(quantity)) is not None:
                        tokens = open_tokens and quantity == "tflops"
                        settings = list(_settings(dims, stages, quantity, tokens))
                        if not prints(settings[0][2], printed, places):
                            _, nearest, there = min(settings, key=lambda one: _distance(one, printed, places))
                            stated = settings[0][2]
                            found.append(Unexplained(table, model, method, quantity, printed, stated, nearest, there))
    return tuple(found)


def _settings(
    dims: Dims, stages: list[dict[str, Any]], quantity: str, tokens: bool
) -> Iterator[tuple[float, str, float]]:
    """Yield shift, description and cost of settings around the stated one, which comes first."""

    def cost(layers: Sequence[int], n_image: int) -> float:
        kept = [{**stage, "layer": layer} for stage, layer in zip(stages, layers, strict=True)]
        if quantity == "tflops":
            return flops(dims, kept, n_image=n_image) / 1e12
        return 100 * ratio(dims, kept, n_image=n_image)

    stated = [stage["layer"] for stage in stages]
    documented = dims.tokens_per_image
    yield 0, "as stated", cost(stated, documented)
    for n_image in range(64, 1101) if tokens else ():
        yield 0, f"{n_image} image tokens", cost(stated, n_image)
    for first in range(1, 7) if stated and not tokens else ():
        for second in range(first + 1, dims.layers - 1) if len(stated) > 1 else (0,):
            layers = [first, second][: len(stated)]
            shift = sum(weight * abs(a - b) for weight, a, b in zip((1, 1.01), layers, stated, strict=False))
            yield shift, ", ".join(f"K{n} = {k}" for n, k in enumerate(layers, start=1)), cost(layers, documented)


def _distance(setting: tuple[float, str, float], printed: float, places: int) -> tuple[bool, float, float]:
    """Order of nearness: first what gives the printed figure, by its shift; then what comes closest."""
    shift, _, value = setting
    off = abs(value - printed)
    return (False, shift, off) if prints(value, printed, places) else (True, off, shift)
