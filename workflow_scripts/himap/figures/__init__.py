"""The figures, one file each: title, caption, what it reads, its numbers, its panels. Adding a file adds a figure.

Each file ends with `FIGURE = Figure(...)` (`_base.py` describes the fields, docs/templates/figure.py is one to copy).
Its panels (`_panels.py`) are drawn twice from one description: by matplotlib (`_matplotlib.py`) as SVG, PDF and PNG, and
on the report page (`_page.py`), with the words, colors, dashes and markers of `_labels.py`.

The config and the plan import these files each time the workflow is read, so numpy, pandas and matplotlib are
imported inside functions only.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from himap.figures._base import Figure
from himap.registry import import_all, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Figure", "get", "names", "registry"]
NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def registry() -> Mapping[str, Figure]:
    """Return every figure by its file's name, in the order of the page. Raise ValueError for a file without one."""
    figures = {}
    for name in import_all(__name__):
        figure = getattr(import_module(f"{__name__}.{name}"), "FIGURE", None)
        place = f"workflow_scripts/himap/figures/{name}.py"
        if not NAME.fullmatch(name):
            raise ValueError(f"{place}: rename it; a figure's name has small letters, digits and _ alone")
        if not isinstance(figure, Figure):
            raise ValueError(f"{place}: should end with FIGURE = Figure(...), as docs/templates/figure.py does")
        figures[name] = figure
    return dict(sorted(figures.items(), key=lambda item: (item[1].rank, item[0])))


def names() -> list[str]:
    """Return the names of all figures."""
    return list(registry())


def get(name: str) -> Figure:
    """Return a figure. Raise ValueError, with the nearest known name, if there is none."""
    if name not in registry():
        raise unknown("figure", name, registry())
    return registry()[name]
