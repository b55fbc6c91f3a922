"""What a config will run: which method on which model for which kind of task. What nothing uses need not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.benchmarks import names as benchmark_names
from himap.pruning.resolve import load_all as builtin_methods
from himap.workflow.config.checks._raw import evaluated_models, section, texts

Use = tuple[str, str, str]  # a model, a kind of task, a method


def runs(raw: Mapping[str, Any]) -> set[Use]:
    """Return what tables, latency and Figure 7 ask for; the config's own methods that none shows run on all."""
    methods, models, known = section(raw, "methods"), evaluated_models(raw), benchmark_names()
    tasks = {name: benchmark_named(name) for name in section(raw, "benchmarks") if name in known}
    asked: set[Use] = set()
    for name in section(raw, "tables"):
        table = section(raw, "tables", name)
        judged = table.get("judged", True) or raw.get("judge") is not None
        columns = [name for name in texts(table.get("benchmarks")) if name in tasks]
        # A judged benchmark without a judge has no column in a table that says `judged: false`.
        kinds = {tasks[name].task for name in columns if judged or not tasks[name].judged}
        asked |= set(product(texts(table.get("models")) or models, kinds, texts(table.get("methods"))))
    latency = section(raw, "latency")
    timed = {tasks[name].task for name in texts(latency.get("benchmarks")) if name in tasks}
    shown_with = {(model, kind) for model, kind, _ in asked} | set(product(models, timed))  # Figure 7 has all kinds
    asked |= {(*task, name) for task, name in product(shown_with, texts(latency.get("methods")))}
    shown, builtin = {name for _, _, name in asked}, builtin_methods()
    # Whoever writes a method wants to know at once that it is wrong, even before a table names it.
    own = {name for name in methods if methods[name] != builtin.get(name)} - shown
    return asked | set(product(models, {task.task for task in tasks.values()}, own))


def definitions(methods: Mapping[str, Any], name: str) -> list[str]:
    """Return a method and those that it is defined by, one by the other; in a circle the last has been named before."""
    names = [name]
    # A name that occurs before closes a circle; one that is no method ends the chain.
    while names[-1] not in names[:-1] and (other := reference(methods, names[-1])) in methods:
        names.append(other)
    return names


def taken_from(raw: Mapping[str, Any], model: str, name: str) -> Iterator[str]:
    """Yield the methods whose stages a method takes on a model, itself included; stages of the model's own end the search."""
    methods = section(raw, "methods")
    for other in definitions(methods, name):
        yield other
        if model in section(methods, other, "models"):
            return


def reference(methods: Mapping[str, Any], name: str) -> str:
    """Return the method that a method is defined by, or nothing."""
    method = section(methods, name)
    # `flops_of` refers too: a budget follows from the other method's stages.
    return str(method.get("like") or method.get("flops_of") or "")
