"""DART (arXiv 2502.11494): tokens that duplicate pivots least."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion
from himap.pruning.criteria._vectors import descending, full, unit

if TYPE_CHECKING:
    from torch import Tensor

PIVOTS = 4  # of the image, and as many of the text


@criterion(needs_attention=True, in_sequence=True)
def dart(view: View) -> Tensor:
    """Four image tokens with the longest keys, and of the others those least like them and four tokens of text with long keys."""
    lengths = full(view.below.keys).abs().sum(dim=(1, 3))  # [B, T] over all heads
    # normed by the decoder's last norm before they are compared, as in the release
    states = view.final_norm(view.rows.hidden)  # [B, T, D]
    picked = []
    for b, columns, _ in view.samples():
        text = view.is_instruction[b].nonzero()[:, 0]
        pivots = columns[descending(lengths[b, columns])[:PIVOTS]], text[descending(lengths[b, text])[:PIVOTS]]
        picked.append(choose(unit(states[b]), columns, *pivots, view.rows.positions[b], view.counts[b]))
    return view.chosen(picked)


def choose(
    states: Tensor, columns: Tensor, image_pivots: Tensor, text_pivots: Tensor, positions: Tensor, count: int
) -> Tensor:
    """Return `count` of the image tokens `columns`: the image pivots, and per pivot as many that are least like it.

    `states` [T, D] have length 1; `positions` [T] are places in the prompt.
    """
    import torch

    image_pivots = image_pivots[:count]
    pool = columns[~torch.isin(columns, image_pivots)]
    visits = in_set_order(torch.cat([image_pivots, text_pivots]), positions)
    per, extra = divmod(
        count - len(image_pivots), len(visits)
    )  # the release rounds down and keeps 4 more than a multiple of 8
    chosen = [image_pivots]
    for number, pivot in enumerate(visits):
        likeness = states[pool] @ states[pivot]  # [len(pool)]
        order = likeness.argsort(stable=True)
        take = per + (number < extra)
        chosen.append(pool[order[:take]])
        # back in the order of columns, so that ties fall to the earlier token for the next pivot too
        pool = pool[order[take:].sort().values]
    return torch.cat(chosen)


def in_set_order(pivots: Tensor, positions: Tensor) -> list[int]:
    """Return pivots in the order of the release, which visits a Python set of their positions; that order decides what is left."""
    places = positions[pivots].tolist()
    column_at = dict(zip(places, pivots.tolist(), strict=True))
    return [column_at[position] for position in set(places)]
