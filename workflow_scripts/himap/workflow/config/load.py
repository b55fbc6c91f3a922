"""Check what YAML gave and return a `Config`, or raise one error that lists every problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from himap.pruning.resolve import load_all as builtin_methods
from himap.tables.builtin import load_all as builtin_tables
from himap.workflow.config.checks import cross_checks
from himap.workflow.config.checks.budgets import with_budgets
from himap.workflow.config.errors import describe, foreign_keys, key_line
from himap.workflow.config.schema import Config
from himap.yaml_files import ConfigError, kind_of


def load(raw: Any, name: str = "the config") -> Config:
    """Return the checked config, built-in methods and tables laid under it. Raise one ConfigError with all problems."""
    if not isinstance(raw, Mapping):
        raise ConfigError([f"should hold keys and values, as in `seed: 0`, but is a {kind_of(raw)}"], name)
    try:
        problems = [key_line(parts, key) for parts, key in foreign_keys(raw)]
    except RecursionError:  # an alias that holds itself
        problems = ["is nested without end; look at its aliases (*name)"]
    # Alone and first: what follows takes every key for text.
    if problems:
        raise ConfigError(problems, name)
    filled = with_budgets(with_builtin(raw))
    config: Config | None = None
    lines: dict[str, str] = {}
    try:
        config = Config.model_validate(filled)
    except ValidationError as error:
        for problem in error.errors():
            path, line = describe(problem, filled)
            # One line for each key, and the first: a union gives an error for each of its members.
            lines.setdefault(path, line)
    # Also after a typed error: a user should see all mistakes at once, not one a start.
    for path, line in cross_checks(filled, raw):
        lines.setdefault(path, line)
    if lines or config is None:
        raise ConfigError([f"{path}: {line}" for path, line in lines.items()], name)
    return config


def with_builtin(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the built-in methods and tables laid under its own."""
    methods, tables = raw.get("methods", {}), raw.get("tables", {})
    filled = dict(raw)
    if isinstance(methods, Mapping):  # a method is replaced as a whole
        filled["methods"] = {**builtin_methods(), **methods}
    if isinstance(tables, Mapping):  # a table key by key
        builtin = builtin_tables()
        laid = {
            name: {**builtin[name], **table}
            for name, table in tables.items()
            if name in builtin and isinstance(table, Mapping)
        }
        filled["tables"] = {**builtin, **tables, **laid}
    return filled
