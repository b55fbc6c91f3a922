"""Tables with budgets: each of their methods at each budget is a method of its own, which exists nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from himap.workflow.config.checks._raw import Problem, items, section, texts

UNPRUNED = "vanilla"


def with_budgets(filled: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose tables with `budgets` name their methods at each of them, and which has these methods."""
    methods, tables = dict(section(filled, "methods")), dict(section(filled, "tables"))
    budgeted = {name: table for name, table in tables.items() if isinstance(table, Mapping) and table.get("budgets")}
    shown = {
        name: table for name, table in budgeted.items() if table.get("benchmarks")
    }  # without columns it is no table
    if not methods or not shown:
        return dict(filled)
    for name, table in shown.items():
        given = texts(table.get("methods"))
        budgets = [budget for _, budget in items(table["budgets"]) if _is_budget(budget)]
        pairs = [(method, budget) for budget in budgets for method in given if method != UNPRUNED]
        for method, budget in pairs:
            # setdefault: a config may define fastv_192 itself.
            methods.setdefault(at_budget(method, budget), _definition(methods, method, budget))
        # The unpruned model has no budget and stays the first row.
        rows = [method for method in given if method == UNPRUNED] + [at_budget(*pair) for pair in pairs]
        tables[name] = {**table, "methods": rows}
    return {**filled, "methods": methods, "tables": tables}


def check_budgets(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the budgets of tables that are no number of image tokens; whether a model can meet them is told by their methods."""
    for name in section(raw, "tables"):
        for index, budget in items(section(raw, "tables", name).get("budgets")):
            if not _is_budget(budget):
                line = (
                    f"{budget!r} is no number of image tokens; give a count such as 192, or a share such as 0.25 or 1/3"
                )
                yield f"tables.{name}.budgets[{index}]", line


def at_budget(method: str, budget: int | float | str) -> str:
    """Return the name of a method at a budget, as fastv_1of3 or fastv_192."""
    # 0.25 and 1/4 are one budget and so one name, which may hold no slash.
    return f"{method}_{Fraction(str(budget))}".replace("/", "of")


def _is_budget(value: object) -> bool:
    """Return whether a value can be a budget."""
    try:
        return not isinstance(value, bool) and Fraction(str(value)) > 0
    except (ValueError, ZeroDivisionError):
        return False


def _definition(methods: Mapping[str, Any], method: str, budget: int | float | str) -> dict[str, Any]:
    """Return a method that is like another at a budget."""
    title = section(methods, method).get("title") or method
    what = f"{budget} tokens" if isinstance(budget, int) else f"{Fraction(str(budget))} of the tokens"
    return {"title": f"{title} ({what})", "like": method, "tokens_of": budget}
