"""Criteria that do not look at the content: the baselines that humble many methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False)
def random(view: View) -> Tensor:
    """A random order of the sample's image tokens, drawn anew for each stage, the same in every batch."""
    import torch

    scores = torch.zeros(view.is_image.shape)
    index = view.rows.image_index.cpu()
    for b, (seed, total) in enumerate(zip(view.seeds, view.image_tokens, strict=True)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + view.layer) % (1 << 63))
        drawn = torch.rand(total, generator=generator)
        scores[b] = drawn[index[b].clamp(min=0)]
    return scores.to(view.is_image.device)


@criterion(needs_attention=False)
def spatial_uniform(view: View) -> Tensor:
    """A regular grid over the picture: the order of an ordered dither, so that any number of tokens lies evenly."""
    import torch

    rows, columns = view.grid
    rank = torch.tensor([[_dither(y, x) for x in range(columns)] for y in range(rows)], dtype=torch.float32).flatten()
    place = view.rows.image_index.clamp(min=0) % (rows * columns)
    return -rank.to(view.is_image.device)[place]


def _dither(y: int, x: int) -> float:
    """Rank of a cell in a Bayer matrix as large as any picture: the bits of y xor x and of y, interleaved and reversed."""
    rank, weight = 0.0, 1.0
    for bit in range(12):
        weight /= 4
        rank += weight * (2 * (((x ^ y) >> bit) & 1) + ((y >> bit) & 1))
    return rank
