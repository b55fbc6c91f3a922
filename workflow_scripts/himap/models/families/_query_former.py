"""InstructBLIP's small encoder as layers of the one loop: queries and the question see each other, and queries look at the picture.

Each layer of the encoder is one or two here: self-attention of all rows, then cross-attention of the queries where it has
one. Queries take the part that the instruction has in a decoder: they are the rows that ask the picture.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from himap.decoder.cross import CrossLayer
from himap.decoder.tokens import IMAGE, INSTRUCTION, SYSTEM, Rows
from himap.models.model import Model, Reader
from himap.models.sizes import Dims


class Projections(nn.Module):
    """An attention of BERT under the names that the loop knows."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        attention = part.attention
        self.q_proj, self.k_proj, self.v_proj = attention.query, attention.key, attention.value
        self.o_proj, self.norm = part.output.dense, part.output.LayerNorm
        self.head_dim: int = attention.attention_head_size
        self.scaling: float = attention.scaling

    def add(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Return hidden states [B, T, D] with attention output [B, H, T, d] added and then normed."""
        return self.norm(self.o_proj(attended.transpose(1, 2).flatten(2)) + hidden)


class FeedForward(nn.Module):
    """A feed-forward part of BERT, with its norm after the sum."""

    def __init__(self, intermediate: Any, output: Any) -> None:
        super().__init__()
        self.intermediate, self.output = intermediate, output

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the output [B, T, D] of hidden states."""
        return self.output(self.intermediate(hidden), hidden)


class SelfLayer(nn.Module):
    """Self-attention of queries and question, and the feed-forward parts of those whose layer ends with it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        # BERT norms after each sum, and not what enters a part
        self.input_layernorm = nn.Identity()
        self.self_attn = Projections(layer.attention)
        self.text = FeedForward(layer.intermediate, layer.output)
        # Where cross-attention follows, the queries' feed-forward part comes after that, in `QueryLayer`.
        self.queries = None if layer.has_cross_attention else FeedForward(layer.intermediate_query, layer.output_query)

    def finish(self, rows: Rows, attended: Tensor) -> Tensor:
        """Return the layer's output [B, T, D] from the rows that enter it and its attention output [B, H, T, d]."""
        hidden = self.self_attn.add(rows.hidden, attended)
        asking = hidden if self.queries is None else self.queries(hidden)
        return torch.where(is_query(rows), asking, self.text(hidden))


class QueryLayer(CrossLayer):
    """Cross-attention of the queries to the picture; the question passes by."""

    def __init__(self, layer: Any) -> None:
        # CrossLayer's own takes parts that this layer does not have: gates and norms of queries and keys
        nn.Module.__init__(self)
        self.input_layernorm = self.query_norm = self.key_norm = nn.Identity()
        self.attention = Projections(layer.crossattention)
        self.mlp = FeedForward(layer.intermediate_query, layer.output_query)
        self.scaling = self.attention.scaling
        self.blind_see_all = False

    def finish(self, rows: Rows, attended: Tensor) -> Tensor:
        """Return the layer's output [B, T, D] from the rows that enter it and its attention output [B, H, T, d]."""
        return torch.where(is_query(rows), self.mlp(self.attention.add(rows.hidden, attended)), rows.hidden)


def is_query(rows: Rows) -> Tensor:
    """Return which rows are queries [B, T, 1]."""
    return (rows.groups == INSTRUCTION)[..., None]


def reader_of(module: Any, name: str) -> Reader:
    """Return the encoder of an InstructBLIP as a model of its own."""
    encoder, config = module.qformer, module.config.qformer_config
    layers: list[nn.Module] = []
    for layer in encoder.encoder.layer:
        layers.append(SelfLayer(layer))
        if layer.has_cross_attention:
            layers.append(QueryLayer(layer))
    head_dim = config.hidden_size // config.num_attention_heads
    side = module.config.vision_config.image_size // module.config.vision_config.patch_size
    dims = Dims(
        layers=len(layers), width=config.hidden_size, heads=config.num_attention_heads, kv_heads=config.num_attention_heads,
        head_dim=head_dim, ffn=config.intermediate_size, vocab=config.vocab_size, tokens_per_image=side * side + 1,
        cross=tuple(number for number, layer in enumerate(layers) if isinstance(layer, QueryLayer)),
        picture_width=config.encoder_hidden_size,
    )  # fmt: skip

    def no_rotation(hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        # cos = 1 and sin = 0 rotate nothing: BERT adds its positions to the embeddings
        ones = hidden.new_ones(*positions.shape, head_dim)
        return ones, torch.zeros_like(ones)

    model = Model(
        name=f"{name} (query former)", family="instructblip", dims=dims, module=encoder, embed_tokens=None, layers=layers,
        norm=nn.Identity(), rotary=no_rotation, head=None, image_token_id=-1, end_ids=frozenset(), encode_images=_no_pictures,
    )  # fmt: skip

    @torch.no_grad()
    def rows(pixels: Tensor, question: Tensor) -> Rows:
        """Return the rows of a picture [1, 3, H, W] and the ids [1, L] of a question."""
        seen = module.vision_model(pixel_values=pixels).last_hidden_state  # [1, class token and patches, width]
        hidden = encoder.embeddings(input_ids=question, query_embeds=module.query_tokens)  # [1, queries and L, D]
        return _rows(hidden, seen, module.query_tokens.shape[1])

    return Reader(model, rows, module.language_projection)


def _rows(hidden: Tensor, seen: Tensor, queries: int) -> Rows:
    """Return rows that all see each other, and the picture that the first of them, the queries, look at."""
    places = torch.arange(hidden.shape[1], device=hidden.device)[None]
    groups = torch.where(places < queries, INSTRUCTION, SYSTEM)
    keys = torch.arange(seen.shape[1], device=seen.device)[None]
    memory = Rows(
        seen,
        torch.zeros_like(keys),
        torch.full_like(keys, IMAGE),
        keys,
        dense=True,
        # from position 0 until that of the first token of the question, so that the queries alone look
        until=torch.full_like(keys, queries),
    )
    # one run of all rows, which lets them see each other both ways
    run = torch.zeros_like(places)
    return Rows(hidden, places, groups, torch.full_like(places, -1), dense=True, run=run, memory=memory)


def _no_pictures(pixels: Any) -> Any:
    """Raise ValueError: this encoder's pictures come with a question."""
    raise ValueError("a query former reads a picture together with a question; call Reader.rows")
