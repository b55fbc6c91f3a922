"""What Qwen-VL has that transformers' Qwen2 has not: its vision transformer, the resampler, and its rule beyond the trained length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


def stretched(table: Tensor, rows: int, columns: int) -> Tensor:
    """A square table of positions [side², D] interpolated to [rows · columns, D]; the same size stays as it is."""
    side = math.isqrt(table.shape[0])
    if (rows, columns) == (side, side):
        return table
    picture = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # [1, D, side, side]
    picture = F.interpolate(picture, size=(rows, columns), mode="bicubic", align_corners=False)
    return picture.flatten(2)[0].T.to(table.dtype)


class SelfAttention(nn.Module):
    """Self-attention whose fused projection holds query, key and value of one head after the other."""

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
    """A fixed number of learnt queries, laid out as a square, that read all patches in one cross-attention."""

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
        keys = values + stretched(self.pos_embed, rows, columns)
        queries = (self.ln_q(self.query) + self.pos_embed).expand(patches.shape[0], -1, -1)
        return self.attn(queries, keys, values, need_weights=False)[0]


class VisionTransformer(nn.Module):
    """Pixels to decoder inputs. Parameters carry the names they have in the published checkpoint."""

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
        """Decoder inputs [N, queries, D] of pixels [N, 3, H, W]; fewer for a picture smaller than the trained size."""
        patches = self.conv1(pixels.to(self.conv1.weight))
        rows, columns = patches.shape[2:]
        hidden = patches.flatten(2).transpose(1, 2)  # [N, rows · columns, width]
        hidden = self.ln_pre(hidden + stretched(self.positional_embedding, rows, columns))
        for layer in self.transformer["resblocks"].children():
            hidden = layer(hidden)
        tokens = self.ln_post(self.attn_pool(hidden, rows, columns)) @ self.proj  # [N, queries, D]
        height, width = pixels.shape[2:]
        return tokens if (height, width) == (self.native, self.native) else self._fewer(tokens, height, width)

    def _fewer(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """The square of tokens averaged down in proportion to a smaller picture: the resampler alone always gives all of them."""
        side = math.isqrt(self.queries)
        square = tokens.transpose(1, 2).unflatten(2, (side, side))  # [N, D, side, side]
        size = (max(1, round(height * side / self.native)), max(1, round(width * side / self.native)))
        return F.adaptive_avg_pool2d(square, size).flatten(2).transpose(1, 2)


class Rotary(nn.Module):
    """Rotary angles with Qwen's dynamic NTK: a prompt longer than the trained length is read with a larger base.

    The base is chosen by the prompt, once, and answers keep it: a call with several rows is a prompt, with one row a
    decoding step. `query_scale` [B, T] holds the log-n factors of the positions last asked for.
    """

    def __init__(self, head_dim: int, base: float, trained: int, *, dynamic_ntk: bool, log_n: bool) -> None:
        super().__init__()
        self.head_dim, self.base, self.trained = head_dim, base, trained
        self.dynamic_ntk, self.log_n = dynamic_ntk, log_n
        self.lengths: Tensor | None = None  # [B] of the prompts at hand
        self.query_scale: Tensor | None = None

    @torch.no_grad()
    def forward(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, T, d] at positions [B, T], in the format of the hidden states."""
        if positions.shape[1] > 1 or self.lengths is None:
            self.lengths = positions.max(dim=1).values + 1
        lengths = self.lengths.expand(positions.shape[0]) if self.lengths.shape[0] == 1 else self.lengths
        if lengths.shape[0] != positions.shape[0]:
            lengths = lengths.max().expand(positions.shape[0])
        steps = torch.arange(0, self.head_dim, 2, device=positions.device).float() / self.head_dim
        base = self.base * self._stretch(lengths) ** (self.head_dim / (self.head_dim - 2))  # [B]
        angles = positions[:, :, None].float() * (1.0 / base[:, None] ** steps)[:, None]  # [B, T, d/2]
        angles = torch.cat([angles, angles], dim=-1)
        self.query_scale = self._log_n(positions).to(hidden.dtype)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)

    def _stretch(self, lengths: Tensor) -> Tensor:
        """1 up to the trained length, 3 up to twice it, 7 up to four times it, and so on."""
        if not self.dynamic_ntk:
            return torch.ones_like(lengths, dtype=torch.float)
        return (2 ** torch.ceil(torch.log2(lengths.double() / self.trained) + 1) - 1).clamp(min=1).float()

    def _log_n(self, positions: Tensor) -> Tensor:
        """Factor on a query that sees more tokens than were trained on: the logarithm of their number, to that base."""
        if not self.log_n:
            return torch.ones_like(positions, dtype=torch.float)
        return (torch.log((positions + 1).float().clamp(min=1)) / math.log(self.trained)).clamp(min=1)


class ScaledQueries(nn.Module):
    """Applies the log-n factors; it sits where other decoders normalise their queries."""

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.rotary = [rotary]  # in a list, so that the rotary is not one more sub-module of every layer

    def forward(self, queries: Tensor) -> Tensor:  # [B, T, H, d]
        scale = self.rotary[0].query_scale
        return queries if scale is None else queries * scale[:, :, None, None]
