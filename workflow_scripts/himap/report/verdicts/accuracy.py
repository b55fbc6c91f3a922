"""Rules about scores: differences between methods on the same samples, and scores against the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from himap.metrics.statistics import mean_of_intervals
from himap.numbers import interval, listed, number, p_value
from himap.paper.published import published
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    TOO_FEW,
    Verdict,
    ground,
    holm,
    models_that_count,
    not_run_yet,
    ran,
    side_of,
    title,
    title_of,
    together,
)
from himap.results import Results, records_of

Judge = Callable[[list[dict[str, Any]]], str]


def paired_difference(results: Results, model: str, task: str, method: str, base: str) -> dict[str, Any] | None:
    """Return method minus base on one benchmark, in percent of the base's score; None while it has not been run."""
    against, score = results.compare(model, task, base, method), results.score(model, task, base)
    if against is None or score is None:
        return None
    row = {"task": task, "n": against.n, "pictures": against.pictures, "p": against.p_value, "least": against.least}
    # In percent of the score, because a claim averages benchmarks whose scales differ (MME goes to 2,800).
    unit = 100 / abs(score["headline"]) if score["headline"] else float("nan")
    edges = dict(zip(("low", "high"), (unit * edge for edge in against.interval), strict=True))
    return row | {"value": unit * against.difference} | edges


def mean_difference(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return the mean over benchmarks with its interval, the benchmarks being independent."""
    return mean_of_intervals([row["value"] for row in rows], [(row["low"], row["high"]) for row in rows])


def difference_lines(results: Results, model: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return the mean, then the benchmarks one after another."""
    mean, low, high = mean_difference(rows)
    lines = [f"{model}: mean {number(mean, sign=True)} % [{interval(low, high, sign=True)}]"]
    if len(rows) > 1:
        each = [
            f"{title(results, row['task'])} {number(row['value'], sign=True)} % ({p_value(row['p'], row['least'])})"
            for row in rows
        ]
        lines.append(", ".join(each))
    return lines


def published_differences(results: Results, table: str, tasks: list[str], method: str, base: str) -> list[str]:
    """Return the same differences, in percent of the base's score, as the paper prints the scores."""
    lines = []
    for model, cells in published()["tables"][table]["cells"].items():
        changes = {}
        for task in tasks:
            # Published cells may be empty: not every method is printed for every model.
            one, other = (cells.get(name, {}).get(task) for name in (method, base))
            if one is not None and other is not None:
                changes[task] = 100 * (one - other) / other
        # Of many benchmarks the mean and the two ends, of one or two each value.
        if len(changes) > 2:
            low, high = min(changes, key=changes.__getitem__), max(changes, key=changes.__getitem__)
            ends = [f"{title_of(task)} {number(changes[task], sign=True)}" for task in (low, high)]
            lines.append(
                f"{model}: mean {number(float(np.mean(list(changes.values()))), sign=True)} % ({' to '.join(ends)} %)"
            )
        elif changes:
            lines.append(
                f"{model}: "
                + ", ".join(f"{title_of(task)} {number(one, sign=True)} %" for task, one in changes.items())
            )
    return lines


def planned(results: Results, tasks: list[str], methods: Iterable[str]) -> dict[str, list[str]]:
    """Return per model those of the benchmarks on which the config plans all of these methods."""
    cells = {tuple(cell) for cell in results.facts["evaluated"]}
    plans = {
        model: [task for task in tasks if all((model, task, method) in cells for method in methods)]
        for model in results.facts["models"]
    }
    return {model: tasks for model, tasks in plans.items() if tasks}


def over_models(results: Results, table: str, tasks: list[str], method: str, base: str, judge: Judge) -> Verdict:
    """Return the verdict over all models for which the config plans all of a claim's benchmarks; others are only shown."""
    plans = planned(results, tasks, (method, base))
    # A claim is about all of its benchmarks, so only a model that has all of them can decide it.
    whole = [model for model, known in plans.items() if known == tasks]
    verdict = Verdict(
        basis=ground(results, tasks, whole or plans), paper=published_differences(results, table, tasks, method, base)
    )
    deciding = models_that_count(results, tasks, whole)
    found, missing, zero = [], {}, []
    # A model that lacks a benchmark in the config is shown only if no model has all; it decides nothing.
    for model in deciding or models_that_count(results, tasks, plans):
        rows = [row for task in plans[model] if (row := paired_difference(results, model, task, method, base))]
        # Planned but without a comparison: not run yet, or answered and not judged.
        missing[model] = [task for task in plans[model] if task not in {row["task"] for row in rows}]
        # Of an unpruned score of zero no difference in percent exists.
        zero += [f"{model}: {title(results, row['task'])}" for row in rows if not np.isfinite(row["value"])]
        rows = [row for row in rows if np.isfinite(row["value"])]
        if rows:
            verdict.ours += difference_lines(results, model, rows)
            sizes = {row["task"]: (row["n"], row["pictures"]) for row in rows}
            verdict.ran_on.append(ran(results, model, "evaluation", sizes))
        # Half of the benchmarks never decide a claim about all of them, however clear they are.
        found.append(judge(rows) if len(rows) == len(tasks) else OPEN)
    complete = bool(deciding) and not any(missing.values()) and not zero
    verdict.verdict = together(found) if complete else OPEN
    verdict.why = reason_open(results, tasks, plans, bool(whole), missing, zero)
    return verdict


def reason_open(
    results: Results, tasks: list[str], plans: dict[str, list[str]], whole: bool, missing: dict[str, list[str]],
    zero: list[str],
) -> str:  # fmt: skip
    """Return why a claim about scores cannot be decided."""
    # The most basic reason first: not planned, then not run, then not judged, then too few samples.
    if not whole:
        seen = {task for known in plans.values() for task in known}
        lacking = [title_of(task) for task in tasks if task not in seen]
        unjudged = [title_of(task) for task in seen if not results.facts["benchmarks"][task]["scored"]]
        reasons = (
            [f"not planned in this config: {', '.join(lacking)}"] if lacking else ["no model has all of its benchmarks"]
        )
        return "; ".join(reasons + ([f"not judged: {', '.join(sorted(unjudged))}"] if unjudged else []))
    waiting = {
        model: [task for task in lost if results.facts["benchmarks"][task]["scored"]] for model, lost in missing.items()
    }
    if any(waiting.values()):
        return not_run_yet(results, waiting)
    if any(missing.values()):
        return "the answers are not judged"
    return f"the score to compare with is 0 ({'; '.join(zero)})" if zero else TOO_FEW


def not_worse(
    results: Results, book: Any, table: str, tasks: list[str], method: str, base: str, margin: float
) -> Verdict:
    """Return the verdict on: no benchmark significantly worse, and the mean surely above minus the margin."""
    level = book["margins"]["level"]

    def judge(rows: list[dict[str, Any]]) -> str:
        corrected = holm([row["p"] for row in rows])
        if any(row["value"] < 0 and p < level for row, p in zip(rows, corrected, strict=True)):
            return FAILS
        # No significant loss is not yet proof of none: with few samples nothing is significant. So the interval must lie above.
        return HOLDS if mean_difference(rows)[1] > -margin else OPEN

    return over_models(results, table, tasks, method, base, judge)


def better(results: Results, book: Any, table: str, tasks: list[str], method: str, base: str) -> Verdict:
    """Return the verdict on: the mean difference surely above zero."""
    return over_models(results, table, tasks, method, base, lambda rows: side_of(*mean_difference(rows)[1:]))


def scores_match(results: Results, book: Any, tables: list[str], tolerance: float) -> Verdict:
    """Return the verdict on: every compared cell within the interval or the tolerance."""
    frames = [frame for name in tables if (frame := results.table(name)) is not None]
    cells = pd.concat(frames) if frames else pd.DataFrame(columns=["status", "paper", "ours"])
    # "compared": the paper's model, data and protocol. All others are shown for reference only.
    cells = cells[(cells["status"] == "compared") & cells["paper"].notna() & cells["ours"].notna()]
    values = [
        value
        for name in tables
        for model in published()["tables"][name]["cells"].values()
        for row in model.values()
        for column, value in row.items()
        # Rows of published.yaml hold costs beside the scores.
        if column not in ("tflops", "ratio") and value is not None
    ]
    why = "no cell ran on the paper's model, data and protocol"
    waiting = [name for name in tables if name in results.facts["tables"] and results.table(name) is None]
    if waiting:
        why = f"not run yet: {', '.join(results.facts['tables'][name].split(':')[0] for name in waiting)}"
    verdict = Verdict(paper=[f"{len(values)} scores of its tables"], why=why)
    if cells.empty or waiting:
        return verdict
    # The paper prints no intervals, so a small relative difference counts as agreement even outside of ours.
    close = (cells["ours"] - cells["paper"]).abs() <= tolerance / 100 * cells["paper"].abs()
    inside = (cells["low"] <= cells["paper"]) & (cells["paper"] <= cells["high"])
    agree = close | inside
    verdict.verdict = HOLDS if agree.all() else FAILS
    verdict.ours = [f"{int(agree.sum())} of {len(cells)} compared cells agree"]
    far = cells[~agree]
    if len(far):
        names = [f"{row.model}, {row.title}, {title(results, row.benchmark)}" for row in records_of(far)]
        verdict.ours.append(f"do not: {listed(names, 6)}")
    verdict.ran_on = [f"{model}: {len(part)} cells" for model, part in cells.groupby("model")]
    return verdict
