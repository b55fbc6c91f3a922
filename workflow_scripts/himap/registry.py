"""Finding what a folder of the library adds: one file, one entry; and naming the nearest when a name is unknown."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable


def import_all(package_name: str) -> list[str]:
    """Import every module of a package, so that what they register is known; returns their names."""
    package = importlib.import_module(package_name)
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))
    for name in names:
        importlib.import_module(f"{package_name}.{name}")
    return names


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known, with the nearest one that is."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ValueError(f"unknown {kind} {name!r}{hint}; known: {', '.join(known)}")
