"""Write numbers as text, in two ways: as the page shows them, and `plain` for a table's files.

The files are read by programs too, so they keep the hyphen for a minus and stay empty where a value is missing; the page
has a real minus sign and a dash. Thresholds, digits and units are the same.
"""

from __future__ import annotations

from typing import Any

MINUS = "\N{MINUS SIGN}"
NONE = "–"  # an en dash, for a missing value
FEW = 0.001  # a test whose p value cannot come below this says so
SMALL = 0.1  # TFLOPs; less is written in GFLOPs, or a small model would cost 0.00


def is_missing(value: Any) -> bool:
    """Return whether there is no number: None, or NaN, which alone differs from itself."""
    return value is None or bool(value != value)


def plain_number(value: Any, places: int = 1, sign: bool = False) -> str:
    """Return a number with so many decimal places, nothing for a missing one."""
    if is_missing(value):
        return ""
    return f"{value:{'+' if sign else ''}.{places}f}"


def number(value: Any, places: int = 1, sign: bool = False) -> str:
    """Return a number with a real minus sign and zero without a sign, a dash for a missing one."""
    text = plain_number(value, places, sign)
    if not text:
        return NONE
    # Asked of the text, not of the value: -0.04 with one place is "-0.0", and would be shown with a minus.
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


def interval(low: Any, high: Any, places: int = 1, sign: bool = False) -> str:
    """Return an interval in words; a comma or hyphen would be mistaken for part of a number."""
    return f"{number(low, places, sign)} to {number(high, places, sign)}"


def relation(p: float) -> str:
    """Return a p value with two digits that count and its relation sign."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def plain_p(value: float, least: float = 0.0) -> str:
    """Return a p value without its name, with the least possible one in brackets where few pictures differ."""
    # 1 is the least possible p value only where no answer differs, so that there was nothing to test.
    if least == 1:
        return f"{relation(value)} (no answer differs)"
    return f"{relation(value)} (least possible {least:.2g})" if least >= FEW else relation(value)


def p_value(value: float, least: float = 0.0) -> str:
    """Return a p value with its name, and the least possible one where few pictures differ."""
    if least == 1:
        return f"p {relation(value)}, no answer differs"
    return f"p {relation(value)}, least possible {least:.2g}" if least >= FEW else f"p {relation(value)}"


def plain_size(n: float, pictures: float) -> str:
    """Return how many samples there are, with their pictures in brackets where several share one."""
    return f"{int(n)} ({counted(pictures)})" if pictures < n else str(int(n))


def size(n: float, pictures: float) -> str:
    """Return how many samples there are, and on how many pictures where several share one."""
    return f"n = {int(n)} on {counted(pictures)}" if pictures < n else f"n = {int(n)}"


def counted(pictures: float) -> str:
    """Return a number of pictures in words."""
    return f"{int(pictures)} picture{'' if pictures == 1 else 's'}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many digits that count."""
    return NONE if is_missing(value) else f"{value:.{digits}g}".replace("-", MINUS)


def plain_flops(tera: float) -> str:
    """Return TFLOPs without a unit, as a table's header names it; small costs in GFLOPs, marked G."""
    return f"{tera:.2f}" if tera >= SMALL else f"{1000 * tera:.2f} G"


def flops(tera: float) -> str:
    """Return FLOPs with the prefix that suits them."""
    return f"{plain_flops(tera)} T" if tera >= SMALL else plain_flops(tera)


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    # The next unit begins at about 100 of the smaller one: "99 s" and "100 min" are read more easily than "1.7 min".
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def listed(words: list[str], most: int = 12) -> str:
    """Return words in a row, shortened where there are many."""
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
