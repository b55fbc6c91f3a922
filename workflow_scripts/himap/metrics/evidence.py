"""Recall of evidence: which share of the image tokens that a question is about is still there after a stage.

Only the embedded world knows them. A sample's `evidence` counts the cells of its grid, row by row; where a model's tokens
are these cells, they are found through the layout of its picture, since some models have other tokens before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from himap.decoder.layout import Layout

GRID = (12, 12)  # cells of the embedded world's pictures


def tokens_about(evidence: Sequence[int], layout: Layout) -> list[int] | None:
    """Return the image tokens that show these cells; None where none is known, or the tokens are not the world's cells."""
    if not evidence or layout.grid != GRID or not layout.shows_places:
        return None
    tokens = layout.tokens_at(GRID).reshape(GRID[0] * GRID[1], -1)[list(evidence)]  # [cells, parts]
    return sorted(set(tokens[tokens >= 0].tolist()))  # -1: no token of that part shows the cell


def among(kept: NDArray[np.bool_], evidence: Sequence[int], layout: Layout) -> list[int] | None:
    """Return what `tokens_about` does for the only picture of a prompt, None if it has several."""
    # A layout is about one picture; with several pictures `kept` is longer than its tokens.
    return tokens_about(evidence, layout) if len(kept) == index(layout) else None


def evidence_kept(kept: NDArray[np.bool_], evidence: Sequence[int], layout: Layout) -> int | None:
    """Return how many tokens of the evidence are kept, None where `among` is."""
    tokens = among(kept, evidence, layout)
    return None if tokens is None else int(kept[tokens].sum())


def recall(kept: NDArray[np.bool_], evidence: Sequence[int], layout: Layout) -> float | None:
    """Return the share of the evidence that is kept, None where `among` is."""
    tokens = among(kept, evidence, layout)
    return float(kept[tokens].mean()) if tokens else None
