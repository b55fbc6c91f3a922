"""Average normalised Levenshtein similarity, DocVQA's metric."""

from __future__ import annotations

from collections.abc import Sequence

THRESHOLD = 0.5


def anls(prediction: str, references: Sequence[str]) -> float:
    """Similarity to the closest reference, 0 below one half; lengths are those of the raw upper-cased strings."""
    from rapidfuzz.distance import Levenshtein

    given = flat(prediction)
    distances = (
        Levenshtein.distance(flat(reference), given) / longest
        if (longest := max(len(reference.upper()), len(prediction.upper())))
        else 0.0
        for reference in references
    )
    similarity = 1 - min(distances)
    return similarity if similarity >= THRESHOLD else 0.0


def flat(text: str) -> str:
    """Lower case, single spaces, nothing at the ends."""
    return " ".join(text.lower().split())
