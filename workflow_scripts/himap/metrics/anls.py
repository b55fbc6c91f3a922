"""Average normalized Levenshtein similarity (ANLS), DocVQA's metric."""

from __future__ import annotations

from collections.abc import Sequence

THRESHOLD = 0.5  # the official tau: an answer less similar than half counts as another answer, not as a misread one


def anls(prediction: str, references: Sequence[str]) -> float:
    """Return the similarity to the closest reference, 0 where it is below one half."""
    from rapidfuzz.distance import Levenshtein

    answer = simplify(prediction)
    # The official script compares simplified texts but divides by the length of the raw ones, in upper case, where a
    # letter such as ß is two.
    distances = (
        Levenshtein.distance(simplify(reference), answer) / longest
        if (longest := max(len(reference.upper()), len(prediction.upper())))
        else 0.0
        for reference in references
    )
    similarity = 1 - min(distances)
    return similarity if similarity >= THRESHOLD else 0.0


def simplify(text: str) -> str:
    """Return a text in lower case, with single spaces and none at its ends."""
    return " ".join(text.lower().split())
