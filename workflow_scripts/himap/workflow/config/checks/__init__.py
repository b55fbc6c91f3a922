"""Checks across the config's fields: every name is known, every layer exists, every method fits its models.

They look at what will run, defaults included: what nothing uses need not fit. They pass over what is missing or of the
wrong type (the typed check reports that), so that both kinds of problem are found in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from himap.workflow.config.checks._raw import Problem, section
from himap.workflow.config.checks.analyses import check_disruption, check_grid, check_random_weights
from himap.workflow.config.checks.budgets import check_budgets
from himap.workflow.config.checks.methods import check_methods, check_resolved
from himap.workflow.config.checks.models import check_models
from himap.workflow.config.checks.names import check_benchmarks, check_judge, check_references, check_scripts
from himap.workflow.config.checks.uses import runs, taken_from
from himap.workflow.config.schema import Config, Section


def cross_checks(filled: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield all problems between fields as (path, line), of a config with and without the built-in methods and tables."""
    raw = with_defaults(filled)
    asked = runs(raw)
    # A method may take its stages from another, which then must be valid too.
    used = asked | {(model, kind, other) for model, kind, name in asked for other in taken_from(raw, model, name)}
    checks = (
        check_models(raw),
        check_benchmarks(raw),
        check_methods(raw, used),
        check_resolved(raw, asked, used),
        check_references(raw),
        check_budgets(raw),
        check_disruption(raw),
        check_grid(raw),
        check_random_weights(raw),
        check_judge(raw),
        # Only what the user wrote; the built-in texts are ours.
        check_scripts(given, ""),
    )
    for path, line in chain.from_iterable(checks):
        yield path, line + origin_of(path, given)


def with_defaults(filled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the defaults of each section laid under its own keys."""
    whole = dict(filled)
    for name, field in Config.model_fields.items():
        if isinstance(field.default, Section) and isinstance(filled.get(name, {}), Mapping):
            whole[name] = {**field.default.model_dump(), **filled.get(name, {})}
    return whole


def origin_of(path: str, given: Mapping[str, Any]) -> str:
    """Return where a wrong value comes from if the config does not name it, and what to do."""
    part, _, rest = path.partition(".")
    # methods.himap.stages[1].keep: part `methods`, key `himap`
    key = re.split(r"[.\[]", rest)[0]
    if part == "methods" and key not in section(given, part):
        return (
            f" (built in; give `methods.{key}` stages of your own, or name it in no table and not in `latency.methods`)"
        )
    if part in ("disruption", "grid") and (key not in section(given, part) if key else part not in given):
        where = f"{part}.{key}" if key else part
        return f" (the default; give `{where}` values of your own, or leave it out with `{part}: {{benchmarks: []}}`)"
    return ""
