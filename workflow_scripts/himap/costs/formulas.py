"""What a pruning schedule costs, by formula. Four conventions stand side by side, since papers state none or another.

Per layer with n tokens, width d and feed-forward width m (multiply-accumulates unless said otherwise):

* `paper`:  4nd² + 2n²d + 2ndm, image tokens only. The only one that gives the paper's printed TFLOPs.
* `gated`:  4nd² + 2n²d + 3ndm, image tokens only: Llama's feed-forward has three matrices.
* `prompt`: twice `gated` over all tokens of the prompt: floating-point operations, as hardware counts them.
* `measured` is no formula: `himap.experiments.counted_flops` counts the operations of a real run, scoring included.

With grouped-query attention the key and value projections shrink; `gated` and `prompt` count that, `paper` does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from himap.models.sizes import Dims

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
