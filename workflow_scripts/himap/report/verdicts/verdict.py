"""What a claim's row shows, and what the rules share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from himap.numbers import size
from himap.results import Results, scope

HOLDS, FAILS, OPEN = "holds", "fails", "open"
WORDS = {HOLDS: "holds", FAILS: "does not hold", OPEN: "not decidable here"}
# By what a verdict rests on: grounds decide a claim about the paper, asides are only shown.
GROUNDS = {"paper": "on the paper's models", "arithmetic": "from the paper's own numbers"}
ASIDES = {"mini": "in the embedded world", "other": "on another model"}
TOO_FEW = "the samples are too few to tell"


@dataclass
class Verdict:
    """What a claim's row shows."""

    verdict: str = OPEN
    basis: str = "paper"
    paper: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    ran_on: list[str] = field(default_factory=list)
    why: str = ""


def shown(found: Verdict) -> str:
    """Return the verdict on the claim itself: what another model or the embedded world shows decides nothing about the paper's."""
    return found.verdict if found.basis in GROUNDS else OPEN


def words(found: Verdict) -> dict[str, str]:
    """Return a verdict in words with its ground, or why there is none; and what a model that cannot decide shows nevertheless."""
    verdict = shown(found)
    aside = found.verdict != OPEN and verdict == OPEN
    # An open verdict says why, a decided one on what ground.
    reason = found.why if found.verdict == OPEN else GROUNDS.get(found.basis, "")
    return {"verdict": verdict, "text": WORDS[verdict], "ground": reason, "aside": ASIDES[found.basis] if aside else ""}


def models_that_count(results: Results, tasks: list[str], models: Iterable[str] | None = None) -> list[str]:
    """Return those of the models (all of the run) that are the paper's, on its data; all of them if none is."""
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    models = list(results.facts["models"] if models is None else models)
    # Where some models are the paper's, others decide nothing about its claims.
    theirs = [model for model in models if scope(results.facts, model, known or None) == "paper"]
    return theirs or models


def ground(results: Results, tasks: list[str], models: Iterable[str] | None = None) -> str:
    """Return what results on these benchmarks can speak about."""
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    counted = models_that_count(results, tasks, models) or list(results.facts["models"])
    return scope(results.facts, counted[0], known or None)


def not_run_yet(results: Results, missing: dict[str, list[str]]) -> str:
    """Return what is planned for these models and not there yet."""
    parts = [
        f"{model}: {', '.join(title(results, task) for task in tasks)}" for model, tasks in missing.items() if tasks
    ]
    return f"not run yet: {'; '.join(parts)}" if parts else ""


def together(verdicts: Iterable[str]) -> str:
    """Return one verdict from several: all must hold, and one that fails decides."""
    found = list(verdicts)
    if FAILS in found:
        return FAILS
    # No verdict at all is open, not true of everything.
    return HOLDS if found and all(one == HOLDS for one in found) else OPEN


def side_of(low: float, high: float, line: float = 0.0) -> str:
    """Return whether an interval lies above a line, below it, or across."""
    return HOLDS if low > line else FAILS if high < line else OPEN


def holm(values: list[float]) -> list[float]:
    """Return p values corrected for their number, step down."""
    order = np.argsort(values)
    corrected, running = [1.0] * len(values), 0.0
    for rank, index in enumerate(order):
        # The k-th smallest of m is multiplied by m - k + 1, and no corrected value is below a smaller one's.
        running = max(running, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = running
    return corrected


def title(results: Results, task: str) -> str:
    """Return a benchmark's title."""
    return str(results.facts["benchmarks"][task]["title"])


def ran(results: Results, model: str, stage: str, sizes: dict[str, tuple[int, int]]) -> str:
    """Return model, benchmarks with samples and pictures, device."""
    parts = [f"{title(results, task)} {size(*counts)}" for task, counts in sizes.items()]
    devices = results.devices(stage, model)
    return f"{model}: {', '.join(parts)}" + (f"; {', '.join(devices)}" if devices else "")


def layer_span(first: int, last: int, of: int, layers: int) -> range:
    """Return the same share of another depth, at least one layer."""
    # layer_span(7, 16, of=32, layers=12) is range(2, 6): layers 2 to 5.
    begin = first * layers // of
    return range(begin, max(begin + 1, round(last * layers / of)))


def title_of(task: str) -> str:
    """Return a benchmark's title, whether or not this run has it."""
    from himap import benchmarks

    return benchmarks.get(task).title
