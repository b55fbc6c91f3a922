"""Attention of one layer: the kernels that the loop calls, and the rows of the map that an intervention reads.

The full map of all heads is never in memory: the rows that are needed are recomputed from queries and keys, block by
block.

Shapes: B prompts, H query heads, Hkv key-value heads, T tokens (Tq queries, Tk keys), d the width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from himap.decoder.tokens import PADDING, Rows

KINDS = ("sdpa", "flash", "eager")
BLOCK_ELEMENTS = 1 << 23  # attention weights in memory at a time when rows are recomputed: 32 MB in fp32


def share_heads(states: Tensor, heads: int) -> Tensor:
    """Repeat key or value heads [B, Hkv, T, d] until there is one per query head (grouped-query attention)."""
    repeats = heads // states.shape[1]  # 1 in Vicuna, where every query head has keys of its own
    return states if repeats == 1 else states.repeat_interleave(repeats, dim=1)


def visible(query_rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor:
    """Return which keys each query may see, as a mask [B, Tq, Tk]: real tokens at its own position or before it."""
    # Positions are compared, not columns: after pruning, a token's column no longer tells where it was in the prompt.
    causal = query_rows.positions[:, :, None] >= key_positions[:, None, :]  # [B, Tq, Tk]
    real = (key_groups != PADDING)[:, None, :]  # [B, 1, Tk]
    # A padding query sees every key. With none, its softmax would be NaN, and NaN spreads to the layers above.
    return (causal & real) | (query_rows.groups == PADDING)[:, :, None]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, scale: float, mask: Tensor | None, causal: bool, kind: str
) -> Tensor:
    """Return the attention output [B, H, Tq, d].

    `mask` [B, Tq, Tk] is true where a query sees a key. Without a mask every query sees all keys, or with `causal` those
    up to its own column, which is the plain prefill.
    """
    keys, values = share_heads(keys, queries.shape[1]), share_heads(values, queries.shape[1])
    if kind == "eager":
        if mask is None and causal:
            mask = torch.ones(queries.shape[2], keys.shape[2], dtype=torch.bool, device=queries.device).tril()[None]
        weights = attention_weights(queries, keys, scale, mask)
        return weights.to(values.dtype) @ values
    seen = None if mask is None else mask[:, None]  # [B, 1, Tq, Tk], the same for all heads
    if kind == "flash" and seen is None:  # torch's flash kernel takes no mask; with one, SDPA chooses another kernel
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(queries, keys, values, is_causal=causal, scale=scale)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal, scale=scale)


def attend_with_zeros(
    queries: Tensor, keys: Tensor, values: Tensor, *, scale: float, mask: Tensor, cut: Tensor
) -> Tensor:
    """Return the attention output with the weights at `cut` [B, Tq, Tk] zeroed after the softmax (the paper's A = 0)."""
    keys, values = share_heads(keys, queries.shape[1]), share_heads(values, queries.shape[1])
    # The rest is not renormalized: a cut token loses this share of its attention output.
    weights = attention_weights(queries, keys, scale, mask).masked_fill(cut[:, None], 0.0)
    return weights.to(values.dtype) @ values


def attention_weights(queries: Tensor, keys: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Return the weights after the softmax [B, H, Tq, Tk] in fp32; the keys must have as many heads as the queries."""
    scores = (queries @ keys.transpose(-1, -2)).float() * scale  # [B, H, Tq, Tk]
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], float("-inf"))
    return scores.softmax(dim=-1)


@dataclass
class LayerAttention:
    """Queries and keys of one layer, from which chosen rows of its attention map are recomputed."""

    queries: Tensor  # [B, H, T, d]
    keys: Tensor  # [B, Hkv, T, d]
    scale: float
    rows: Rows  # the tokens that the queries and keys belong to
    cut: Tensor | None = None  # [B, T, T] pairs that an intervention blocked before the softmax

    def head_mean(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for the query rows in `chosen` [B, T], blocks of (row index [B, r] or -1 where absent, weights [B, r, T])."""
        count = int(chosen.sum(dim=1).max())
        if count == 0:
            return
        # A stable sort brings each prompt's chosen rows to the front, in order; prompts with fewer rows are filled with -1.
        order = chosen.to(torch.int8).argsort(dim=1, stable=True, descending=True)[:, :count]  # [B, R]
        index = order.masked_fill(~chosen.gather(1, order), -1)  # [B, R]
        keys = share_heads(self.keys, self.queries.shape[1])
        batch, heads, length, _ = keys.shape
        step = max(1, BLOCK_ELEMENTS // (batch * heads * length))
        for begin in range(0, count, step):
            yield index[:, begin : begin + step], self._block(index[:, begin : begin + step], keys)

    def _block(self, index: Tensor, keys: Tensor) -> Tensor:
        """Return the head-mean weights [B, r, T] of the rows `index` [B, r], zero where absent."""
        safe = index.clamp(min=0)  # [B, r]; gather cannot read -1, so absent rows compute row 0 and are zeroed below
        queries = self.queries.gather(2, safe[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[3]))
        positions = self.rows.positions.gather(1, safe)  # [B, r]
        seen = (positions[:, :, None] >= self.rows.positions[:, None, :]) & (self.rows.groups != PADDING)[:, None, :]
        if self.cut is not None:
            seen &= ~self.cut.gather(1, safe[:, :, None].expand(-1, -1, self.cut.shape[2]))
        seen |= (index < 0)[:, :, None]
        weights = attention_weights(queries, keys, self.scale, seen).mean(dim=1)  # [B, r, T]
        return weights.masked_fill((index < 0)[:, :, None], 0.0)

    def received(self, chosen: Tensor, *, itself: bool = True) -> Tensor:
        """Return the attention [B, T] that each token receives from the query rows in `chosen`, with or without `itself`."""
        total = self.rows.positions.new_zeros(self.rows.positions.shape, dtype=torch.float32)
        for index, weights in self.head_mean(chosen):
            total += weights.sum(dim=1)
            if not itself:
                diagonal = weights.gather(2, index.clamp(min=0)[:, :, None])[..., 0].masked_fill(
                    index < 0, 0.0
                )  # [B, r]
                total.scatter_add_(1, index.clamp(min=0), -diagonal)
        return total

    def given(self, chosen: Tensor, to: Tensor) -> Tensor:
        """Return the attention [B, T] that each query row in `chosen` gives to the keys in `to`, zero for other rows."""
        total = self.rows.positions.new_zeros(self.rows.positions.shape, dtype=torch.float32)
        for index, weights in self.head_mean(chosen):
            mass = (weights * to[:, None, :]).sum(dim=2).masked_fill(index < 0, 0.0)  # [B, r]
            total.scatter_add_(1, index.clamp(min=0), mass)
        return total
