"""Layers whose keys and values come from a second source: rows of text look at picture tokens that are no rows themselves.

The picture tokens travel beside the rows (`Rows.memory`). They are projected once for each such layer, no layer changes
them, and dropping some of them leaves all rows of text as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from himap.decoder.attention import LayerAttention, attend, attend_with_zeros
from himap.decoder.tokens import FRAME, PADDING, SYSTEM, Rows

if TYPE_CHECKING:
    from himap.decoder.cache import LayerCache


class CrossLayer(nn.Module):
    """A gated layer of cross-attention, made of the parts of transformers' own layer.

    `blind_see_all`: rows before the first picture look at all keys and skip the feed-forward part, as Mllama has it. Else
    they look at none and skip the attention, as Idefics has it.
    """

    def __init__(
        self, layer: Any, *, norms: tuple[str, str], gates: tuple[str, str], blind_see_all: bool = False
    ) -> None:
        """Take a layer with `cross_attn`, and the names of its norms of queries and keys and of its two gates."""
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm
        self.attention, self.mlp = layer.cross_attn, layer.mlp
        # Idefics has these norms only where its config asks for them
        self.query_norm, self.key_norm = (getattr(self.attention, name, nn.Identity()) for name in norms)
        self.attention_gate, self.mlp_gate = (getattr(layer, name) for name in gates)
        self.scaling: float = self.attention.scaling
        self.blind_see_all = blind_see_all

    def queries(self, normed: Tensor) -> Tensor:
        """Return the queries [B, H, T, d] of normed hidden states [B, T, D]."""
        return self.query_norm(self._heads(self.attention.q_proj(normed))).transpose(1, 2)

    def look_at(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, Hkv, M, d] of picture tokens [B, M, width]."""
        keys, values = (self._heads(part(pictures)) for part in (self.attention.k_proj, self.attention.v_proj))
        return self.key_norm(keys).transpose(1, 2), values.transpose(1, 2)

    def _heads(self, states: Tensor) -> Tensor:
        """Return projected states [B, T, heads * d] by head: [B, T, heads, d]."""
        return states.unflatten(-1, (-1, self.attention.head_dim))

    def sees(self, positions: Tensor, groups: Tensor, pictures: Rows | LayerCache) -> Tensor:
        """Return which keys rows at positions [B, T] and of groups [B, T] look at: [B, T, M]."""
        assert pictures.until is not None
        places = positions[:, :, None]  # [B, T, 1]
        # from the picture's mark on, until before the token at which the next one takes over
        seen = (pictures.positions[:, None, :] <= places) & (places < pictures.until[:, None, :])
        if self.blind_see_all:
            seen = seen | (groups == SYSTEM)[:, :, None]
        return seen & (pictures.groups != PADDING)[:, None, :]

    def finish(self, rows: Rows, attended: Tensor) -> Tensor:
        """Return the layer's output [B, T, D] from the rows that enter it and its attention output [B, H, T, d]."""
        added = self.attention.o_proj(attended.transpose(1, 2).flatten(2))
        hidden = rows.hidden + self.attention_gate.tanh() * added
        added = self.mlp(self.post_attention_layernorm(hidden))
        # transformers' Mllama skips this part for rows that no picture comes before
        if self.blind_see_all:
            added = added.masked_fill((rows.groups == SYSTEM)[..., None], 0.0)
        return hidden + self.mlp_gate.tanh() * added


def look(
    layer: CrossLayer,
    queries: Tensor,
    entry: LayerCache,
    rows: Rows,
    cut: Tensor | None,
    after_softmax: bool,
    kind: str,
) -> Tensor:
    """Return the attention output [B, H, T, d] of rows that look at a cached second source."""
    seen = layer.sees(rows.positions, rows.groups, entry)
    if cut is not None and after_softmax:
        return attend_to_some(queries, entry.keys, entry.values, seen, layer.scaling, kind, cut)
    return attend_to_some(queries, entry.keys, entry.values, seen if cut is None else seen & ~cut, layer.scaling, kind)


def attend_to_some(
    queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float, kind: str, zeros: Tensor | None = None
) -> Tensor:
    """Return attention output [B, H, T, d]; zero for a row that sees no key, as where all picture tokens are cut or dropped."""
    if keys.shape[2] == 0:
        return torch.zeros_like(queries)
    nothing = ~seen.any(dim=2)  # [B, T]
    mask = seen | nothing[:, :, None]  # a softmax over nothing would be NaN
    if zeros is None:
        attended = attend(queries, keys, values, scale=scale, mask=mask, causal=False, kind=kind)
    else:
        attended = attend_with_zeros(queries, keys, values, scale=scale, mask=mask, cut=zeros)
    return attended.masked_fill(nothing[:, None, :, None], 0.0)


@dataclass
class CrossAttention(LayerAttention):
    """Attention of a layer of cross-attention, with tokens counted as in `Rows.joined`: the picture tokens first."""

    layer: CrossLayer | None = None
    columns: Tensor | None = None  # [B, M'] of the picture tokens that are left now, if some were dropped since

    def narrowed(self, rows: Rows) -> CrossAttention:
        """Return the same attention to the picture tokens that are left in `rows`; weights stay what they were."""
        seen, left = self._pictures(), rows.memory
        if left is None or left.positions.shape == seen.positions.shape:
            return self
        # by original index, since columns moved: [B, M, M'] reduced to [B, M]
        stays = (seen.image_index[:, :, None] == left.image_index[:, None, :]).any(dim=2) & (seen.groups != PADDING)
        stays = stays | (seen.groups == FRAME)  # which is never dropped
        first = stays.shape[1] - left.positions.shape[1]
        return replace(
            self, columns=stays.to(torch.int8).argsort(dim=1, stable=True)[:, first:]
        )  # as Rows.select has it

    def head_mean(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield blocks of rows and their weights as for other layers; rows of text have columns behind the pictures'."""
        _, total = self.tokens
        length = self.rows.positions.shape[1]
        # picture tokens ask nothing, so only the columns behind them can be chosen
        for index, weights in super().head_mean(chosen[:, total - length :]):
            if self.columns is not None:
                weights = weights.gather(2, self.columns[:, None, :].expand(-1, weights.shape[1], -1))
            # rows of text are no keys of this layer: zeros in their columns
            yield torch.where(index < 0, index, index + total - length), F.pad(weights, (0, length))

    def _seen(self, index: Tensor) -> Tensor:
        rows, pictures = self.rows, self._pictures()
        assert self.layer is not None
        return self.layer.sees(rows.positions.gather(1, index), rows.groups.gather(1, index), pictures)

    def _pictures(self) -> Rows:
        assert self.rows.memory is not None
        return self.rows.memory

    @property
    def tokens(self) -> tuple[int, int]:
        """Return how many samples there are, and how many tokens each has in the columns of a result."""
        pictures = self.keys.shape[2] if self.columns is None else self.columns.shape[1]
        return self.rows.positions.shape[0], pictures + self.rows.positions.shape[1]
