"""Which methods share a job: to answer a benchmark's questions, with each picture decoded and seen once, to score the answers, or
to count FLOPs.

On a first run these are all methods of a model and a benchmark (for each shard). A method that is added or changed later makes a
pass of its own, so that only its answers are made. The others stay in the pass that made them: what a pass is made
with is one text with an entry for each method, Snakemake notes it with each output, and an output whose entry still holds
keeps that text, so that Snakemake finds nothing changed. Scores have the answers as input, and the set of inputs counts too: a pass
keeps those of methods that have left it, but no longer looks at their times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from himap.workflow.plan import arguments, settings, staleness
from himap.workflow.plan.content_hash import as_json, digest
from himap.workflow.plan.history import History
from himap.workflow.plan.plan import Cell, Plan

wanted: dict[str, tuple[str, Any]] = {}  # of each output: its method and what the plan of this process makes it with


@dataclass(frozen=True)
class Step:
    """A step of the workflow that does many methods in one job. A place is what the methods share beside the model."""

    rule: str  # each pass is a rule of its own, with this name and `__` in front
    cells: Callable[[Plan], list[Cell]]  # model, place, method, in order
    parts: Callable[[Plan, str], list[str]]  # into which a place's work is cut
    outputs: Callable[[Plan, Cell, str], list[str]]  # of a method; the first stands for all
    entry: Callable[[Plan, Cell], dict[str, Any]]  # what decides an output
    words: Callable[[Step, Plan, Cell, str], list[str]]  # what its script is told of a method
    evaluations: Callable[[Plan, Cell], list[Cell]]  # for which an output is needed


@dataclass(frozen=True)
class Pass:
    """One job: a step for a model, a part of a place (all of it: `predictions`) and some methods."""

    step: Step
    model: str
    place: str
    part: str
    methods: tuple[str, ...]
    made_with: str
    former: tuple[str, ...] = ()  # methods that it was once made with, and that are in a pass of their own by now

    @property
    def name(self) -> str:
        """Return the name of its rule; no other pass has its first method."""
        words = [self.model, self.place, *([] if self.part == WHOLE else [self.part]), self.methods[0]]
        return "__".join([self.step.rule, *(re.sub(r"\W", "_", word) for word in words)])

    @property
    def key(self) -> str:
        """Return what several passes may have in common, as one text."""
        return key_of(self.step, self.model, self.place, self.part)


WHOLE = "predictions"


def key_of(step: Step, model: str, place: str, part: str) -> str:
    """Return where a step's methods may share passes, as one text."""
    return f"{step.rule}/{model}/{place}/{part}"


# ---- the steps


def answers(plan: Plan, cell: Cell, part: str) -> list[str]:
    """Return the file with a part of a cell's answers."""
    return [plan.paths.evaluation(*cell, f"{part}.jsonl")]


def parts(plan: Plan, benchmark: str) -> list[str]:
    """Return the parts into which a benchmark's samples are cut, as their files are named."""
    count = plan.benchmark(benchmark).shards
    return [f"shard-{shard}-of-{count}" for shard in range(count)] if count > 1 else [WHOLE]


def _answers_entry(plan: Plan, cell: Cell) -> dict[str, Any]:
    return {
        "code": staleness.evaluation(plan, *cell),
        "settings": json.loads(settings.evaluation(plan, *cell)),
        "method": json.loads(arguments.method(plan, *cell)),
        "model": arguments.model(plan, cell[0]),
    }


def _costs_entry(plan: Plan, cell: Cell) -> dict[str, Any]:
    model, kind, method = cell
    benchmark = plan.example_of(kind)
    return {
        "code": staleness.costs(plan, model, kind),
        "settings": json.loads(settings.flops(plan, model, kind)),
        "method": json.loads(arguments.method(plan, model, benchmark, method)),
        "model": arguments.model(plan, model),
        "benchmark": benchmark,
    }


def _scores_entry(plan: Plan, cell: Cell) -> dict[str, Any]:
    return {
        "code": staleness.scores("score_predictions.py", cell[1]),
        "judged": arguments.judgements(plan, *cell),
        # so that a method whose answers change leaves the pass before they do
        "answers": digest(_answers_entry(plan, cell)),
    }


def _asked(step: Step, plan: Plan, cell: Cell, part: str) -> list[str]:
    """Return how a script that asks a model is told of a method."""
    entry = step.entry(plan, cell)
    words = ["--method", as_json(entry["method"]), "--settings", as_json(entry["settings"])]
    return [*words, "--out", step.outputs(plan, cell, part)[0]]


def _scored(step: Step, plan: Plan, cell: Cell, part: str) -> list[str]:
    """Return how the script that scores is told of a method."""
    words = ["--predictions", plan.paths.predictions(*cell), *arguments.judgements(plan, *cell)]
    return [*words, "--out", step.outputs(plan, cell, part)[0]]


def _alike(plan: Plan, cost: Cell) -> list[Cell]:
    """Return the evaluations whose cost a cell of FLOPs is."""
    model, kind, method = cost
    return [
        (model, name, method)
        for _, name, other in plan.evaluations(model)
        if (plan.kind(name), other) == (kind, method)
    ]


ANSWERS = Step(
    "evaluate_method",
    cells=lambda plan: plan.evaluations(),
    parts=parts,
    outputs=answers,
    entry=_answers_entry,
    words=_asked,
    evaluations=lambda plan, cell: [cell],
)
COSTS = Step(
    "count_flops",
    cells=lambda plan: [
        (model, kind, method)
        for model in plan.models_for()
        for kind in plan.kinds(model)
        for method in plan.costed_methods(model, kind)
    ],
    parts=lambda plan, kind: [WHOLE],
    outputs=lambda plan, cell, part: [plan.paths.flops(*cell)],
    entry=_costs_entry,
    words=_asked,
    evaluations=_alike,
)
SCORES = Step(
    "score_predictions",
    cells=lambda plan: [cell for cell in plan.evaluations() if plan.scored(cell[1])],
    parts=lambda plan, benchmark: [WHOLE],
    outputs=lambda plan, cell, part: plan.paths.scores(*cell),
    entry=_scores_entry,
    words=_scored,
    evaluations=lambda plan, cell: [cell],
)
STEPS = (ANSWERS, COSTS, SCORES)
RULES = {step.rule for step in STEPS}


# ---- their passes


@cache
def passes(plan: Plan, step: Step = ANSWERS) -> list[Pass]:
    """Return all passes of a step."""
    return [
        Pass(step, model, place, part, tuple(methods), made_with, tuple(former))
        # `groupby` joins neighbors only: `cells` yields them by model and place.
        for (model, place), cells in groupby(step.cells(plan), key=lambda cell: cell[:2])
        for names in [[method for _, _, method in cells]]
        for part in step.parts(plan, place)
        for methods, made_with, former in _groups(plan, step, model, place, part, names)
    ]


def partition(plan: Plan) -> dict[str, list[list[str]]]:
    """Return the methods of each pass by its key, for `History.freeze`."""
    shared: dict[str, list[list[str]]] = {}
    for step in STEPS:
        for each in passes(plan, step):
            shared.setdefault(each.key, []).append(list(each.methods))
    return shared


@cache
def _by_output(plan: Plan, step: Step) -> dict[str, Pass]:
    return {file: each for each in passes(plan, step) for file in outputs(plan, each)}


def outputs(plan: Plan, each: Pass) -> list[str]:
    """Return the files that a pass writes, method by method."""
    cells = [(each.model, each.place, method) for method in each.methods]
    return [file for cell in cells for file in each.step.outputs(plan, cell, each.part)]


def jobs_of(plan: Plan, cell: Cell, step: Step = ANSWERS) -> list[tuple[str, ...]]:
    """Return the passes behind a cell of a step, as the files that they write."""
    # One pass for each shard.
    files = [step.outputs(plan, cell, part)[0] for part in step.parts(plan, cell[1])]
    return [tuple(outputs(plan, _by_output(plan, step)[file])) for file in files]


def command(plan: Plan, each: Pass) -> list[str]:
    """Return what a pass's script is told of its methods."""
    cells = [(each.model, each.place, method) for method in each.methods]
    return [word for cell in cells for word in each.step.words(each.step, plan, cell, each.part)]


def _groups(
    plan: Plan, step: Step, model: str, place: str, part: str, methods: list[str]
) -> list[tuple[list[str], str, list[str]]]:
    """Return the methods that share a job, what each group is made with, and which methods have left it since."""
    cells = {method: (model, place, method) for method in methods}
    entries = {method: step.entry(plan, cell) for method, cell in cells.items()}
    files = {method: step.outputs(plan, cell, part)[0] for method, cell in cells.items()}
    # `reasons` reads it: Snakemake itself only knows that the text of the whole pass is another one.
    wanted.update({files[method]: (method, entries[method]) for method in methods})
    now = {method: as_json(entry) for method, entry in entries.items()}

    def text(group: list[str]) -> str:
        return as_json({method: entries[method] for method in group})

    frozen = plan.history.frozen.get(key_of(step, model, place, part), []) if plan.history else []
    # While a run is under way, its own grouping holds: files that appear meanwhile would regroup what is still to be done.
    # A note of other methods (another config) does not count.
    if sorted(method for group in frozen for method in group) == methods:
        return [(group, text(group), []) for group in frozen]
    # Settled outputs keep the text that they were made with, and so their old pass. All others make new passes.
    settled: dict[str, list[str]] = {}
    asked: dict[bool, list[str]] = {}
    for method in methods:
        noted = _made_with(plan, files[method])
        if noted and _entries(noted).get(method) == now[method]:
            settled.setdefault(noted, []).append(method)
        else:
            # Apart from methods that no target asks for, or `./reproduce table1` would answer for other tables too.
            asked.setdefault(_is_requested(plan, step, cells[method]), []).append(method)
    # Not those that nobody asks for, whose answers would be made for the sake of a pass that they have left.
    there = set(methods) - set(asked.get(False, []))
    made = [
        (group, noted, [method for method in _entries(noted) if method in there and method not in group])
        for noted, group in settled.items()
    ]
    return [*made, *((group, text(group), []) for group in asked.values())]


def _is_requested(plan: Plan, step: Step, cell: Cell) -> bool:
    return plan.requested is None or not plan.requested.isdisjoint(step.evaluations(plan, cell))


def _made_with(plan: Plan, output: str) -> str | None:
    """Return what an output was made with, None if it is not there: it must not take others with it."""
    # A note outlives its file: a deleted output counts as never made.
    return plan.history.made_with(output) if plan.history and (plan.history.root / output).exists() else None


def noted_and_wanted(history: History, output: str) -> tuple[str, Any, Any]:
    """Return an output's method, and what it was made with and is to be made with; None where that is not known."""
    method, entry = wanted.get(output, ("", None))
    noted = history.made_with(output)
    return method, (_parsed(noted).get(method) if noted else None), entry


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
