"""FasterVLM (arXiv 2412.01818): the attention of the vision tower's class token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._vectors import full

if TYPE_CHECKING:
    from torch import Tensor

    from himap.models.tower import Tower


def class_attention(tower: Tower) -> Tensor:
    """Return the attention [tokens] that a prompt's image tokens get from their picture's class token, averaged over heads."""
    # [N, H, n] to [N * n], the pictures of a prompt one after another as in its image index
    return tower.class_attention.mean(dim=1).flatten()


@criterion(needs_attention=False, needs_tower=True, amounts=True)
def fastervlm(view: View) -> Tensor:
    """Attention received from the class token in the tower layer that the projector reads, averaged over heads."""
    import torch

    scores = torch.zeros(view.is_image.shape, device=view.is_image.device)  # [B, T]
    for b, columns, index in view.samples():
        scores[b, columns] = full(class_attention(view.tower(b)))[index].to(scores)
    return scores
