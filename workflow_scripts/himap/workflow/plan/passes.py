"""Which methods answer a benchmark's questions together, in one job that decodes and sees each picture once.

On a first run these are all methods of a model and a benchmark (for each shard). A method that is added or changed later makes a
pass of its own, so that only its answers are made. The others stay in the pass that made them: what a pass is made
with is one text with an entry for each method, Snakemake notes it with each output, and an output whose entry still holds
keeps that text, so that Snakemake finds nothing changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import PurePath
from typing import Any

from himap.workflow.plan import arguments, settings, staleness
from himap.workflow.plan.content_hash import as_json
from himap.workflow.plan.history import History
from himap.workflow.plan.plan import Cell, Plan

RULE = "evaluate_method"  # each pass is a rule of its own, with this name and `__` in front
wanted: dict[
    str, Any
] = {}  # what each output is to be made with by the plan of this process, to tell later what changed


@dataclass(frozen=True)
class Pass:
    """One job: a model answers a part of a benchmark's questions (all of them: `predictions`) under some methods."""

    model: str
    benchmark: str
    part: str
    methods: tuple[str, ...]
    made_with: str

    @property
    def name(self) -> str:
        """Return the name of its rule; no other pass has its first method."""
        words = [self.model, self.benchmark, *([] if self.part == "predictions" else [self.part]), self.methods[0]]
        return "__".join([RULE, *(re.sub(r"\W", "_", word) for word in words)])

    @property
    def place(self) -> str:
        """Return what several passes may have in common, as one text."""
        return f"{self.model}/{self.benchmark}/{self.part}"


@cache
def passes(plan: Plan) -> list[Pass]:
    """Return all passes of a plan."""
    return [
        Pass(model, benchmark, part, tuple(methods), made_with)
        for (model, benchmark), cells in groupby(plan.evaluations(), key=lambda cell: cell[:2])
        for names in [[method for _, _, method in cells]]
        for part in parts(plan, benchmark)
        for methods, made_with in _groups(plan, model, benchmark, part, names)
    ]


def partition(plan: Plan) -> dict[str, list[list[str]]]:
    """Return the methods of each pass by its place, for `History.freeze`."""
    shared: dict[str, list[list[str]]] = {}
    for each in passes(plan):
        shared.setdefault(each.place, []).append(list(each.methods))
    return shared


@cache
def _by_output(plan: Plan) -> dict[str, Pass]:
    return {file: each for each in passes(plan) for file in outputs(plan, each)}


def parts(plan: Plan, benchmark: str) -> list[str]:
    """Return the parts into which a benchmark's samples are cut, as their files are named."""
    count = plan.benchmark(benchmark).shards
    return [f"shard-{shard}-of-{count}" for shard in range(count)] if count > 1 else ["predictions"]


def outputs(plan: Plan, each: Pass) -> list[str]:
    """Return the files with a pass's answers, one for each method."""
    return [answers(plan, (each.model, each.benchmark, method), each.part) for method in each.methods]


def answers(plan: Plan, cell: Cell, part: str) -> str:
    """Return the file with a part of a cell's answers."""
    return plan.paths.evaluation(*cell, f"{part}.jsonl")


def jobs_of(plan: Plan, cell: Cell) -> list[tuple[str, ...]]:
    """Return the passes that answer a cell, as the files that they write."""
    files = [answers(plan, cell, part) for part in parts(plan, cell[1])]
    return [tuple(outputs(plan, _by_output(plan)[file])) for file in files]


def command(plan: Plan, each: Pass) -> list[str]:
    """Return what a pass's script is told of its methods."""
    words = []
    for method in each.methods:
        cell = (each.model, each.benchmark, method)
        words += ["--method", arguments.method(plan, *cell), "--settings", settings.evaluation(plan, *cell)]
        words += ["--out", answers(plan, cell, each.part)]
    return words


def _groups(plan: Plan, model: str, benchmark: str, part: str, methods: list[str]) -> list[tuple[list[str], str]]:
    """Return the methods that share a job, and what each group is made with."""
    entries = {method: _entry(plan, (model, benchmark, method)) for method in methods}
    wanted.update({answers(plan, (model, benchmark, method), part): entries[method] for method in methods})
    now = {method: as_json(entry) for method, entry in entries.items()}

    def text(group: list[str]) -> str:
        return as_json({method: entries[method] for method in group})

    frozen = plan.history.frozen.get(f"{model}/{benchmark}/{part}", []) if plan.history else []
    if sorted(method for group in frozen for method in group) == methods:
        return [(group, text(group)) for group in frozen]
    settled: dict[str, list[str]] = {}
    asked: dict[bool, list[str]] = {}
    for method in methods:
        cell = (model, benchmark, method)
        noted = _made_with(plan, answers(plan, cell, part))
        if noted and _entries(noted).get(method) == now[method]:
            settled.setdefault(noted, []).append(method)
        else:
            asked.setdefault(plan.requested is None or cell in plan.requested, []).append(method)
    return [*((group, noted) for noted, group in settled.items()), *((group, text(group)) for group in asked.values())]


def _made_with(plan: Plan, output: str) -> str | None:
    """Return what an output was made with, None if it is not there: its answers must not take others with them."""
    return plan.history.made_with(output) if plan.history and (plan.history.root / output).exists() else None


def _entry(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Return what decides the answers of one method."""
    return {
        "code": staleness.evaluation(plan, *cell),
        "settings": json.loads(settings.evaluation(plan, *cell)),
        "method": json.loads(arguments.method(plan, *cell)),
        "model": arguments.model(plan, cell[0]),
    }


def noted_and_wanted(history: History, output: str) -> tuple[Any, Any]:
    """Return what a method's answers were made with and are to be made with; None where that is not known."""
    noted = history.made_with(output)
    method = PurePath(output).parts[-2]
    return (_parsed(noted).get(method) if noted else None), wanted.get(output)


def _parsed(made_with: str) -> dict[str, Any]:
    """Return the entries of each method in what a pass was made with."""
    try:
        entries = json.loads(made_with)
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}


@cache
def _entries(made_with: str) -> dict[str, str]:
    return {method: as_json(entry) for method, entry in _parsed(made_with).items()}
