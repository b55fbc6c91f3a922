"""CDPruner (arXiv 2506.10967): a determinantal point process over the projected features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria.divprune import cosines

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False)
def dpp(view: View) -> Tensor:
    """CDPruner without its condition on the question: the set of tokens whose features span most; no text tower is needed."""
    picked = []
    for b, columns, _ in view.samples():
        # exact ones: else rounding, and with it the device, would decide which token is the first
        likeness = cosines(view.rows.hidden[b, columns]).fill_diagonal_(1.0)
        picked.append(columns[most_likely(likeness, view.counts[b])])
    return view.chosen(picked)


def most_likely(weights: Tensor, count: int) -> Tensor:
    """Return `count` of n tokens of a kernel [n, n], each the one that adds most to the determinant (a Cholesky step each)."""
    import torch

    gain = weights.diagonal().clone()  # [n] what a token would multiply the determinant by
    noise = 4 * torch.finfo(gain.dtype).eps * gain  # [n]
    steps = weights.new_zeros(min(count, len(weights)), len(weights))  # [T, n]
    chosen: list[Tensor] = []
    for step in range(len(steps)):
        best = gain.argmax()
        chosen.append(best)
        row = weights[best] - steps[:step, best] @ steps[:step]
        # beyond the rank of the features gains are noise around zero, and a division by their root would make infinities
        steps[step] = torch.where(gain[best] > noise[best], row / gain[best].clamp(min=0).sqrt(), 0)
        gain = (gain - steps[step].square()).clamp(min=0)
        gain[torch.stack(chosen)] = float("-inf")
    return torch.stack(chosen) if chosen else torch.zeros(0, dtype=torch.long, device=weights.device)
