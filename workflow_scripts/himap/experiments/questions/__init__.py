"""The open questions beyond the paper, one file each: what is measured on a model. Adding a file adds a question.

Each file ends with `QUESTION = OpenQuestion(...)` (`_base.py` describes the fields), and a file of the same name in
`himap/figures` shows the answer, so `./reproduce <name>` makes both. The config and the plan import these files each time
the workflow is read, so whatever computes lies in modules of `himap/experiments` that are imported inside functions.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion
from himap.registry import declared, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Asked", "OpenQuestion", "get", "names", "registry"]


@cache
def registry() -> Mapping[str, OpenQuestion]:
    """Return every open question by its file's name. Raise ValueError for a file without one."""
    return declared(__name__, "QUESTION", OpenQuestion)


def names() -> list[str]:
    """Return the names of all open questions."""
    return list(registry())


def get(name: str) -> OpenQuestion:
    """Return an open question. Raise ValueError, with the nearest known name, if there is none."""
    if name not in registry():
        raise unknown("open question", name, registry())
    return registry()[name]
