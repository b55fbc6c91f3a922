"""The training forward pass, which processes a picture and its system sentences once for all questions about it.

Every question sees the prefix (system and image tokens) and itself, with positions that restart after the image: exactly
what it would see alone. The attention is written out, because at this size and on a CPU that is several times faster than
the fused kernels; it is compiled where there is a compiler.

Letters in shapes: B pictures, P tokens of a prefix, R rows per picture, T tokens of a row, D width, h width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from himap.mini import checkpoint

TOWER = "vision_tower"  # the part of a parameter's name that tells the tower's


def rope_table(head_dim: int, theta: float, length: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary position embedding: [length, head_dim / 2] each."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)  # [head_dim / 2]
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    """Apply Llama's RMS norm, with the mean square in fp32."""
    # 1e-6: Llama's epsilon, as in checkpoint.configuration.
    scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)
    return (x * scale.to(x.dtype)) * weight


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary position embedding to the halves of each head."""
    # Llama of transformers pairs element i with i + head_dim / 2, not with its neighbor.
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _project(x: Tensor, weights: list[Tensor], cos: Tensor, sin: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (scaled), keys and values: [N, heads, T, h] each."""
    n, t, width = x.shape
    # One product for queries, keys and values: [N, T, 3 D].
    normed = _norm(x, weights[0])
    q, k, v = (
        F.linear(normed, torch.cat(weights[1:4])).view(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    )
    return _rotate(q, cos, sin) * (width // heads) ** -0.5, _rotate(k, cos, sin), v


def _finish(x: Tensor, attended: Tensor, weights: list[Tensor]) -> Tensor:
    """Apply output projection and feed-forward block, each added to the residual."""
    x = x + F.linear(attended.transpose(1, 2).reshape(x.shape), weights[4])  # [N, heads, T, h] back to [N, T, D]
    gate, up = F.linear(_norm(x, weights[5]), torch.cat(weights[6:8])).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, weights[8])


def decoder_layer(
    weights: list[Tensor],
    prefix: Tensor,
    rows: Tensor,
    rope: tuple[Tensor, ...],
    causal: Tensor,
    own: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Run one Llama layer over prefix [B, P, D] and rows [B*R, T, D]; return both.

    Rows see their picture's prefix and what the additive mask `own` [B*R, 1, T, T] leaves of themselves.
    """
    # Cast where they are used: the weights themselves stay fp32.
    weights = [weight.to(prefix.dtype) for weight in weights]
    b, _, d = prefix.shape
    r, t = rows.shape[0] // b, rows.shape[1]
    h = d // heads
    q, k, v = _project(prefix, weights, rope[0], rope[1], heads)
    q_rows, k_rows, v_rows = _project(rows, weights, rope[2], rope[3], heads)
    attended = torch.softmax((q @ k.transpose(-1, -2)).float() + causal, -1).to(v.dtype) @ v  # [B, heads, P, h]
    # The queries of all rows of a picture lie side by side, so that the prefix's keys are read once and never repeated.
    flat = q_rows.view(b, r, heads, t, h).transpose(1, 2).reshape(b, heads, r * t, h)
    to_prefix = flat @ k.transpose(-1, -2)  # [B, heads, R*T, P]
    to_own = (q_rows @ k_rows.transpose(-1, -2)).float() + own  # [B*R, heads, T, T]
    to_own = to_own.view(b, r, heads, t, t).transpose(1, 2).reshape(b, heads, r * t, t)
    # One softmax over both parts without joining them: exponentials under a common maximum, divided by their common sum.
    # [B, heads, R*T, 1]
    peak = torch.maximum(to_prefix.amax(-1, keepdim=True).float(), to_own.amax(-1, keepdim=True)).detach()
    # fp32: in bf16 the sums would be off.
    e_prefix, e_own = torch.exp(to_prefix.float() - peak), torch.exp(to_own - peak)
    share = 1 / (e_prefix.sum(-1, keepdim=True) + e_own.sum(-1, keepdim=True))
    from_prefix = (e_prefix * share).to(v.dtype) @ v  # [B, heads, R*T, h]
    weights_own = (e_own * share).to(v.dtype).view(b, heads, r, t, t).transpose(1, 2).reshape(b * r, heads, t, t)
    attended_rows = (
        from_prefix.view(b, heads, r, t, h).transpose(1, 2).reshape(b * r, heads, t, h) + weights_own @ v_rows
    )
    return _finish(prefix, attended, weights), _finish(rows, attended_rows, weights)


def layer_weights(layer: Any) -> list[Tensor]:
    """Return the nine matrices and vectors of a Llama layer in the order in which `decoder_layer` reads them."""
    attention, mlp = layer.self_attn, layer.mlp
    return [
        layer.input_layernorm.weight,
        attention.q_proj.weight,
        attention.k_proj.weight,
        attention.v_proj.weight,
        attention.o_proj.weight,
        layer.post_attention_layernorm.weight,
        mlp.gate_proj.weight,
        mlp.up_proj.weight,
        mlp.down_proj.weight,
    ]


def _layer_norm(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Apply CLIP's layer norm in fp32."""
    return F.layer_norm(x.float(), x.shape[-1:], weights[0].float(), weights[1].float(), 1e-5).to(x.dtype)


def tower_layer(weights: list[Tensor], x: Tensor, heads: int) -> Tensor:
    """Run one CLIP layer over [B, 145, D]: the class token and 144 patches."""
    weights = [weight.to(x.dtype) for weight in weights]
    b, t, d = x.shape
    joined = F.linear(_layer_norm(x, weights[0:2]), torch.cat(weights[2:5]), torch.cat(weights[5:8]))  # [B, 145, 3 D]
    q, k, v = joined.view(b, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4).unbind(0)
    attended = torch.softmax((q * (d // heads) ** -0.5 @ k.transpose(-1, -2)).float(), -1).to(v.dtype) @ v
    x = x + F.linear(attended.transpose(1, 2).reshape(b, t, d), weights[8], weights[9])
    inner = F.linear(_layer_norm(x, weights[10:12]), weights[12], weights[13])
    # CLIP's quick approximation of GELU.
    return x + F.linear(inner * torch.sigmoid(1.702 * inner), weights[14], weights[15])


def tower_weights(layer: Any) -> list[Tensor]:
    """Return the weights and biases of a CLIP layer in the order in which `tower_layer` reads them."""
    attention = layer.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    pairs = (attention.out_proj, layer.layer_norm2, layer.mlp.fc1, layer.mlp.fc2)
    return [
        *(layer.layer_norm1.weight, layer.layer_norm1.bias),
        *(projection.weight for projection in projections),
        *(projection.bias for projection in projections),
        *(tensor for module in pairs for tensor in (module.weight, module.bias)),
    ]


def initialize(model: Any) -> None:
    """Start every decoder block silent, and its attention as looking for tokens that are like the one that looks.

    Queries and keys begin with the same matrix: with tied embeddings and the alignment loss, the word "ring" then
    looks at the image tokens that show rings before anything is learned (compare mimetic initialization).
    """
    for layer in model.model.language_model.layers:
        torch.nn.init.normal_(layer.self_attn.q_proj.weight, std=0.06)
        layer.self_attn.k_proj.weight.data.copy_(layer.self_attn.q_proj.weight.data)
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)


class Network:
    """Run packed batches through the weights of a LLaVA model of transformers."""

    def __init__(self, model: Any, prefix_ids: list[int], compiled: bool, dtype: torch.dtype = torch.bfloat16):
        self.model = model
        self.device = next(model.parameters()).device
        text = model.config.text_config
        self.heads = text.num_attention_heads
        self.dtype = dtype  # of the activations; weights and moments stay fp32
        self.image_id = model.config.image_token_index
        self.prefix_ids = torch.tensor(prefix_ids, device=self.device)
        # [POSITIONS, h / 2] each.
        cos, sin = rope_table(text.head_dim, checkpoint.ROPE_THETA, text.max_position_embeddings)
        self.cos, self.sin = cos.to(self.device, self.dtype), sin.to(self.device, self.dtype)
        p = len(prefix_ids)
        # Additive [P, P]: -inf above the diagonal.
        self.causal = torch.full((p, p), float("-inf"), device=self.device).triu(1)
        # One function for all layers, called with their weights, so that it is compiled once.
        self.layer = torch.compile(decoder_layer, dynamic=False) if compiled else decoder_layer
        self.tower_layer = torch.compile(tower_layer, dynamic=False) if compiled else tower_layer
        self.mean, self.deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (checkpoint.MEAN, checkpoint.DEVIATION)
        )

    def features(self, pixels: Tensor) -> Tensor:
        """Return the tower's last hidden state without the class token: uint8 [B, 96, 96, 3] to [B, 144, D]."""
        tower = self.model.model.vision_tower
        scaled = (pixels.to(self.device).permute(0, 3, 1, 2).float() / 255 - self.mean) / self.deviation
        side, patch = scaled.shape[-1] // tower.config.patch_size, tower.config.patch_size
        patches = scaled.unflatten(2, (side, patch)).unflatten(4, (side, patch))  # [B, 3, side, patch, side, patch]
        # A patch's pixels in the order of the convolution's weights, channel first: [B, 144, 3 * 8 * 8].
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), side * side, -1).to(self.dtype)
        embeddings = tower.embeddings
        cells = F.linear(patches, embeddings.patch_embedding.weight.flatten(1).to(self.dtype))
        first = embeddings.class_embedding.to(self.dtype).expand(len(pixels), 1, -1)  # [B, 1, D]
        x = torch.cat((first, cells), 1) + embeddings.position_embedding.weight.to(self.dtype)
        x = _layer_norm(x, [tower.pre_layrnorm.weight, tower.pre_layrnorm.bias])
        for layer in tower.encoder.layers:
            x = self.tower_layer(tower_weights(layer), x, tower.config.num_attention_heads)
        return x[:, 1:]  # no post_layernorm: LLaVA takes hidden states before it

    def cells(self, tokens: Tensor) -> Tensor:
        """Return the tokens that show a cell: here all."""
        return tokens

    def project(self, features: Tensor) -> Tensor:
        """Return the image tokens as the decoder sees them."""
        projector = self.model.model.multi_modal_projector
        for linear in (projector.linear_1, projector.linear_2):
            features = F.linear(features, linear.weight.to(self.dtype), linear.bias.to(self.dtype))
            features = F.gelu(features) if linear is projector.linear_1 else features
        return features

    def decode(self, image_tokens: Tensor, ids: Tensor, positions: Tensor, turn: Tensor) -> list[Tensor]:
        """Return the hidden states of the rows after every layer: [B*R, T, D] each."""
        embed = self.model.model.language_model.embed_tokens.weight
        b = image_tokens.shape[0]
        # The prefix ends with a mark per image token; the tokens themselves take the place of the marks.
        text = self.prefix_ids[: len(self.prefix_ids) - image_tokens.shape[1]]
        system = F.embedding(text, embed).to(self.dtype).expand(b, -1, -1)
        prefix = torch.cat((system, image_tokens), 1)
        rows = F.embedding(ids, embed).to(self.dtype)
        p = prefix.shape[1]
        # Of the prefix [P, h/2], of the rows [B*R, 1, T, h/2].
        rope = (self.cos[:p], self.sin[:p], self.cos[positions][:, None], self.sin[positions][:, None])
        same = turn[:, :, None] == turn[:, None, :]  # padding sees padding, which no loss reads
        allowed = same & torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        # Additive, [B*R, 1, T, T].
        own = torch.zeros(allowed.shape, device=ids.device).masked_fill(~allowed, float("-inf"))[:, None]
        layers = self.model.model.language_model.layers
        states = []
        for layer in layers:
            prefix, rows = self.layer(layer_weights(layer), prefix, rows, rope, self.causal, own, self.heads)
            states.append(rows)
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply final norm and tied head to chosen positions: [N, D] to [N, vocabulary]."""
        language = self.model.model.language_model
        return (
            _norm(hidden, language.norm.weight.to(hidden.dtype)) @ language.embed_tokens.weight.t().to(hidden.dtype)
        ).float()
