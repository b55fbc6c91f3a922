"""What "Attention Debiasing for Token Pruning" (arXiv 2508.17807) does to a score: no padding, less weight for late tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor

DECAY = 1.07  # the mean of the ten that the release fitted to HiMAP's scores, one per benchmark (0.85 to 1.30)
PADDED = 0.5  # a token with more padding than this has no score


@criterion(needs_attention=True, amounts=True)
def instruction_attention_reweighted(view: View) -> Tensor:
    """Attention received from instruction tokens, less for late tokens, and none for padding."""
    import torch

    scores = view.below.received(view.is_instruction)  # [B, T]
    for b, columns, index in view.samples():
        place = index / max(1, view.image_tokens[b] - 1)  # 0 at the first image token, 1 at the last
        padded = view.pictures.padding[b].to(scores.device)[index] > PADDED
        scores[b, columns] *= torch.exp(-DECAY * place) * ~padded
    return scores
