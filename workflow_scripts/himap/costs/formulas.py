"""The cost of a prefill under a schedule, by formula.

Papers count FLOPs in different ways and rarely say which, so four conventions stand side by side. Per layer with n
tokens, width d and feed-forward width m (multiply-accumulates unless said otherwise):

* `paper`:  4nd² + 2n²d + 2ndm, image tokens only. The only one that gives the paper's printed TFLOPs.
* `gated`:  4nd² + 2n²d + 3ndm, image tokens only: Llama's feed-forward has three matrices.
* `prompt`: twice `gated` over all tokens of the prompt: floating-point operations, as hardware counts them.
* `measured` is no formula: `himap.experiments.counted_flops` counts the operations of a real run, scoring included.

Where text looks at image tokens by cross-attention (Idefics), these cost something in the layers that look at them alone:
their keys and values, which is all that `paper` and `gated` count; `prompt` adds what the rows of text cost in every layer.

With grouped-query attention the key and value projections shrink; `gated` and `prompt` count that, `paper` does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from himap.models.sizes import Dims

CONVENTIONS = ("paper", "gated", "prompt")


# Not `himap.pruning.stage.Stage`: no cost depends on how tokens are chosen, so a changed criterion must not make
# results stale that are computed by formula alone. A Stage is a Drop with a criterion.
@dataclass(frozen=True)
class Drop:
    """The part of a stage that costs depend on: from `layer` on, `keep` of the original image tokens are processed."""

    layer: int
    keep: int | float  # a count, or a share in (0, 1]

    @property
    def is_fixed(self) -> bool:
        """Return whether layer and count are the same for every input."""
        return True


def keep_count(keep: float | int, total: int) -> int:
    """Return how many of `total` image tokens stay: an integer is a count, a fraction a share of at least one token."""
    if isinstance(keep, int) and not isinstance(keep, bool):
        return keep
    return max(1, int(keep * total + 0.5))  # round() would send halves to the even number


def image_tokens_per_layer(dims: Dims, stages: Sequence[Drop], n_image: int) -> list[int]:
    """Return how many image tokens each layer processes: a stage at layer K drops the others before K runs.

    Where they are no rows of the sequence, layers that do not look at them process none. Raise ValueError for a stage whose
    layer or count depends on the input.
    """
    for index, stage in enumerate(stages):
        if not stage.is_fixed:
            raise ValueError(
                f"stages[{index}]: each input finds its own layer or number of tokens, so no formula has the cost; "
                "take the stages as they acted on an input (`himap.pruning.stage.as_acted`)"
            )
    tokens, left = [], n_image
    keep_at = {stage.layer: stage.keep for stage in stages}
    for layer in range(dims.layers):
        # before the layer runs
        if layer in keep_at:
            left = keep_count(keep_at[layer], n_image)  # of the original tokens, not of those still there
        is_met = not dims.cross or layer in dims.cross
        tokens.append(min(left, n_image) if is_met else 0)  # a picture may have fewer tokens than a count asks for
    return tokens


def layer_flops(dims: Dims, tokens: int, convention: str) -> float:
    """Return the cost of one decoder layer over `tokens` tokens."""
    d, m = dims.width, dims.ffn
    if convention == "paper":
        return 4 * tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * m
    # Not `width`: the 8 heads of Gemma 3 have 256 dimensions each, at a width of 2304.
    inner, shared = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim  # widths of queries and of keys
    # queries and output, keys and values; scores and weighted sum; three matrices of the feed-forward part
    macs = tokens * d * (2 * inner + 2 * shared) + 2 * tokens * tokens * inner + 3 * tokens * d * m
    return 2 * macs if convention == "prompt" else macs  # a multiply-accumulate is two operations


def cross_flops(dims: Dims, n_image: int, n_text: int, convention: str) -> float:
    """Return the cost of one layer in which rows of text look at image tokens beside the sequence, padding counted among these."""
    d, inner, shared = dims.width, dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    # keys and values of the picture tokens, which are as wide as `picture_width`
    macs = 2 * n_image * dims.picture_width * shared
    if convention != "prompt":
        return macs
    # queries and output; scores and weighted sum; feed-forward part
    return 2 * (macs + 2 * n_text * d * inner + 2 * n_text * n_image * inner + 3 * n_text * d * dims.ffn)


def cost_at(dims: Dims, layer: int, n_image: int, n_text: int, convention: str, n_padding: int = 0) -> float:
    """Return the cost of a decoder layer that processes some image tokens; text and padding count under `prompt` only."""
    if layer in dims.cross:
        return cross_flops(dims, n_image + (n_padding if convention == "prompt" else 0), n_text, convention)
    return layer_flops(dims, n_image + (n_text if convention == "prompt" else 0), convention)


def flops(
    dims: Dims,
    stages: Sequence[Drop],
    convention: str = "paper",
    *,
    n_image: int | None = None,
    n_text: int = 0,
    n_padding: int = 0,
) -> float:
    """Return the cost of a prefill; `n_text` (system and instruction tokens) counts under `prompt` only.

    So does `n_padding`, keys of tiles that no picture fills.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention: {convention!r} is not known; allowed: {', '.join(CONVENTIONS)}")
    n_image = dims.tokens_per_image if n_image is None else n_image
    per_layer = image_tokens_per_layer(dims, stages, n_image)
    return float(sum(cost_at(dims, layer, n, n_text, convention, n_padding) for layer, n in enumerate(per_layer)))


def ratio(
    dims: Dims,
    stages: Sequence[Drop],
    convention: str = "paper",
    *,
    n_image: int | None = None,
    n_text: int = 0,
) -> float:
    """Return the share of the unpruned cost that a schedule leaves."""
    full = flops(dims, [], convention, n_image=n_image, n_text=n_text)
    return flops(dims, stages, convention, n_image=n_image, n_text=n_text) / full


def ideal_speedup(dims: Dims, stages: Sequence[Drop], *, n_image: int, n_text: int) -> float:
    """Return how much faster a prefill would be if time grew with tokens: the unpruned mean of the layers over the pruned one."""
    full, left = (sum(image_tokens_per_layer(dims, drops, n_image)) / dims.layers for drops in ((), stages))
    return (full + n_text) / (left + n_text)


def on_frontier(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Return for each point whether no other is at least as good at lower cost, or better at the same cost."""
    points = list(zip(costs, scores, strict=True))
    return [
        not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in points) for cost, score in points
    ]
