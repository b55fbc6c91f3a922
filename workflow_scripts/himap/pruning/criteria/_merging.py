"""Rows in which some tokens are new: what a criterion that merges returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from himap.pruning.criteria import View

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows

BEFORE, AFTER = -0.5, 0.5  # beside a column: where a new token goes


def with_new_tokens(view: View, kept: Sequence[Tensor], new: Sequence[Tensor], places: Sequence[Tensor]) -> Rows:
    """Return the rows with text, the kept image tokens and new ones.

    Per sample: `kept` are columns, `new` hidden states [m, D], and `places` [m] between which columns they go, as in 7.5.
    New tokens count as image tokens and are none of the original ones. Their positions are to be counted again.
    """
    import torch

    from himap.decoder.tokens import IMAGE, PADDING, batch_samples

    samples = []
    for b, (columns, hidden, between) in enumerate(zip(kept, new, places, strict=True)):
        stays = (view.rows.groups[b] != PADDING) & ~view.is_image[b]  # [T]
        stays[columns] = True
        old = stays.nonzero()[:, 0]
        order = torch.cat([old.to(between), between]).argsort(stable=True)
        none = torch.full((len(hidden),), -1, device=old.device)
        parts = (
            (view.rows.hidden, hidden.to(view.rows.hidden)),
            (view.rows.positions, none),
            (view.rows.groups, torch.full_like(none, IMAGE)),
            (view.rows.image_index, none),
        )
        samples.append([torch.cat([part[b, old], more])[order] for part, more in parts])
    return batch_samples(samples)
