"""CDPruner (arXiv 2506.10967): a determinantal point process over the projected features, weighted by the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria.divprune import cosines

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False, needs_tower=True, needs_text=True)
def cdpruner(view: View) -> Tensor:
    """The set of tokens whose features span most, where those that matter to the question count more (by CLIP's text tower)."""
    picked = []
    for b, columns, index in view.samples():
        weights = relevance(view.pictures.likeness(b))[index]  # [n]
        kernel = weights[:, None] * likeness(view.rows.hidden[b, columns]) * weights
        picked.append(columns[most_likely(kernel, view.counts[b])])
    return view.chosen(picked)


@criterion(needs_attention=False)
def dpp(view: View) -> Tensor:
    """CDPruner without its condition on the question: the set of tokens whose features span most; no text tower is needed."""
    return view.chosen([
        columns[most_likely(likeness(view.rows.hidden[b, columns]), view.counts[b])] for b, columns, _ in view.samples()
    ])  # fmt: skip


def relevance(cosine: Tensor) -> Tensor:
    """Return how much each token matters, near 0 to 1, from its cosine [n] with the question: the least like it matters most."""
    import torch

    # CLIP's patches are least like the words for what they show, which the release knows and turns around.
    values = -cosine.float()
    low, high = values.aminmax()
    # Where all are alike none matters more; the release would divide by zero.
    return (values - low + 1e-6) / (high - low) if high > low else torch.ones_like(values)


def likeness(states: Tensor) -> Tensor:
    """Return the cosine of every two of some vectors [n, D]: [n, n]."""
    # exact ones: else rounding, and with it the device, would decide which token is the first
    return cosines(states).fill_diagonal_(1.0)


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
        # chosen tokens are out; clamping above would have put them back to 0, equal to used-up ones
        gain[torch.stack(chosen)] = float("-inf")
    return torch.stack(chosen) if chosen else torch.zeros(0, dtype=torch.long, device=weights.device)
