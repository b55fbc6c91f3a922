"""FLOPs that the paper prints and that its own formula does not give.

Each of them is paired with the nearest setting that gives the printed figure, or comes closest to it: other layers for
the stages, or another number of image tokens. Notes under the tables and the list of divergences show the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from himap.costs.formulas import Drop, flops, ratio
from himap.models.sizes import Dims
from himap.paper.published import decoder, published

STAGES = {"vanilla": 0, "fastv": 1}  # how many of a caption's two stages a method uses; all others use both


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


class Setting(NamedTuple):
    """A setting that may be behind a printed cost."""

    shift: float  # how far its layers are from the stated ones
    about: str
    cost: float


def prints(value: float, printed: float, places: int) -> bool:
    """Return whether a value appears in print as that figure, rounded or cut off: the paper does both."""
    scale = 10**places
    return round(printed * scale) in (round(value * scale), math.floor(value * scale))


def stated_stages(table: str, model: str, method: str) -> list[Drop]:
    """Return the stages that the paper states for a row: K and R of the table's caption, or of the text for this model."""
    stated = published()["tables"][table]
    caption = stated["stages_in_caption"] | stated.get("stages_elsewhere", {}).get(model, {}).get(method, {})
    keep = 1 - caption["r1"] / 100
    last = keep * (1 - caption["r2"] / 100)  # the caption's r2 is a share of what the first stage left
    stages = [Drop(caption["k1"], keep), Drop(caption["k2"], last)]
    return stages[: STAGES.get(method, 2)]


@cache
def unexplained() -> tuple[Unexplained, ...]:
    """Return the TFLOPs and ratios of the paper's tables that its formula does not give, each with the nearest setting.

    Settings differ in the layers of the stages and, where not even the unpruned cost is explained, in the number of
    image tokens. Of several that give the printed figure, the nearest has the smallest shift of layers, K1's first.
    """
    rows = []
    for table, entry in published()["tables"].items():
        caption = entry.get("stages_in_caption") or {}
        if None in (caption.get("k1"), caption.get("k2")):
            continue  # the caption names no layers, so there is nothing to compute
        for model, methods in entry["cells"].items():
            dims = decoder(model)
            vanilla = methods["vanilla"].get("tflops")
            # not even the unpruned cost comes out, so the number of image tokens must have been another
            open_tokens = vanilla is not None and not prints(flops(dims, []) / 1e12, vanilla, 2)
            for method, cells in methods.items():
                stages = stated_stages(table, model, method)
                for quantity, places in (("tflops", 2), ("ratio", 0)):
                    if (printed := cells.get(quantity)) is not None:
                        # a ratio hardly depends on the number of image tokens: it cannot tell which one was used
                        tokens = open_tokens and quantity == "tflops"
                        settings = list(_settings(dims, stages, quantity, tokens))
                        stated = settings[0].cost
                        if not prints(stated, printed, places):
                            nearest = min(settings, key=lambda setting: _distance(setting, printed, places))
                            rows.append(
                                Unexplained(
                                    table, model, method, quantity, printed, stated, nearest.about, nearest.cost
                                )
                            )
    return tuple(rows)


def _settings(dims: Dims, stages: Sequence[Drop], quantity: str, tokens: bool) -> Iterator[Setting]:
    """Yield settings around the stated one, which comes first."""

    def cost(layers: Sequence[int], n_image: int) -> float:
        moved = [Drop(layer, stage.keep) for stage, layer in zip(stages, layers, strict=True)]
        if quantity == "tflops":
            return flops(dims, moved, n_image=n_image) / 1e12
        return 100 * ratio(dims, moved, n_image=n_image)

    stated = [stage.layer for stage in stages]
    documented = dims.tokens_per_image
    yield Setting(0, "as stated", cost(stated, documented))
    for n_image in range(64, 1101) if tokens else ():
        yield Setting(0, f"{n_image} image tokens", cost(stated, n_image))
    for first in range(1, 7) if stated and not tokens else ():
        for second in range(first + 1, dims.layers - 1) if len(stated) > 1 else (0,):
            layers = [first, second][: len(stated)]
            # 1.01: of two equally long shifts the one that leaves K2 alone is nearer
            shift = sum(weight * abs(a - b) for weight, a, b in zip((1, 1.01), layers, stated, strict=False))
            about = ", ".join(f"K{number} = {layer}" for number, layer in enumerate(layers, start=1))
            yield Setting(shift, about, cost(layers, documented))


def _distance(setting: Setting, printed: float, places: int) -> tuple[bool, float, float]:
    """Return a sort key: first what gives the printed figure, by its shift of layers; then what comes closest to it."""
    off = abs(setting.cost - printed)
    return (False, setting.shift, off) if prints(setting.cost, printed, places) else (True, off, setting.shift)
