"""What all sections share: the base class, and the types of their fields with the checks that one value alone can fail."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from himap.pruning.checks import keep_problem


def check_keep(value: Any) -> int | float:
    """Return a share or a count of tokens as the library takes it. Raise ValueError for a bare 1, which could mean either."""
    if problem := keep_problem(value):
        raise ValueError(problem)
    # In YAML `1` is an integer and `1.0` a float: a share of all, or a count of one, one digit apart.
    if isinstance(value, int) and value == 1:
        raise ValueError("a count of one token, or all of them? write 1.0 for all; a tiny share keeps a single token")
    return value


def check_title(value: str) -> str:
    """Return a title that can be shown on any page. Raise ValueError for one with markup or control characters."""
    if re.search(r"[<>\x00-\x1f\x7f-\x9f]", value):
        raise ValueError(
            "a title holds neither < nor > nor control characters: pages show it as it is; use plain words"
        )
    return value


def check_once(values: list[Any]) -> list[Any]:
    """Return a list that means a set. Raise ValueError if it holds a value twice."""
    # Not with a set: values may be mappings, which have no hash.
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} is named twice; name it once")
    return values


Title = Annotated[str, AfterValidator(check_title), WithJsonSchema({"type": "string", "pattern": r"^[^<>\x00-\x1f]*$"})]
Item = TypeVar("Item")
Each = Annotated[list[Item], AfterValidator(check_once), Field(json_schema_extra={"uniqueItems": True})]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
# Hexadecimal digits of a commit: a branch such as `main` moves, so results could not be repeated.
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
# The schema for editors says the same as `check_keep`: 0, a count from 2, or a share up to 1.
Keep = Annotated[
    int | float,
    PlainValidator(check_keep),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": 0},
                {"type": "integer", "minimum": 2},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            ]
        }
    ),
]
# `strict`: neither 2.0 nor "2" is taken for a count.
Count = Annotated[int, Field(ge=1, strict=True)]
Index = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(gt=0, le=1)]
Depth = Annotated[float, Field(gt=0, lt=1)]
Some = Field(min_length=1)


class Section(BaseModel):
    """A part of the config: unknown keys are refused, the text under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
