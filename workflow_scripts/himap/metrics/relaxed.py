"""ChartQA's relaxed accuracy: numbers may be off by five percent of the target, other answers must be equal."""

from __future__ import annotations

TOLERANCE = 0.05  # of the target, as ChartQA's authors set it


def as_number(text: str) -> float | None:
    """Return the number that a text is, divided by 100 if it ends in '%'; None for anything else, '1,000' and '$5' too."""
    try:
        # Without stripping spaces first, though `float` itself forgives those at the ends of "5".
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_match(prediction: str, target: str) -> bool:
    """Return whether an answer is within five percent of a target number other than zero, or else equal but for case."""
    answer, expected = as_number(prediction), as_number(target)
    if answer is not None and expected:  # no share of a target of zero exists: then the texts are compared
        return abs(answer - expected) / abs(expected) <= TOLERANCE
    return prediction.lower() == target.lower()
