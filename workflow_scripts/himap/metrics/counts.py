"""Counts in answers: digits, or words up to twenty."""

from __future__ import annotations

import re

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
         "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")  # fmt: skip
VALUES = {word: number for number, word in enumerate(WORDS)} | {"none": 0}
DIGITS = re.compile(r"\d+")


def count_of(text: str) -> int | None:
    """Return the number that an answer is, without case, outer space and final period; None if it is more than a number."""
    plain = text.strip().lower().removesuffix(".").strip()
    if plain in VALUES:
        return VALUES[plain]
    # In ASCII alone: `\d` and `int` would also take the digits of other scripts.
    return int(plain) if re.fullmatch(r"[+-]?\d+", plain, re.ASCII) else None


def first_count(text: str) -> int | None:
    """Return the number that an answer is, or else the first whole number in it; None if it holds none."""
    number, digits = count_of(text), DIGITS.search(text)
    return int(digits.group()) if number is None and digits else number
