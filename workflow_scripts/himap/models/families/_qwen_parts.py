"""The parts of Qwen-VL that transformers' Qwen2 lacks: vision transformer, resampler, and rotary positions for long prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


def interpolate_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """Return a square table of position embeddings [side², D], interpolated to [rows · columns, D]."""
    side = math.isqrt(table.shape[0])
    if (rows, columns) == (side, side):
        return table
    picture = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # [1, D, side, side]
    picture = F.interpolate(picture, size=(rows, columns), mode="bicubic", align_corners=False)
    return picture.flatten(2)[0].T.to(table.dtype)


class SelfAttention(nn.Module):
    """Self-attention with one fused projection: query, key and value of the first head, then of the second, and so on."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:  # [N, T, D]
        fused = self.in_proj(hidden).unflatten(-1, (self.heads, 3, -1))  # [N, T, H, 3, d]
        queries, keys, values = fused.permute(3, 0, 2, 1, 4)  # each [N, H, T, d]
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class VisionLayer(nn.Module):
    """One pre-norm layer of the vision transformer."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=EPSILON)
        self.ln_2 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = SelfAttention(width, heads)
        inner = int(width * mlp_ratio)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, hidden: Tensor) -> Tensor:  # [N, T, D]
        hidden = hidden + self.attn(self.ln_1(hidden))
        return hidden + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(hidden))))


class Resampler(nn.Module):
    """A fixed number of learned queries, laid out as a square, that read all patches in one cross-attention."""

    def __init__(self, queries: int, width: int, patch_width: int) -> None:
        super().__init__()
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", torch.empty(queries, width))
        self.query = nn.Parameter(torch.empty(queries, width))
        self.kv_proj = nn.Identity() if patch_width == width else nn.Linear(patch_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, max(1, width // 128), batch_first=True)
        self.ln_q = nn.LayerNorm(width, eps=EPSILON)
        self.ln_kv = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, patches: Tensor, rows: int, columns: int) -> Tensor:  # [N, rows · columns, P] -> [N, queries, D]
        values = self.ln_kv(self.kv_proj(patches))
        keys = values + interpolate_positions(self.pos_embed, rows, columns)
        queries = (self.ln_q(self.query) + self.pos_embed).expand(patches.shape[0], -1, -1)
        return self.attn(queries, keys, values, need_weights=False)[0]


class VisionTransformer(nn.Module):
    """The vision transformer, from pixels to decoder inputs. Parameter names are those of the published checkpoint."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, out, patch = config["width"], config["output_dim"], config["patch_size"]
        self.native = config["image_size"]
        self.queries = config.get("n_queries", 256)
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(256, width))
        self.ln_pre = nn.LayerNorm(width, eps=EPSILON)
        layers = [VisionLayer(width, config["heads"], config["mlp_ratio"]) for _ in range(config["layers"])]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(layers)})
        self.attn_pool = Resampler(self.queries, out, width)
        self.ln_post = nn.LayerNorm(out, eps=EPSILON)
        self.proj = nn.Parameter(torch.empty(out, out))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return decoder inputs [N, queries, D] of pixels [N, 3, H, W]; fewer for a picture below the trained size."""
        patches = self.conv1(pixels.to(self.conv1.weight))  # [N, width, rows, columns]
        rows, columns = patches.shape[2:]
        hidden = patches.flatten(2).transpose(1, 2)  # [N, rows · columns, width]
        hidden = self.ln_pre(hidden + interpolate_positions(self.positional_embedding, rows, columns))
        for layer in self.transformer["resblocks"].children():
            hidden = layer(hidden)
        tokens = self.ln_post(self.attn_pool(hidden, rows, columns)) @ self.proj  # [N, queries, D]
        height, width = pixels.shape[2:]
        return tokens if (height, width) == (self.native, self.native) else self._average(tokens, height, width)

    def _average(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Return fewer tokens for a smaller picture, averaged over neighbors."""
        # The resampler gives all 256 tokens for a picture of any size, so the method `downsample` would save nothing.
        side = math.isqrt(self.queries)
        square = tokens.transpose(1, 2).unflatten(2, (side, side))  # [N, D, side, side]
        size = (max(1, round(height * side / self.native)), max(1, round(width * side / self.native)))
        return F.adaptive_avg_pool2d(square, size).flatten(2).transpose(1, 2)


class Rotary(nn.Module):
    """Rotary angles with Qwen's dynamic NTK: prompts longer than the trained length use a larger base.

    The prompt's length decides the base, and the answer's tokens keep it. A call with several rows is a prompt, a call
    with one row a decoding step. `query_scale` [B, T] has the log-n factors of the positions of the latest call.
    """

    def __init__(self, head_dim: int, base: float, trained: int, *, dynamic_ntk: bool, log_n: bool) -> None:
        super().__init__()
        self.head_dim, self.base, self.trained = head_dim, base, trained
        self.dynamic_ntk, self.log_n = dynamic_ntk, log_n
        self.lengths: Tensor | None = None  # [B] of the present prompts
        self.query_scale: Tensor | None = None  # read by ScaledQueries

    @torch.no_grad()
    def forward(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [B, T, d] at positions [B, T], in the number format of the hidden states."""
        if positions.shape[1] > 1 or self.lengths is None:
            self.lengths = positions.max(dim=1).values + 1
        # A disruption sweep repeats one prompt many times in a batch; its single length then applies to all of them.
        lengths = self.lengths.expand(positions.shape[0]) if self.lengths.shape[0] == 1 else self.lengths
        if lengths.shape[0] != positions.shape[0]:
            lengths = lengths.max().expand(positions.shape[0])
        exponents = torch.arange(0, self.head_dim, 2, device=positions.device).float() / self.head_dim  # [d/2]
        base = self.base * self._stretch(lengths) ** (self.head_dim / (self.head_dim - 2))  # [B]
        angles = positions[:, :, None].float() * (1.0 / base[:, None] ** exponents)[:, None]  # [B, T, d/2]
        angles = torch.cat([angles, angles], dim=-1)
        self.query_scale = self._log_n(positions).to(hidden.dtype)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)

    def _stretch(self, lengths: Tensor) -> Tensor:
        """Return the stretch of each prompt: 1 up to the trained length, 3 up to twice it, 7 up to four times, and so on."""
        if not self.dynamic_ntk:
            return torch.ones_like(lengths, dtype=torch.float)
        return (2 ** torch.ceil(torch.log2(lengths.double() / self.trained) + 1) - 1).clamp(min=1).float()

    def _log_n(self, positions: Tensor) -> Tensor:
        """Return the factor on each query [B, T]: log(tokens it sees) / log(trained length), but at least 1."""
        if not self.log_n:
            return torch.ones_like(positions, dtype=torch.float)
        return (torch.log((positions + 1).float().clamp(min=1)) / math.log(self.trained)).clamp(min=1)


class ScaledQueries(nn.Module):
    """Apply the log-n factors. It takes the place of the query norm of other decoders, which the loop calls."""

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.rotary = [rotary]  # in a list, so that torch does not register the rotary as a sub-module of every layer

    def forward(self, queries: Tensor) -> Tensor:  # [B, T, H, d]
        scale = self.rotary[0].query_scale
        # queries may be those of the last columns alone
        return queries if scale is None else queries * scale[:, -queries.shape[1] :, None, None]
