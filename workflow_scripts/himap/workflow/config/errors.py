"""Turn a config's problems into lines that name the key, the value and the nearest allowed name."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel

from himap.registry import hint
from himap.workflow.config.schema import Config
from himap.yaml_files import Parts, dotted, kind_of


def foreign_keys(value: Any, parts: Parts | None = None) -> Iterator[tuple[Parts, Any]]:
    """Yield each key that is not text, with the path of its mapping."""
    parts = parts or []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield parts, key
            yield from foreign_keys(item, [*parts, str(key)])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from foreign_keys(item, [*parts, index])


def key_line(parts: Parts, key: Any) -> str:
    """Return the message for a key that is not text."""
    if key is None:
        return f"{dotted(parts)}: holds a value without a key; write a name before its colon"
    return f"{dotted(parts)}: the key {key!r} is not text ({kind_of(key)}); use a name, or put it in quotes"


def describe(error: Any, raw: Any) -> tuple[str, str]:
    """Return a pydantic error as the path in the config and a line that says value, what is allowed, and the nearest name."""
    parts: Parts = []
    place = raw
    for part in error["loc"]:  # pydantic puts the names of union members among the keys: no reader knows those
        if (isinstance(place, Mapping) and part in place) or (isinstance(place, list) and isinstance(part, int)):
            parts.append(part)
            place = place[part]
    # What is missing is not in the config, so the walk above could not step into it.
    if error["type"] == "missing":
        parts.append(error["loc"][-1])
    path, kind, value = dotted(parts), error["type"], error["input"]
    if kind == "extra_forbidden":
        return path, "unknown key" + hint(parts[-1], field_names(parts[:-1]))
    if kind == "missing":
        return path, "is required"
    if kind == "literal_error":
        # pydantic's text of the choices: 'a', 'b' or 'c'
        return path, f"{value!r} is not one of {error['ctx']['expected']}" + hint(
            value, [word.strip("' ") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        )
    if kind == "string_pattern_mismatch":
        return path, f"{value!r} is not allowed; it must match {error['ctx']['pattern']}"
    if kind == "too_short":
        return path, "is empty; name at least one, or leave the key out"
    # pydantic puts these words before the messages of our own validators and of its types.
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return path, f"{shorten(value)}: {message}"


def shorten(value: Any) -> str:
    """Return a value as one short line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_names(parts: Parts) -> list[str]:
    """Return the keys that the section at this path knows."""
    place: Any = Config
    for part in parts:
        place = step_into(place, part)
    sections = [option for option in alternatives(place) if isinstance(option, type) and issubclass(option, BaseModel)]
    return [field.alias or name for section in sections for name, field in section.model_fields.items()]


def step_into(annotation: Any, part: str | int) -> Any:
    """Return the type one step further down: a section's field, a mapping's value, a list's item."""
    # A union may have a section and a mapping: the first that fits the kind of key is taken.
    for option in alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel) and isinstance(part, str):
            field = option.model_fields.get(part)
            return field.annotation if field else None
        if typing.get_origin(option) is (list if isinstance(part, int) else dict):
            return typing.get_args(option)[-1]
    return None


def alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union, without Annotated and None."""
    if typing.get_origin(annotation) is Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for member in typing.get_args(annotation) for option in alternatives(member)]
    return [] if annotation is type(None) else [annotation]
