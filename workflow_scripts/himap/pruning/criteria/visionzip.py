"""VisionZip (arXiv 2412.04467): tokens that the class token attends to stay, the others are merged by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._merging import AFTER, BEFORE, with_new_tokens
from himap.pruning.criteria._vectors import descending, full, unit
from himap.pruning.criteria.fastervlm import class_attention

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows

MERGED = 10 / 64  # the share of merged tokens: 30, 20 and 10 of 192, 128 and 64


@criterion(needs_attention=False, needs_tower=True, merges=True, at_input=True)
def visionzip(view: View) -> Rows:
    """The class token, the tokens that it attends to most, and the others merged by their keys; at layer 0 alone."""
    import torch

    kept, new, places = [], [], []
    for b, columns, _ in view.samples():
        tower, count = view.tower(b), view.counts[b]
        pictures = len(tower.hidden)
        merged = int(count * MERGED + 0.5)
        class_tokens = min(pictures, count - merged)  # each picture's class token counts as one of the dominant tokens
        attention, hidden = class_attention(tower), full(tower.hidden.flatten(0, 1))  # [n], [n, C]
        dominant, others = split(attention, count - merged - class_tokens)
        targets, values = merge(hidden, tower.keys.flatten(0, 1), others, merged)
        kept.append(columns[dominant])
        made = torch.cat([full(tower.class_hidden[:class_tokens]), values]).to(tower.hidden)
        new.append(tower.project(made))
        first_columns = columns[:: tower.tokens_per_picture][:class_tokens]
        places.append(torch.cat([first_columns + BEFORE, columns[-1:].expand(len(targets)) + AFTER]))
    return with_new_tokens(view, kept, new, places)


def split(attention: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the `count` tokens with the highest attention [n], and those of the others, both ascending."""
    order = descending(attention)
    return order[:count].sort().values, order[count:].sort().values


def merge(hidden: Tensor, keys: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Merge the tokens `others` of hidden states [n, C] into `count` of them by their keys [n, d].

    Return the targets, evenly spaced among the others, and their new hidden states: their own plus the mean of those that
    resemble them most.
    """
    import torch

    # every step-th one, cut to `count` where the division leaves a rest
    step = max(1, len(others) // max(1, count))
    is_target = torch.zeros(len(others), dtype=torch.bool, device=others.device)
    is_target[::step][:count] = True
    targets, rest = others[is_target], others[~is_target]
    values = hidden[targets]
    if len(targets) and len(rest):
        likeness = unit(keys[rest]) @ unit(keys[targets]).T  # [len(rest), count]
        nearest = likeness.argmax(dim=1)
        sums = torch.zeros_like(values).index_add_(0, nearest, hidden[rest])
        # a target that nothing resembles gets a mean of zero and not 0 / 0
        sizes = torch.bincount(nearest, minlength=len(targets)).clamp(min=1)[:, None]
        values = values + sums / sizes  # a sum of two vectors, as released, although the paper averages
    return targets, values
