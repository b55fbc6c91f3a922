"""SparseVLM (arXiv 2410.04417, version 1.5): attention from words that the picture is about; dropped tokens are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._merging import AFTER, with_new_tokens
from himap.pruning.criteria._vectors import descending, full

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows

RECYCLED, PER_CLUSTER = 0.3, 10  # the share of the dropped tokens that is merged, and how many of them into one


@criterion(needs_attention=True, merges=True)
def sparsevlm(view: View) -> Rows:
    """Mean attention received from the raters, the words most like the picture; the best of the dropped tokens are merged."""
    scores = view.below.received(raters(view))  # [B, T]; a sum ranks as the mean does
    kept, new, places = [], [], []
    for b, columns, _ in view.samples():
        keep, clusters = shares(len(columns), view.counts[b])
        order = descending(scores[b, columns])
        recycled = order[keep : keep + recycled_of(len(columns) - keep)]
        kept.append(columns[order[:keep]])
        new.append(merged(full(view.rows.hidden[b, columns[recycled]]), clusters))
        places.append(columns[-1:].expand(len(new[-1])) + AFTER)
    return with_new_tokens(view, kept, new, places)


def raters(view: View) -> Tensor:
    """Return which rows [B, T] are tokens of text that resemble the picture more than the mean of the text, as embedded."""
    import torch

    from himap.decoder.tokens import IMAGE, INSTRUCTION

    mask = torch.zeros_like(view.is_image)
    for b, groups in enumerate(view.prompt.groups):
        states = full(view.prompt.hidden[b])
        likeness = (states[groups == IMAGE] @ states[groups == INSTRUCTION].T).softmax(dim=1).mean(dim=0)  # [n]
        text = view.is_instruction[b].nonzero()[
            :, 0
        ]  # the same tokens in the same order, perhaps with an answer's after them
        mask[b, text[: len(likeness)][likeness > likeness.mean()]] = True
    return mask


def recycled_of(dropped: int) -> int:
    """Return how many of some dropped tokens are merged instead."""
    return int(RECYCLED * dropped) + 1 if dropped else 0


def clusters_of(dropped: int) -> int:
    """Return into how many tokens the best of some dropped tokens are merged."""
    return recycled_of(dropped) // PER_CLUSTER + 1 if dropped else 0


def shares(total: int, count: int) -> tuple[int, int]:
    """Return how many of `total` tokens are kept and how many are made by merging, so that `count` go on."""
    # the release states kept tokens; a stage states what goes on, so that a schedule says what each layer costs
    keep = next((keep for keep in range(count, 0, -1) if keep + clusters_of(total - keep) <= count), 0)
    return keep, min(count - keep, clusters_of(total - keep))


def merged(states: Tensor, clusters: int) -> Tensor:
    """Return the mean of each cluster of states [m, D], around dense tokens that are far from denser ones (DPC-KNN)."""
    import torch

    if clusters == 0 or len(states) == 0:
        return states[:0]
    distance = torch.cdist(states, states) / states.shape[1] ** 0.5  # [m, m]
    # as many neighbors as there are clusters; the nearest is the token itself, at distance 0
    near = distance.topk(min(clusters, len(states)), dim=1, largest=False).values
    # logarithms: densities of long vectors are zero in fp32, where the release decides by the noise that it adds against ties
    density = -near.square().mean(dim=1)  # [m]
    denser = density[None, :] > density[:, None]  # [m, m]
    isolation = distance.masked_fill(~denser, float("inf")).amin(dim=1)
    # the densest token has no denser one and counts as the most isolated
    isolation = torch.where(denser.any(dim=1), isolation, distance.max())
    centers = descending(isolation.log() + density)[:clusters]
    nearest = distance[:, centers].argmin(dim=1)  # [m]
    # of two equal tokens that are both centers, argmin would give both to the first and leave the other empty
    nearest[centers] = torch.arange(len(centers), device=centers.device)
    sums = states.new_zeros(len(centers), states.shape[1]).index_add_(0, nearest, states)
    return sums / torch.bincount(nearest, minlength=len(centers))[:, None]
