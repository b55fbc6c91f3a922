"""The open questions beyond the paper, one file each: what is measured on a model. Adding a file adds a question.

Each file ends with `QUESTION = OpenQuestion(...)` (`_base.py` describes the fields), and a file of the same name in
`himap/figures` shows the answer, so `./reproduce <name>` makes both. The config and the plan import these files each time
the workflow is read, so whatever computes lies in modules of `himap/experiments` that are imported inside functions.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion
from himap.registry import import_all, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Asked", "OpenQuestion", "get", "names", "registry"]
NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def registry() -> Mapping[str, OpenQuestion]:
    """Return every open question by its file's name. Raise ValueError for a file without one."""
    questions = {}
    for name in import_all(__name__):
        question = getattr(import_module(f"{__name__}.{name}"), "QUESTION", None)
        place = f"workflow_scripts/himap/experiments/questions/{name}.py"
        if not NAME.fullmatch(name):
            raise ValueError(f"{place}: rename it; a question's name has small letters, digits and _ alone")
        if not isinstance(question, OpenQuestion):
            raise ValueError(f"{place}: should end with QUESTION = OpenQuestion(...)")
        questions[name] = question
    return questions


def names() -> list[str]:
    """Return the names of all open questions."""
    return list(registry())


def get(name: str) -> OpenQuestion:
    """Return an open question. Raise ValueError, with the nearest known name, if there is none."""
    if name not in registry():
        raise unknown("open question", name, registry())
    return registry()[name]
