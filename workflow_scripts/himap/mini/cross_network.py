"""The training forward pass of the mini model with cross-attention, by the parts of transformers' own class.

Each row of questions stands behind the system sentences with a mask of its own, as in `network`, and looks at its picture
in the layers of cross-attention. Letters in shapes are those of `network`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from himap.mini import checkpoint

TOWER = "vision_model"  # the part of a parameter's name that tells the tower's


def initialize(model: Any) -> None:
    """Start every block silent but its gates open, and attention as looking for tokens that are like the one that looks."""
    for layer in model.model.language_model.layers:
        is_cross = hasattr(layer, "cross_attn")
        attention = layer.cross_attn if is_cross else layer.self_attn
        torch.nn.init.normal_(attention.q_proj.weight, std=0.06)
        # Equal matrices: a query matches the keys of tokens that are like its own (see `network.initialize`).
        attention.k_proj.weight.data.copy_(attention.q_proj.weight.data)
        torch.nn.init.zeros_(attention.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        # A closed gate before a silent block would never learn: each one's gradient has the other as factor.
        if is_cross:
            torch.nn.init.ones_(layer.cross_attn_attn_gate)
            torch.nn.init.ones_(layer.cross_attn_mlp_gate)


class Network:
    """Run packed batches through the weights of a Mllama model of transformers."""

    def __init__(self, model: Any, prefix_ids: list[int], compiled: bool, dtype: torch.dtype = torch.bfloat16):
        self.model, self.dtype = model, dtype
        self.device = next(model.parameters()).device
        self.prefix_ids = torch.tensor(prefix_ids, device=self.device)
        p = len(prefix_ids)
        # [P, P], True where a token is seen.
        self.causal = torch.ones(p, p, dtype=torch.bool, device=self.device).tril()
        # [3, 1, 1], so that they broadcast over pixels [B, 3, 96, 96].
        self.mean, self.deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (checkpoint.MEAN, checkpoint.DEVIATION)
        )
        self.language = model.model.language_model
        self.layers = [torch.compile(layer, dynamic=False) if compiled else layer for layer in self.language.layers]

    def _narrow(self) -> torch.autocast:
        """Return the context in which products are computed in the activations' dtype; weights stay fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def features(self, pixels: Tensor) -> Tensor:
        """Return the tower's states, the class token first: uint8 [B, 96, 96, 3] to [B, 145, 2 D]."""
        # Done here and not by the processor: batches hold raw bytes, a quarter of the size of floats.
        scaled = (pixels.to(self.device).permute(0, 3, 1, 2).float() / 255 - self.mean) / self.deviation
        ones = torch.ones(len(pixels), 1, dtype=torch.long, device=self.device)  # the only aspect ratio, the only tile
        with self._narrow():
            output = self.model.model.vision_model(
                # Mllama takes [B, pictures, tiles, 3, H, W]; here one of each.
                pixel_values=scaled[:, None, None],
                aspect_ratio_ids=ones,
                aspect_ratio_mask=ones[..., None],
            )
        # 2 D: the last layer's states beside those of an earlier one (cross_checkpoint.EARLIER).
        return output.last_hidden_state[:, 0, 0]

    def cells(self, tokens: Tensor) -> Tensor:
        """Return the tokens that show a cell."""
        return tokens[:, 1:]  # the class token is first and shows no cell

    def project(self, features: Tensor) -> Tensor:
        """Return the picture's tokens as the decoder sees them."""
        with self._narrow():
            return self.model.model.multi_modal_projector(features)

    def decode(self, image_tokens: Tensor, ids: Tensor, positions: Tensor, turn: Tensor) -> list[Tensor]:
        """Return the hidden states of the rows after every layer: [B*R, T, D] each."""
        # Unlike in `network`, each row carries its own copy of the prefix: here it is text alone, and short.
        n, t = ids.shape
        p = len(self.prefix_ids)
        embed = self.language.embed_tokens.weight
        hidden = F.embedding(torch.cat((self.prefix_ids.expand(n, -1), ids), 1), embed)
        places = torch.cat((torch.arange(p, device=ids.device).expand(n, -1), positions), 1)
        same = turn[:, :, None] == turn[:, None, :]  # padding sees padding, which no loss reads
        own = same & torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        # The prefix sees itself causally, a row all of the prefix and its own turns: [B*R, P+T, P+T].
        allowed = torch.zeros(n, p + t, p + t, dtype=torch.bool, device=ids.device)
        allowed[:, :p, :p], allowed[:, p:, :p], allowed[:, p:, p:] = self.causal, True, own
        # Additive, [B*R, 1, P+T, P+T].
        mask = torch.zeros(allowed.shape, device=ids.device).masked_fill(~allowed, float("-inf"))[:, None]
        pictures = image_tokens.repeat_interleave(n // len(image_tokens), 0)  # R rows in turn look at one picture
        # Without a mask, the class's attention to the picture would be causal.
        sees_all = torch.zeros(1, 1, 1, pictures.shape[1], device=ids.device).expand(n, 1, p + t, -1)
        states = []
        with self._narrow():
            rope = self.language.rotary_emb(hidden, position_ids=places)
            for layer in self.layers:
                hidden = layer(
                    hidden, cross_attention_states=pictures, cross_attention_mask=sees_all.to(self.dtype),
                    attention_mask=mask.to(self.dtype), full_text_row_masked_out_mask=None, position_embeddings=rope,
                    use_cache=False,
                )  # fmt: skip
                states.append(hidden[:, p:])  # the prefix has no targets
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply final norm and head to chosen positions; the head has the weights of the embedding: [N, D] to [N, vocabulary]."""
        # Mllama's embedding has rows beyond the vocabulary (for the picture's mark), which cannot be answers.
        head = self.language.embed_tokens.weight[: self.model.config.text_config.vocab_size]
        with self._narrow():
            return (self.language.norm(hidden) @ head.t()).float()
