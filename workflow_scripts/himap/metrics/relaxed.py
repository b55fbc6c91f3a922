"""ChartQA's relaxed accuracy: numbers within five percent of the target, other answers literally."""

from __future__ import annotations

TOLERANCE = 0.05


def as_number(text: str) -> float | None:
    """The number a string is, a trailing percent sign dividing by 100; None for all else, '1,000' and '$5' too."""
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_match(prediction: str, target: str) -> bool:
    """Within five percent of a target that is a number other than zero, else equal but for case."""
    given, wanted = as_number(prediction), as_number(target)
    if given is not None and wanted:
        return abs(given - wanted) / abs(wanted) <= TOLERANCE
    return prediction.lower() == target.lower()
