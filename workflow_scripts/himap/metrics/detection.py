"""Accuracy, precision, recall, F1 and yes-ratio of yes/no answers, from counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def confusion(answers: Any, truth: Any) -> np.ndarray:
    """Return one row of 0 and 1 per sample: TP, FP, FN, TN, answered yes, and always 1, so that sums count samples."""
    import numpy as np

    answers, truth = np.asarray(answers, dtype=object), np.asarray(truth, dtype=object)
    yes, no, true = answers == "yes", answers == "no", truth == "yes"  # an unreadable answer is neither
    cells = [yes & true, yes & ~true, no & true, no & ~true, yes, np.ones(len(answers), dtype=bool)]
    return np.stack(cells, axis=1).astype(np.float64)  # [n, 6]


def f1(counts: Any) -> Any:
    """Return F1 in percent from sums whose last axis begins with TP, FP, FN; 0 where nothing is positive."""
    import numpy as np

    tp, fp, fn = counts[..., 0], counts[..., 1], counts[..., 2]
    # 2 P R / (P + R) in counts, which needs no case for an empty precision or recall.
    whole = 2 * tp + fp + fn
    return 100.0 * np.divide(2 * tp, whole, out=np.zeros_like(tp), where=whole > 0)


def rates(counts: Any) -> dict[str, float]:
    """Return all five measures in percent from the column sums of `confusion`."""
    tp, fp, fn, tn, yes, n = map(float, counts)
    return {
        "f1": float(f1(counts)),
        "accuracy": share(tp + tn, n),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "yes_ratio": share(yes, n),
    }


def share(part: float, whole: float) -> float:
    """Return a part in percent of a whole, 0 where the whole is 0."""
    return 100.0 * part / whole if whole else 0.0
