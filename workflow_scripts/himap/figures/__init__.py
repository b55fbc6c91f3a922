"""The figures, one file each: title, caption, what it reads, its numbers, its panels. Adding a file adds a figure.

Each file ends with `FIGURE = Figure(...)` (`_base.py` describes the fields, docs/templates/figure.py is one to copy).
Those of open questions end with `question_figure(...)` (`_questions.py`), which reads the question's rows.
Its panels (`_panels.py`) are drawn twice from one description: by matplotlib (`_matplotlib.py`) as SVG, PDF and PNG, and
on the report page (`_page.py`), with the words, colors, dashes and markers of `_labels.py`.

The config and the plan import these files each time the workflow is read, so numpy, pandas and matplotlib are
imported inside functions only.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from himap.figures._base import Figure
from himap.registry import declared, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Figure", "get", "names", "registry"]


@cache
def registry() -> Mapping[str, Figure]:
    """Return every figure by its file's name, in the order of the page. Raise ValueError for a file without one."""
    entries = declared(__name__, "FIGURE", Figure)
    return dict(sorted(entries.items(), key=lambda item: (item[1].rank, item[0])))


def names() -> list[str]:
    """Return the names of all figures."""
    return list(registry())


def get(name: str) -> Figure:
    """Return a figure. Raise ValueError, with the nearest known name, if there is none."""
    if name not in registry():
        raise unknown("figure", name, registry())
    return registry()[name]
