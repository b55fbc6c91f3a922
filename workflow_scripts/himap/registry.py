"""Finding what a folder of the library adds: one file, one entry; and naming the nearest when a name is unknown."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

SHORT = 20  # a longer list of known names tells a reader nothing


def import_all(package_name: str) -> list[str]:
    """Import every module of a package, so that what they register is known; returns their names."""
    package = importlib.import_module(package_name)
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and not module.name.startswith("_")
    )
    for name in names:
        importlib.import_module(f"{package_name}.{name}")
    return names


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not known, with the nearest one that is, and all of them."""
    known = sorted(known)
    return ValueError(f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")


def hint(name: object, known: Iterable[str]) -> str:
    """Return the known name that looks most like this one, or the known names if they are few, as the end of a message."""
    known = sorted(known)
    listed = f" (known: {', '.join(known)})" if 0 < len(known) <= SHORT else ""
    return did_you_mean(name, known) or listed


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the known name that looks most like this one as a question, or nothing if none does."""
    near = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
