"""Write schemas/config.schema.json and docs/configuration.md from the schema: python -m himap.workflow.config.documentation --write"""

from __future__ import annotations

import argparse
import json
import types
import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from himap.project import ROOT
from himap.pruning.resolve import load_all as builtin_methods
from himap.tables.builtin import load_all as builtin_tables
from himap.workflow.config.schema import Config, Section

SCHEMA_FILE = ROOT / "schemas" / "config.schema.json"
DOCS_FILE = ROOT / "docs" / "configuration.md"


def schema() -> dict[str, Any]:
    """Return the JSON schema, for editors."""
    described = Config.model_json_schema()
    del described["$defs"]["Table"]["required"]  # an entry is laid over the built-in table of its name
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def documentation() -> str:
    """Return docs/configuration.md: every key with its type, default and meaning, section by section."""
    lines = [
        "# Configuration",
        "",
        "Written by `python -m himap.workflow.config.documentation --write` from the classes in",
        "`workflow_scripts/himap/workflow/config/`, `schema.py` and `sections/`; do not edit by hand.",
        "Unknown keys and keys that are given twice are refused, and all problems are listed at once before anything runs.",
    ]
    # Breadth first: the whole config, then its sections in the order of their keys, each once.
    queue: list[type[Section]] = [Config]
    done: list[type[Section]] = []
    while queue:
        section = queue.pop(0)
        if section in done:
            continue
        done.append(section)
        lines += ["", f"## {section.__name__}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        for name, field in section.model_fields.items():
            default = "required" if field.is_required() else default_text(field.get_default(call_default_factory=True))
            # A bar would end the cell of the Markdown table.
            kind = type_text(field.annotation).replace("|", "\\|")
            lines.append(f"| `{field.alias or name}` | {kind} | {default} | {field.description} |")
            queue += [other for other in sections_in(field.annotation) if other not in queue]
    lines += ["", "## Built-in methods", "", "| name | title | definition |", "| --- | --- | --- |"]
    for name, method in builtin_methods().items():
        # The title has a column of its own, `about` is for the report.
        rest = {key: value for key, value in method.items() if key not in ("title", "about")}
        lines.append(f"| `{name}` | {method.get('title', name)} | `{json.dumps(rest)}` |")
    lines += ["", "## Built-in tables", "", "| name | title | benchmarks | methods |", "| --- | --- | --- | --- |"]
    for name, table in builtin_tables().items():
        cells = ", ".join(table["benchmarks"]), ", ".join(table["methods"])
        lines.append(f"| `{name}` | {table['title']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def default_text(value: Any) -> str:
    """Return a default as the documentation shows it."""
    if isinstance(value, BaseModel):
        # Only what differs from the section's own defaults, which its own table shows.
        changed = value.model_dump(exclude_defaults=True)
        return f"`{json.dumps(changed)}`" if changed else "see below"
    return f"`{json.dumps(value)}`"


def type_text(annotation: Any) -> str:
    """Return a type as the documentation shows it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return " / ".join(f"`{choice}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("nothing" if option is type(None) else type_text(option) for option in arguments)
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"names to {type_text(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}
    if annotation in names:
        return names[annotation]
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def sections_in(annotation: Any) -> list[type[Section]]:
    """Return the sections that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in typing.get_args(annotation) for section in sections_in(argument)]


def main() -> int:
    """Write the generated files, or print the schema."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {SCHEMA_FILE.name} and {DOCS_FILE.name}")
    arguments = parser.parse_args()
    text = json.dumps(schema(), indent=1) + "\n"
    if arguments.write:
        SCHEMA_FILE.write_text(text, encoding="utf-8")
        DOCS_FILE.write_text(documentation(), encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
