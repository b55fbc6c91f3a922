"""Registries that are filled by the files of a folder, one entry per file, and errors that suggest the nearest name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterable
from typing import TypeVar

Entry = TypeVar("Entry")
# Names become parts of paths and of keys in the config, and a file's name is the entry's.
NAME = re.compile(r"[a-z][a-z0-9_]*")
SHORT = 20  # longer lists of known names are left out of messages: nobody reads them


def import_all(package_name: str) -> list[str]:
    """Import every module of a package, so that each registers its entry, and return the modules' names."""
    package = importlib.import_module(package_name)
    names = sorted(  # in an order that no file system decides
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        # A leading underscore is for what the entries share.
        if not module.ispkg and not module.name.startswith("_")
    )
    for name in names:
        importlib.import_module(f"{package_name}.{name}")
    return names


def declared(package: str, constant: str, kind: type[Entry]) -> dict[str, Entry]:
    """Return what each file of a package declares under a constant, by the file's name. Raise ValueError for a file that does not."""
    entries = {}
    for name in import_all(package):
        # No error yet where it is missing: the check below names the file and what it should end with.
        entry = getattr(importlib.import_module(f"{package}.{name}"), constant, None)
        place = f"workflow_scripts/{package.replace('.', '/')}/{name}.py"
        if not NAME.fullmatch(name):
            raise ValueError(f"{place}: rename it; the name may have small letters, digits and _ alone")
        if not isinstance(entry, kind):
            raise ValueError(
                f"{place}: should end with {constant} = {kind.__name__}(...), as CONTRIBUTING.md describes"
            )
        entries[name] = entry
    return entries


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the most similar known name and the list of all."""
    known = sorted(known)
    return ValueError(f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")


def hint(name: object, known: Iterable[str]) -> str:
    """Return the end of a message: the most similar known name, or all known names if they are few."""
    known = sorted(known)
    listed = f" (known: {', '.join(known)})" if 0 < len(known) <= SHORT else ""
    return did_you_mean(name, known) or listed


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the most similar known name as a question, or an empty text if none is similar."""
    near = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
