"""The one loop over decoder layers.

Prefill, decoding and the resumed runs of a disruption sweep are the same call: some rows go through some layers, each
of which adds its keys and values to a cache and attends to all that the cache holds. Layers of cross-attention attend to
a second source instead, picture tokens beside the rows (`himap.decoder.cross`). An empty cache makes it a prefill, a single
row a decoding step, a cache with a prefix a resumed run. Experiments are interventions that the loop consults at each
layer; they can drop rows and cut pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention, attend, attend_unpadded, attend_with_zeros, visible
from himap.decoder.cache import Cache, LayerCache
from himap.decoder.cross import CrossAttention, CrossLayer, look
from himap.decoder.tokens import PADDING, Rows

if TYPE_CHECKING:
    from himap.models.model import Model


class Intervention:
    """What an experiment may do at a layer. The defaults do nothing, so a subclass overrides only what it changes."""

    after_softmax = False  # whether cut pairs lose their weight after the softmax, or before it

    def of(self, samples: Sequence[int]) -> Intervention | None:
        """Return the intervention on only some of the batch's samples, None if it needs the whole batch."""
        return None

    def wants_attention(self, layer: int) -> bool:
        """Return whether `choose` before `layer` needs the attention of the layer below."""
        return False

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        """Return which rows [B, T] go on into `layer`, or None for all of them."""
        return None

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows that `layer` runs on: those that `choose` lets go on, the same object if they are all of them."""
        keep = self.choose(layer, rows, below)
        return rows if keep is None else rows.select(keep)

    def cut(self, layer: int, rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor | None:
        """Return the query-key pairs [B, Tq, Tk] that are blocked in `layer`, or None; never those of a padding query."""
        return None


def project(layer: Any, normed: Tensor, rotary: tuple[Tensor, Tensor], first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries [B, H, T, d], keys and values [B, Hkv, T, d] of normed hidden states [B, T, D], with rotary positions.

    Queries are those of the columns from `first` on.
    """
    attention = layer.self_attn
    heads = (-1, attention.head_dim)
    queries, keys, values = (
        part(states).unflatten(-1, heads)  # [B, T, heads, d]
        for part, states in (
            (attention.q_proj, normed[:, first:]), (attention.k_proj, normed), (attention.v_proj, normed),
        )
    )  # fmt: skip
    if hasattr(attention, "q_norm"):  # Qwen3 norms each head; our Qwen-VL scales its queries there
        # per head and before the rotation: the other order would give other products
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    cos, sin = rotary[0][:, :, None], rotary[1][:, :, None]  # [B, T, 1, d]
    queries, keys = rotate(queries, cos[:, first:], sin[:, first:]), rotate(keys, cos, sin)
    return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions in the half-split layout of transformers' decoders: dimension i pairs with i + d/2."""
    half = states.shape[-1] // 2
    partner = torch.cat((-states[..., half:], states[..., :half]), dim=-1)
    return states * cos + partner * sin


def finish(layer: Any, rows: Rows, attended: Tensor) -> Tensor:
    """Return a layer's output [B, T, D] from the rows that enter it and its attention output [B, H, T, d]."""
    if hasattr(layer, "finish"):  # not a layer of transformers, but one made of such a layer's parts
        return layer.finish(rows, attended)
    hidden = rows.hidden
    added = layer.self_attn.o_proj(attended.transpose(1, 2).flatten(2))  # heads side by side: [B, T, H * d]
    if hasattr(layer, "pre_feedforward_layernorm"):  # Gemma 3 norms what each part adds, under the names of other norms
        hidden = hidden + layer.post_attention_layernorm(added)
        return hidden + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(hidden)))
    hidden = hidden + added
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def forward(
    model: Model,
    rows: Rows,
    cache: Cache,
    interventions: Sequence[Intervention] = (),
    *,
    start: int = 0,
    stop: int | None = None,
    below: LayerAttention | None = None,
    last_column: bool = False,
) -> Rows:
    """Send rows through the layers start … stop-1, add their keys and values to the cache, return the rows that are left.

    `below` is the attention of the layer below, from which interventions rank tokens; a run that is resumed may be given it.
    With `last_column` that column alone leaves the last layer: the next token needs no other, and later tokens need only
    the keys and values of the others. Time and operations are measured without it, since other implementations run all rows.
    """
    angles: dict[int | None, tuple[Tensor, Tensor]] = {}  # by window: layers with one have a table of their own
    stop = len(model.layers) if stop is None else stop
    for index in range(start, stop):
        for intervention in interventions:
            entering = intervention.enter(index, rows, below)
            if entering is not rows:
                rows = entering
                # The columns moved, and positions may be counted again, so the table of angles must follow.
                angles.clear()
                # a cross-attention may lie several layers below, and its map still has the dropped columns
                if isinstance(below, CrossAttention):
                    below = below.narrowed(rows)
        layer = model.layers[index]
        # the layers before which this attention is the last one seen; more than one only below the next cross-attention
        above = model.stages_above(index)
        is_wanted = any(intervention.wants_attention(stage) for stage in above for intervention in interventions)
        first = -1 if last_column and index == stop - 1 and not is_wanted else 0  # column whose output is computed
        queries, entry = _ask(model, index, rows, cache, angles, first)
        # as if the column had been sent alone after the others
        rows = rows.after(first) if first else rows
        cut, after_softmax = _find_cut_pairs(interventions, index, rows, entry)
        attended = _attend(model, index, queries, entry, rows, cut, after_softmax)
        if is_wanted:
            below = _attention(model, index, queries, entry, rows, cut, after_softmax)
        elif above:
            # not kept for later layers, which would take it for the one right below them
            below = None
        rows = rows.with_hidden(finish(layer, rows, attended)).deepened(index)
    return rows


def _ask(
    model: Model, index: int, rows: Rows, cache: Cache, angles: dict[int | None, tuple[Tensor, Tensor]], first: int
) -> tuple[Tensor, LayerCache]:
    """Return a layer's queries [B, H, T, d] of the columns from `first` on, and the cache of the keys and values that they meet."""
    layer, window = model.layers[index], model.window(index)
    normed = layer.input_layernorm(rows.hidden)
    if isinstance(layer, CrossLayer):
        # projected at the first call and not again: a decoding step and a resumed run find them here
        if index not in cache.layers:
            if rows.memory is None:
                raise ValueError(
                    f"layer {index} looks at picture tokens, but these rows have none; make them with Model.embed"
                )
            cache.hold(index, *layer.look_at(rows.memory.hidden), rows.memory)
        return layer.queries(normed[:, first:]), cache.layers[index]
    if window not in angles:
        angles[window] = model.angles(rows, index)
    queries, keys, values = project(layer, normed, angles[window], first)
    return queries, cache.extend(index, keys, values, rows)


def _attention(
    model: Model, index: int, queries: Tensor, entry: LayerCache, rows: Rows, cut: Tensor | None, after_softmax: bool
) -> LayerAttention:
    """Return what interventions may ask about the attention of a layer's prefill."""
    layer, keys = model.layers[index], entry.view()[0]
    if isinstance(layer, CrossLayer):
        return CrossAttention(queries, keys, layer.scaling, rows, cut, after_softmax, layer=layer)
    new = keys[:, :, -queries.shape[2] :]  # the rows' own
    return LayerAttention(queries, new, layer.self_attn.scaling, rows, cut, after_softmax, model.window(index))


def _find_cut_pairs(
    interventions: Sequence[Intervention], layer: int, rows: Rows, entry: LayerCache
) -> tuple[Tensor | None, bool]:
    """Return all pairs [B, Tq, Tk] that the interventions block in this layer, and whether after the softmax."""
    cut, after_softmax = None, False
    _, _, positions, groups = entry.view()
    for intervention in interventions:
        pairs = intervention.cut(layer, rows, positions, groups)
        if pairs is not None:
            cut = pairs if cut is None else cut | pairs
            after_softmax = intervention.after_softmax
    return cut, after_softmax


def _attend(
    model: Model,
    index: int,
    queries: Tensor,
    entry: LayerCache,
    rows: Rows,
    cut: Tensor | None,
    after_softmax: bool,
) -> Tensor:
    """Return the attention output [B, H, Tq, d] by the cheapest kernel that is exact: without a mask where possible."""
    if isinstance(layer := model.layers[index], CrossLayer):
        return look(layer, queries, entry, rows, cut, after_softmax, model.attention)
    keys, values, positions, groups = entry.view()
    scale, window, new = layer.self_attn.scaling, model.window(index), queries.shape[2]
    # Without padding, a plain prefill is causal by column and a single row sees the whole cache: no mask is needed.
    # A window as wide as the prompt hides nothing.
    is_plain = rows.run is None and (window is None or int(rows.positions.max()) < window)
    if cut is None and is_plain and rows.dense and entry.dense and (new == 1 or new == entry.length):
        return attend(queries, keys, values, scale=scale, mask=None, causal=new > 1, kind=model.attention)
    # On a GPU one launch with a mask is cheaper than a launch per sample.
    if cut is None and is_plain and new == entry.length > 1 and queries.device.type == "cpu":
        padding = (rows.groups == PADDING).sum(dim=1)
        return attend_unpadded(queries, keys, values, padding, scale=scale, kind=model.attention)
    mask = visible(rows, positions, groups, window)
    if cut is None:
        return attend(queries, keys, values, scale=scale, mask=mask, causal=False, kind=model.attention)
    if after_softmax:
        return attend_with_zeros(queries, keys, values, scale=scale, mask=mask, cut=cut)
    seen = mask & ~cut
    stranded = ~seen.any(dim=2) & (rows.groups != PADDING)  # [B, Tq]; their softmax would be NaN
    if bool(stranded.any()):
        raise ValueError(
            "a cut before the softmax leaves a token with nothing to attend to: the prompt has no system token before "
            "its first image; use block 'post' or a prompt that begins with a token of text"
        )
    return attend(queries, keys, values, scale=scale, mask=seen, causal=False, kind=model.attention)
