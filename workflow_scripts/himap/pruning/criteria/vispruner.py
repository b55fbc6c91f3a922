"""VisPruner (arXiv 2412.01818v2): half of the tokens by the class token's attention, half unlike each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._vectors import descending, unit
from himap.pruning.criteria.fastervlm import class_attention

if TYPE_CHECKING:
    from torch import Tensor

IMPORTANT = 0.5  # the share that is chosen by attention, the released default
ROUND = 8  # tokens dropped between two sorts


@criterion(needs_attention=False, needs_tower=True)
def vispruner(view: View) -> Tensor:
    """Half of the tokens by the class token's attention, the other half by dropping likenesses among the rest, 8 at a time."""
    picked = []
    for b, columns, index in view.samples():
        tower = view.tower(b)
        features = tower.hidden.flatten(0, 1)[index]  # [n, C]
        picked.append(columns[choose(class_attention(tower)[index], features, view.counts[b])])
    return view.chosen(picked)


def choose(attention: Tensor, features: Tensor, count: int) -> Tensor:
    """Return which `count` of n tokens stay, from their attention [n] and their features [n, C]."""
    import torch

    important = int(count * IMPORTANT)
    order = descending(attention)
    left = diverse(order[important:], unit(features), count - important)
    return torch.cat([order[:important], left])


def diverse(left: Tensor, features: Tensor, count: int) -> Tensor:
    """Drop tokens of an ordered list until `count` are left: those at even places that resemble one at an odd place most."""
    import torch

    if count == 0:
        return left[:0]
    while len(left) > count:
        drop = min(ROUND, len(left) - count)
        even, odd = left[::2], left[1::2]  # with an odd number the last token is compared too, which the release cannot
        likeness = (features[even] @ features[odd].T).amax(dim=1)  # [len(even)]
        # what stays does so in the order of its likeness, which decides who is compared with whom in the next round
        left = torch.cat([even[descending(likeness)][drop:], odd])
    return left
