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

    rows, samples = view.rows, []
    for b, (columns, hidden, between) in enumerate(zip(kept, new, places, strict=True)):
        # all text, and of the image tokens only the kept ones
        stays = (rows.groups[b] != PADDING) & ~view.is_image[b]  # [T]
        stays[columns] = True
        old = stays.nonzero()[:, 0]  # columns
        # halves such as 7.5 fall between columns 7 and 8; stable, so that new tokens at one place keep their order
        order = torch.cat([old.to(between), between]).argsort(stable=True)
        none = torch.full((len(hidden),), -1, device=old.device)
        made = {
            "hidden": hidden.to(rows.hidden),
            "positions": none,
            "groups": torch.full_like(none, IMAGE),
            "image_index": none,
        }
        if rows.run is not None:  # of the image token beside it, so that they see each other
            left, right = between.floor().clamp(min=0).long(), between.ceil().long()
            made["run"] = rows.run[b, torch.where(view.is_image[b, left], left, right)]
        samples.append({name: torch.cat([getattr(rows, name)[b, old], more])[order] for name, more in made.items()})
    return batch_samples(samples, rows)
