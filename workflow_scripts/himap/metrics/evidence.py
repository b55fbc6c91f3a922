"""Recall of evidence: which share of the image tokens that a question is about is still there after a stage.

Only the embedded world knows them. A sample's `evidence` counts the cells of its grid, row by row, so it says something of
models that see a picture as that grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CELLS = 12 * 12  # of the embedded world's pictures


def evidence_kept(kept: NDArray[np.bool_], evidence: Sequence[int]) -> int | None:
    """Return how many tokens of the evidence are kept; None where none is known, or the tokens are not the world's cells."""
    if not evidence or len(kept) != CELLS:
        return None
    return int(kept[list(evidence)].sum())


def recall(kept: NDArray[np.bool_], evidence: Sequence[int]) -> float | None:
    """Return the share of the evidence that is kept, None where `evidence_kept` is."""
    number = evidence_kept(kept, evidence)
    return None if number is None else number / len(evidence)
