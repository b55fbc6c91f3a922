"""Look into a config that may hold anything: what is missing or of the wrong type is passed over, the typed check reports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from himap.project import ROOT
from himap.registry import hint
from himap.workflow.config.model_sizes import local_dims

Problem = tuple[str, str]  # a path in the config, and what is wrong there


def section(raw: Any, *keys: str) -> Mapping[str, Any]:
    """Return the mapping at a path, or an empty one."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else {}


def evaluated_models(raw: Mapping[str, Any]) -> list[str]:
    """Return the models of tables and analyses: those that are not there for some open questions alone."""
    # A model with `only` takes part in the open questions that it names and in nothing else.
    return [name for name in section(raw, "models") if section(raw, "models", name).get("only") is None]


def items(value: Any) -> list[tuple[int, Any]]:
    """Return the items of a list with their positions, or nothing."""
    return list(enumerate(value)) if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Return the texts of a list, or nothing."""
    return [item for _, item in items(value) if isinstance(item, str)]


def unknown_names(entry: Mapping[str, Any], at: str, key: str, known: Any) -> Iterator[Problem]:
    """Yield the names in a list that are not known."""
    # Anything but text is reported by the typed check.
    for index, name in items(entry.get(key)):
        if isinstance(name, str) and name not in known:
            yield f"{at}.{key}[{index}]", f"unknown {key.removesuffix('s')} {name!r}" + hint(name, known)


def depth_of(raw: Mapping[str, Any], model: Any) -> int | None:
    """Return how many layers a model has, from its entry or its folder; None while that cannot be known."""
    entry = section(raw, "models", str(model))
    # An entry's own sizes go before those of a folder, as in `dims_of`.
    layers = section(entry, "dims").get("layers")
    if isinstance(layers, int):
        return layers
    path = entry.get("path")
    return depth_of_folder(path) if isinstance(path, str) else None


@cache
def depth_of_folder(path: str) -> int | None:
    """Return the depth written in a checkpoint's config.json, or None without a usable one."""
    try:
        return local_dims(ROOT / path).layers
    except (ValueError, OSError, KeyError):
        return None
