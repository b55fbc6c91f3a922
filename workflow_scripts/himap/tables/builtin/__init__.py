"""Built-in tables, one YAML file each: a file added here is a table that every config has and may replace key by key.

A file holds the keys of a table in the config, and `rank`, its place among the tables; without a rank it comes after the
others, by its name.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from himap.yaml_files import read_mapping

LAST = 100  # the rank of a table that states none, as a benchmark's


def load_all() -> dict[str, dict[str, Any]]:
    """Return the built-in tables by name, in the paper's order, with the keys that a config knows."""
    return deepcopy(_read_all())


@cache
def _read_all() -> dict[str, dict[str, Any]]:
    tables = {path.stem: read_mapping(path) for path in Path(__file__).parent.glob("*.yaml")}
    order = sorted(tables, key=lambda name: (tables[name].get("rank", LAST), name))
    return {name: {key: value for key, value in tables[name].items() if key != "rank"} for name in order}
