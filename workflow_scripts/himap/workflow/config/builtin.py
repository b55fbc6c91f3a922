"""The methods and tables that every config starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.pruning.resolve import load_all as library_methods
from himap.tables.builtin import METHODS


def builtin_methods() -> dict[str, Mapping[str, Any]]:
    """The library's methods and those that only the tables need."""
    return {**library_methods(), **METHODS}
