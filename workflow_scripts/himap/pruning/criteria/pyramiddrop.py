"""PyramidDrop (arXiv 2410.17247): the last prompt token's attention in the layer that is about to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False, amounts=True)
def pyramiddrop(view: View) -> Tensor:
    """Attention received from the last token of the prompt in this very layer, whose queries and keys are computed ahead."""
    last = view.is_image.new_zeros(view.is_image.shape)
    last[:, -1] = True  # batches are padded on the left, so every prompt ends in the last column
    return view.own_attention().received(last)
