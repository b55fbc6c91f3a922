"""Read what papers on pruning print for LLaVA-1.5-7B at equal budgets, from rivals.yaml: often several values for one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from himap.paper.published import LOADER

FILE = Path(__file__).with_name("rivals.yaml")
ORDER = ("own", "rerun", "reprint")  # whose value stands first
AGREE = {"mme": 20.0}  # values that differ by more are disputed; in points of percent where nothing is said
POINTS = 1.0


@dataclass(frozen=True)
class Printed:
    """A value of a cell, and where it is printed."""

    value: float
    source: str  # a title, as "VisionZip"
    kind: str  # one of ORDER


@cache
def published() -> Mapping[str, Any]:
    """Return the whole file."""
    return yaml.load(FILE.read_text(encoding="utf-8"), Loader=LOADER)


def printed(method: str, share: float, benchmark: str) -> list[Printed]:
    """Return what is printed for a method that keeps a share of the image tokens, the method's own paper first."""
    whole = published()
    values = [
        Printed(float(row["scores"][benchmark]), whole["sources"][row["source"]]["title"], row["kind"])
        for row in whole["rows"]
        # Rounded, since a third of 576 tokens is a float.
        if row["method"] == method and row["tokens"] == round(share * whole["tokens"]) and benchmark in row["scores"]
    ]
    return sorted(values, key=lambda value: ORDER.index(value.kind))


def is_disputed(values: list[Printed], benchmark: str) -> bool:
    """Return whether values of one cell are too far from each other to be one result."""
    numbers = [value.value for value in values]
    return bool(numbers) and max(numbers) - min(numbers) > AGREE.get(benchmark, POINTS)
