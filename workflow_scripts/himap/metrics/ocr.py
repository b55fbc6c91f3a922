"""OCRBench's containment: an answer is right if it contains one of the references."""

from __future__ import annotations

from collections.abc import Iterable

FORMULAS = "HME100k"  # the part whose answers are LaTeX
# Full-width ASCII, U+FF01 to U+FF5E, and the ideographic space
NARROW = {ord("\u3000"): " "} | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}


def ocr_match(prediction: str, references: Iterable[str], dataset: str) -> bool:
    """Return whether the answer contains a reference by the authors' script.

    Formulas are compared with their case and without any space or line break, everything else in lower case with spaces
    for line breaks.
    """
    plain = without_spaces if dataset == FORMULAS else lowered
    return any(plain(reference) in plain(prediction) for reference in references)


def ocr_match_folded(prediction: str, references: Iterable[str], dataset: str) -> bool:
    """Return the same with full-width letters, digits and marks read as ASCII on both sides, as lmms-eval does."""
    return ocr_match(prediction.translate(NARROW), [one.translate(NARROW) for one in references], dataset)


def without_spaces(text: str) -> str:
    """Return a text without its spaces and line breaks."""
    return text.strip().replace("\n", "").replace(" ", "")


def lowered(text: str) -> str:
    """Return a text in lower case on one line."""
    return text.lower().strip().replace("\n", " ")
