"""What a pruning schedule costs, by formula. Four conventions stand side by side, since papers state none or another.

Per layer with n tokens, width d and feed-forward width m (multiply-accumulates unless said otherwise):

* `paper`:  4nd² + 2n²d + 2ndm, image tokens only. The only one that gives the paper's printed TFLOPs.
* `gated`:  4nd² + 2n²d + 3ndm, image tokens only: Llama's feed-forward has three matrices.
* `prompt`: twice `gated` over all tokens of the prompt: floating-point operations, as hardware counts them.
* `measured` is no formula: `himap.measured` counts the operations of a real run, scoring included.

With grouped-query attention the key and value projections shrink; `gated` and `prompt` count that, `paper` does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from himap.dims import Dims

CONVENTIONS = ("paper", "gated", "prompt")


def keep_count(keep: float | int, total: int) -> int:
    """How many of `total` image tokens a stage keeps: an integer is a count, a fraction a share, at least one token."""
    if isinstance(keep, int) and not isinstance(keep, bool):
        return keep
    return max(1, int(keep * total + 0.5))


def image_tokens_per_layer(dims: Dims, stages: Sequence[dict[str, Any]], n_image: int) -> list[int]:
    """Image tokens that each layer processes: a stage at layer K drops them before K runs."""
    tokens, left = [], n_image
    by_layer = {stage["layer"]: stage for stage in stages}
    for layer in range(dims.layers):
        if layer in by_layer:
            left = keep_count(by_layer[layer]["keep"], n_image)
        tokens.append(left)
    return tokens


def layer_flops(dims: Dims, tokens: int, convention: str) -> float:
    """Cost of one decoder layer over `tokens` tokens."""
    d, m = dims.width, dims.ffn
    if convention == "paper":
        return 4 * tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * m
    inner, shared = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    macs = tokens * d * (2 * inner + 2 * shared) + 2 * tokens * tokens * inner + 3 * tokens * d * m
    return 2 * macs if convention == "prompt" else macs


def flops(
    dims: Dims,
    stages: Sequence[dict[str, Any]],
    convention: str = "paper",
    *,
    n_image: int | None = None,
    n_text: int = 0,
) -> float:
    """Cost of a prefill under a schedule; `n_text` (system and instruction tokens) counts under `prompt` only."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention: {convention!r} is not known; allowed: {', '.join(CONVENTIONS)}")
    n_image = dims.tokens_per_image if n_image is None else n_image
    extra = n_text if convention == "prompt" else 0
    return float(sum(layer_flops(dims, n + extra, convention) for n in image_tokens_per_layer(dims, stages, n_image)))


def ratio(
    dims: Dims,
    stages: Sequence[dict[str, Any]],
    convention: str = "paper",
    *,
    n_image: int | None = None,
    n_text: int = 0,
) -> float:
    """Share of the unpruned cost that a schedule leaves."""
    full = flops(dims, [], convention, n_image=n_image, n_text=n_text)
    return flops(dims, stages, convention, n_image=n_image, n_text=n_text) / full


def ideal_speedup(dims: Dims, stages: Sequence[dict[str, Any]], *, n_image: int, n_text: int) -> float:
    """How much faster a prefill would be if time went with tokens: whole prompt over the average over the layers."""
    per_layer = image_tokens_per_layer(dims, stages, n_image)
    return (n_image + n_text) / (sum(per_layer) / len(per_layer) + n_text)


def on_frontier(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Whether no other point is at least as good at lower cost, or better at the same."""
    points = list(zip(costs, scores, strict=True))
    return [
        not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in points) for cost, score in points
    ]


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


@cache
def unexplained() -> tuple[Unexplained, ...]:
    """The TFLOPs and ratios of the paper's tables that its formula does not give, each with the nearest setting.

    Looked at are the layers of the stages and, where not even the unpruned cost is explained, the number of image
    tokens. Of several settings that give the printed figure the nearest has the smallest shift of layers, K1's first.
    """
    from himap.published import published

    found = []
    for table, entry in published()["tables"].items():
        common, elsewhere = entry.get("stages_in_caption") or {}, entry.get("stages_elsewhere", {})
        if None in (common.get("k1"), common.get("k2")):
            continue
        for model, methods in entry["cells"].items():
            dims = Dims(**published()["decoders"][model])
            vanilla = methods["vanilla"].get("tflops")
            open_tokens = vanilla is not None and not prints(flops(dims, []) / 1e12, vanilla, 2)
            for method, cells in methods.items():
                caption = common | elsewhere.get(model, {}).get(method, {})
                for quantity, places in (("tflops", 2), ("ratio", 0)):
                    if (printed := cells.get(quantity)) is not None:
                        tokens = open_tokens and quantity == "tflops"
                        settings = list(_settings(dims, method, caption, quantity, tokens))
                        if not prints(settings[0][2], printed, places):
                            _, nearest, there = min(settings, key=lambda one: _distance(one, printed, places))
                            stated = settings[0][2]
                            found.append(Unexplained(table, model, method, quantity, printed, stated, nearest, there))
    return tuple(found)


def _settings(
    dims: Dims, method: str, caption: dict[str, Any], quantity: str, tokens: bool
) -> Iterator[tuple[float, str, float]]:
    """Shift, description and cost of settings around the stated one, which comes first."""
    keep = 1 - caption["r1"] / 100
    last = keep * (1 - caption["r2"] / 100)

    def cost(layers: Sequence[int], n_image: int) -> float:
        kept = [{"layer": layer, "keep": share} for layer, share in zip(layers, (keep, last), strict=False)]
        if quantity == "tflops":
            return flops(dims, kept, n_image=n_image) / 1e12
        return 100 * ratio(dims, kept, n_image=n_image)

    stated = [caption["k1"], caption["k2"]][: {"vanilla": 0, "fastv": 1}.get(method, 2)]
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
