"""Attention of one layer: the kernels of the loop, and the few rows that an intervention asks to see.

Nothing here ever holds the whole map of all heads: rows are recomputed from queries and keys, a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from himap.decoder.half import is_slow
from himap.decoder.tokens import PADDING, Rows

KINDS = ("sdpa", "flash", "eager")
BLOCK_ELEMENTS = 1 << 23  # attention weights held at a time when rows are recomputed: 32 MB in fp32


def share_heads(states: Tensor, heads: int) -> Tensor:
    """Repeat key or value heads [B, Hkv, T, d] until there is one per query head (grouped-query attention)."""
    repeats = heads // states.shape[1]
    return states if repeats == 1 else states.repeat_interleave(repeats, dim=1)


def visible(query_rows: Rows, key_positions: Tensor, key_groups: Tensor, window: int | None = None) -> Tensor:
    """Return which keys each query may see [B, Tq, Tk]: real tokens at or before it; padding queries see all, to stay finite.

    The last keys are the queries' own. Image tokens of one run see each other both ways, and a `window` hides what lies
    that many places or more behind.
    """
    return _visible(
        query_rows.positions, query_rows.run, query_rows.groups == PADDING, key_positions, query_rows.run,
        key_groups != PADDING, window,
    )  # fmt: skip


def _visible(
    query_positions: Tensor, query_run: Tensor | None, absent: Tensor, key_positions: Tensor, key_run: Tensor | None,
    real: Tensor, window: int | None,
) -> Tensor:  # fmt: skip
    """Return the pairs [B, Tq, Tk] that the rules of `visible` allow, from parts of queries [B, Tq] and keys [B, Tk]."""
    seen = query_positions[:, :, None] >= key_positions[:, None, :]
    if query_run is not None and key_run is not None:
        earlier = key_positions.shape[1] - key_run.shape[1]  # keys of a cache, which no run reaches into
        run = F.pad(key_run, (earlier, 0), value=-1)
        seen = seen | ((query_run[:, :, None] == run[:, None, :]) & (query_run >= 0)[:, :, None])
    if window is not None:
        seen = seen & (query_positions[:, :, None] - key_positions[:, None, :] < window)
    return (seen & real[:, None, :]) | absent[:, :, None]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, scale: float, mask: Tensor | None, causal: bool, kind: str
) -> Tensor:
    """Attention output [B, H, Tq, d]; `mask` [B, Tq, Tk] says what is seen, None with `causal` is the plain prefill."""
    if is_slow(queries):
        wide = (states.float() for states in (queries, keys, values))
        return attend(*wide, scale=scale, mask=mask, causal=causal, kind=kind).to(queries.dtype)
    keys, values = share_heads(keys, queries.shape[1]), share_heads(values, queries.shape[1])
    if kind == "eager":
        if mask is None and causal:
            # a plain prefill has as many keys as queries, so the triangle starts at the corner
            mask = torch.ones(queries.shape[2], keys.shape[2], dtype=torch.bool, device=queries.device).tril()[None]
        weights = attention_weights(queries, keys, scale, mask)  # fp32, whatever the values are in
        return weights.to(values.dtype) @ values
    seen = None if mask is None else mask[:, None]
    if kind == "flash" and seen is None:
        # Only this kernel, or an error: it takes no mask, and with one torch chooses another by itself.
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(queries, keys, values, is_causal=causal, scale=scale)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal, scale=scale)


def attend_unpadded(
    queries: Tensor, keys: Tensor, values: Tensor, padding: Tensor, *, scale: float, kind: str
) -> Tensor:
    """Attention output of a plain prefill whose samples begin with `padding` [B] columns, zero there: [B, H, T, d]."""
    # Without a mask: a masked kernel computes every pair, and a batch would take longer than its samples one by one.
    attended = queries.new_zeros(*queries.shape[:3], values.shape[3])
    begin = 0
    # neighbors that begin with the same padding go through the kernel together
    for start, alike in groupby(padding.tolist()):
        end = begin + len(list(alike))
        part = (slice(begin, end), slice(None), slice(start, None))
        attended[part] = attend(queries[part], keys[part], values[part], scale=scale, mask=None, causal=True, kind=kind)
        begin = end
    return attended


def attend_with_zeros(
    queries: Tensor, keys: Tensor, values: Tensor, *, scale: float, mask: Tensor, cut: Tensor
) -> Tensor:
    """Attention whose weights are set to zero at `cut` [B, Tq, Tk] after the softmax, as the paper writes it (A = 0)."""
    keys, values = share_heads(keys, queries.shape[1]), share_heads(values, queries.shape[1])
    weights = attention_weights(queries, keys, scale, mask).masked_fill(cut[:, None], 0.0)
    return weights.to(values.dtype) @ values


def attention_weights(queries: Tensor, keys: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Post-softmax weights [B, H, Tq, Tk] in fp32; the keys have as many heads as the queries."""
    scores = (queries @ keys.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], float("-inf"))
    return scores.softmax(dim=-1)


@dataclass
class LayerAttention:
    """Queries and keys of one layer's prefill, from which chosen rows of its attention map are recomputed."""

    queries: Tensor  # [B, H, T, d]
    keys: Tensor  # [B, Hkv, T, d]
    scale: float
    rows: Rows  # the tokens that asked and were asked
    cut: Tensor | None = None  # [B, T, T] pairs that an intervention blocked
    after_softmax: bool = False  # whether they lost their weight after the softmax, so that the others kept theirs
    window: int | None = None  # how far behind its tokens see, if not to the start

    def head_mean(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For the query rows in `chosen` [B, T]: blocks of (row index [B, r] or -1 where absent, weights [B, r, T])."""
        count = int(chosen.sum(dim=1).max())
        if count == 0:
            return
        # the chosen rows first, in their order; where a sample has fewer, others follow and are marked absent
        order = chosen.to(torch.int8).argsort(dim=1, stable=True, descending=True)[:, :count]  # [B, R]
        index = order.masked_fill(~chosen.gather(1, order), -1)
        keys = share_heads(self.keys, self.queries.shape[1])
        batch, heads, length, _ = keys.shape
        step = max(1, BLOCK_ELEMENTS // (batch * heads * length))  # rows per block
        for begin in range(0, count, step):
            yield index[:, begin : begin + step], self._block(index[:, begin : begin + step], keys)

    def _block(self, index: Tensor, keys: Tensor) -> Tensor:
        """Head-mean weights of the rows `index` [B, r], zero where absent: [B, r, T]."""
        safe = index.clamp(min=0)
        asked = self.queries.gather(2, safe[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[3]))
        seen = self._seen(safe)
        cut = None if self.cut is None else self.cut.gather(1, safe[:, :, None].expand(-1, -1, self.cut.shape[2]))
        if cut is not None and not self.after_softmax:
            seen = seen & ~cut
        nothing = ~seen.any(dim=2) | (index < 0)  # [B, r]; a softmax over no key would be NaN
        weights = attention_weights(asked, keys, self.scale, seen | nothing[:, :, None]).mean(dim=1)  # [B, r, T]
        if cut is not None and self.after_softmax:
            weights = weights.masked_fill(cut, 0.0)
        return weights.masked_fill(nothing[:, :, None], 0.0)

    def _seen(self, index: Tensor) -> Tensor:
        """Return which keys the rows `index` [B, r] may see: [B, r, T]."""
        rows = self.rows
        run = None if rows.run is None else rows.run.gather(1, index)
        return _visible(
            rows.positions.gather(1, index), run, torch.zeros_like(index, dtype=torch.bool), rows.positions, rows.run,
            rows.groups != PADDING, self.window,
        )  # fmt: skip

    @property
    def tokens(self) -> tuple[int, int]:
        """Return how many samples there are, and how many tokens each has in the columns of a result."""
        batch, length = self.rows.positions.shape
        return batch, length

    def seen_by(self, chosen: Tensor) -> Tensor:
        """Return how many of the query rows in `chosen` [B, T] may see each token [B, T]."""
        if self.rows.run is None and self.window is None:  # causal: the chosen rows at or after each column
            return chosen.flip(1).cumsum(1).flip(1)
        pairs = visible(self.rows, self.rows.positions, self.rows.groups, self.window)
        return (pairs & chosen[:, :, None]).sum(dim=1)

    def received(self, chosen: Tensor, *, itself: bool = True) -> Tensor:
        """Attention [B, T] that each token receives, summed over the query rows in `chosen`, from itself too or not."""
        total = self.rows.positions.new_zeros(self.tokens, dtype=torch.float32)
        for index, weights in self.head_mean(chosen):
            total += weights.sum(dim=1)
            if not itself:
                # what each row gave to its own column, taken back
                to_itself = weights.gather(2, index.clamp(min=0)[:, :, None])[..., 0].masked_fill(index < 0, 0.0)
                total.scatter_add_(1, index.clamp(min=0), -to_itself)
        return total

    def given(self, chosen: Tensor, to: Tensor) -> Tensor:
        """Attention [B, T] that each query row in `chosen` gives to the keys in `to`, zero for the other rows."""
        total = self.rows.positions.new_zeros(self.tokens, dtype=torch.float32)
        for index, weights in self.head_mean(chosen):
            mass = (weights * to[:, None, :]).sum(dim=2).masked_fill(index < 0, 0.0)
            total.scatter_add_(1, index.clamp(min=0), mass)
        return total
