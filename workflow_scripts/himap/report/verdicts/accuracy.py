"""Rules about scores: differences between methods on the same samples, and scores against the paper's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from himap.metrics.statistics import error_of_mean
from himap.published import published
from himap.report.results import Results, records_of
from himap.report.text import interval, listed, number, p_value
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    Verdict,
    Z,
    ground,
    holm,
    models_that_count,
    ran,
    side_of,
    title,
    title_of,
    together,
)


def paired_differences(results: Results, model: str, tasks: list[str], method: str, base: str) -> list[dict[str, Any]]:
    """Per benchmark, method minus base in percent of the base's score."""
    rows = []
    for task in tasks:
        if task not in results.facts["benchmarks"]:
            continue
        against, score = results.compare(model, task, base, method), results.score(model, task, base)
        if against is None or score is None or not score["headline"]:
            continue
        unit = 100 / abs(score["headline"])
        low, high = (unit * edge for edge in against.interval)
        rows.append(
            {
                "task": task,
                "n": against.n,
                "value": unit * against.difference,
                "low": low,
                "high": high,
                "p": against.p_value,
            }
        )
    return rows


def mean_difference(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The mean over benchmarks with its interval, the benchmarks being independent."""
    spread = error_of_mean((row["high"] - row["low"]) / (2 * Z) for row in rows)
    mean = sum(row["value"] for row in rows) / len(rows)
    return mean, mean - Z * spread, mean + Z * spread


def difference_lines(results: Results, model: str, rows: list[dict[str, Any]]) -> list[str]:
    """The mean, then the benchmarks one after another."""
    mean, low, high = mean_difference(rows)
    lines = [f"{model}: mean {number(mean, sign=True)} % [{interval(low, high, sign=True)}]"]
    if len(rows) > 1:
        each = [
            f"{title(results, row['task'])} {number(row['value'], sign=True)} % ({p_value(row['p'])})" for row in rows
        ]
        lines.append(", ".join(each))
    return lines


def published_differences(results: Results, table: str, tasks: list[str], method: str, base: str) -> list[str]:
    """The same differences, in percent of the base's score, as the paper prints the scores."""
    lines = []
    for model, cells in published()["tables"][table]["cells"].items():
        changes = {}
        for task in tasks:
            one, other = (cells.get(name, {}).get(task) for name in (method, base))
            if one is not None and other is not None:
                changes[task] = 100 * (one - other) / other
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


def over_models(results: Results, table: str, tasks: list[str], method: str, base: str, judge: Any) -> Verdict:
    """Differences on each model that counts, and the verdict over all."""
    verdict = Verdict(basis=ground(results, tasks), paper=published_differences(results, table, tasks, method, base))
    found = []
    for model in models_that_count(results, tasks):
        rows = paired_differences(results, model, tasks, method, base)
        if not rows:
            found.append(OPEN)
            continue
        found.append(judge(rows))
        verdict.ours += difference_lines(results, model, rows)
        verdict.ran_on.append(ran(results, model, "evaluation", {row["task"]: row["n"] for row in rows}))
    verdict.verdict = together(found)
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    if not known:
        verdict.why = "these benchmarks are not in the config"
    elif not verdict.ours:
        unjudged = all(not results.facts["benchmarks"][task]["scored"] for task in known)
        verdict.why = "the answers are not judged" if unjudged else "not run yet, or the score to compare with is 0"
    else:
        verdict.why = "the samples are too few to tell"
    return verdict


def not_worse(
    results: Results, book: Any, table: str, tasks: list[str], method: str, base: str, margin: float
) -> Verdict:
    """No benchmark significantly worse, and the mean surely above minus the margin."""
    level = book["margins"]["level"]

    def judge(rows: list[dict[str, Any]]) -> str:
        corrected = holm([row["p"] for row in rows])
        if any(row["value"] < 0 and p < level for row, p in zip(rows, corrected, strict=True)):
            return FAILS
        return HOLDS if mean_difference(rows)[1] > -margin else OPEN

    return over_models(results, table, tasks, method, base, judge)


def better(results: Results, book: Any, table: str, tasks: list[str], method: str, base: str) -> Verdict:
    """The mean difference surely above zero."""
    return over_models(results, table, tasks, method, base, lambda rows: side_of(*mean_difference(rows)[1:]))


def scores_match(results: Results, book: Any, tables: list[str], tolerance: float) -> Verdict:
    """Every compared cell within the interval or the tolerance."""
    frames = [frame for name in tables if (frame := results.table(name)) is not None]
    cells = pd.concat(frames) if frames else pd.DataFrame(columns=["status", "paper", "ours"])
    cells = cells[(cells["status"] == "compared") & cells["paper"].notna() & cells["ours"].notna()]
    values = [
        value
        for name in tables
        for model in published()["tables"][name]["cells"].values()
        for row in model.values()
        for column, value in row.items()
        if column not in ("tflops", "ratio") and value is not None
    ]
    verdict = Verdict(paper=[f"{len(values)} scores of its tables"], why="no cell ran on the paper's model and data")
    if cells.empty:
        return verdict
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
