"""Numbers as the page writes them."""

from __future__ import annotations

from typing import Any

import pandas as pd

MINUS = "\N{MINUS SIGN}"
FEW = 0.001  # a test whose p value cannot come below this says so


def number(value: Any, places: int = 1, sign: bool = False) -> str:
    """A number with a real minus sign; a dash for what is missing."""
    if value is None or pd.isna(value):
        return "–"
    text = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


def interval(low: Any, high: Any, places: int = 1, sign: bool = False) -> str:
    """A 95 % interval in words."""
    return f"{number(low, places, sign)} to {number(high, places, sign)}"


def p_value(value: float, least: float = 0.0) -> str:
    """Return a p value with two digits that count, and the least possible one where few pictures differ."""
    shown = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    if least == 1:
        return f"{shown}, no answer differs"
    return f"{shown}, least possible {least:.2g}" if least >= FEW else shown


def size(n: float, pictures: float) -> str:
    """Return how many samples there are, and on how many pictures where several share one."""
    return f"n = {int(n)}" + (f" on {int(pictures)} picture{'s' if pictures > 1 else ''}" if pictures < n else "")


def significant(value: float, digits: int = 3) -> str:
    """A number with so many digits that count."""
    return "–" if pd.isna(value) else f"{value:.{digits}g}".replace("-", MINUS)


def flops(tera: float) -> str:
    """A cost in the unit that suits it."""
    return f"{tera:.2f} T" if tera >= 0.1 else f"{1000 * tera:.2f} G"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def listed(words: list[str], most: int = 12) -> str:
    """Words in a row, shortened where there are many."""
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
