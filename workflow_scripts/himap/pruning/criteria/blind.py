"""Criteria that do not look at the content of a token: the baselines that any other criterion has to beat."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.layout import Layout


@criterion(needs_attention=False)
def random(view: View) -> Tensor:
    """A random order of the sample's image tokens, drawn again for each stage and the same in every batch."""
    import torch

    scores = torch.zeros(view.is_image.shape)  # [B, T], on the processor: its generator is the same on every machine
    index = view.rows.image_index.cpu()  # [B, T]
    for b, (seed, total) in enumerate(zip(view.seeds, view.image_tokens, strict=True)):
        # a prime keeps seeds and layers from falling together
        generator = torch.Generator().manual_seed((seed * 1_000_003 + view.layer) % (1 << 63))
        drawn = torch.rand(total, generator=generator)  # for all original tokens, so that earlier drops shift no draw
        scores[b] = drawn[index[b].clamp(min=0)]
    return scores.to(view.is_image.device)


@criterion(needs_attention=False)
def spatial_uniform(view: View) -> Tensor:
    """A regular grid over the picture, in the order of an ordered dither, so that any number of tokens is spread evenly."""
    import torch

    ranks = [torch.tensor([rank for layout in layouts for rank in _ranks(layout)]) for layouts in view.rows.layouts]
    table = torch.nn.utils.rnn.pad_sequence(ranks, batch_first=True).to(view.is_image.device)  # [B, N]
    return -table.gather(1, view.rows.image_index.clamp(min=0))


@cache
def _ranks(layout: Layout) -> list[float]:
    """Return the rank of each of a picture's tokens, one dither per part; a token that shows no place goes first."""
    cells = (cell for part in layout.parts for cell in part.cells())
    return [1.0 if cell is None else _dither(*cell) for cell in cells]


def _dither(y: int, x: int) -> float:
    """Return a cell's rank in a Bayer matrix: the bits of y xor x and of y, interleaved and reversed."""
    rank, weight = 0.0, 1.0
    for bit in range(12):  # 4096 cells a side, more than any picture has
        weight /= 4
        rank += weight * (2 * (((x ^ y) >> bit) & 1) + ((y >> bit) & 1))
    return rank
