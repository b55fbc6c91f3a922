"""DivPrune (arXiv 2503.02175): the tokens that are farthest from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._vectors import unit

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False)
def divprune(view: View) -> Tensor:
    """Tokens chosen one by one, each the farthest by cosine from all that are chosen; of the projected features at layer 0."""
    return view.chosen([
        columns[farthest(1 - cosines(view.rows.hidden[b, columns]), view.counts[b])] for b, columns, _ in view.samples()
    ])  # fmt: skip


def cosines(states: Tensor) -> Tensor:
    """Return the cosine of every two of some vectors [n, D]: [n, n]."""
    vectors = unit(states)
    return vectors @ vectors.T


def farthest(distance: Tensor, count: int) -> Tensor:
    """Return `count` of n tokens by their distances [n, n]: first the loneliest, then always the one farthest from the chosen."""
    import torch

    count = min(count, len(distance))
    if len(distance) < 2 or count == 0:
        # a single token has no nearest other one, and topk(2) would fail
        return torch.arange(count, device=distance.device)
    chosen = [
        distance.topk(2, dim=0, largest=False).values[1].argmax()
    ]  # a token's nearest is itself, at the place before
    nearest = distance[chosen[0]].clone()  # [n] distance to the nearest chosen token
    for _ in range(count - 1):
        # a chosen token is out, where the release leaves it at a distance of about 0 and could take a duplicate twice
        nearest[chosen[-1]] = float("-inf")
        chosen.append(nearest.argmax())
        nearest = torch.minimum(nearest, distance[chosen[-1]])
    return torch.stack(chosen)
