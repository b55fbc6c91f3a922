"""Rules about the grid over K and R; each reads the numbers behind the figure `sweep`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from himap.numbers import interval, number
from himap.report.verdicts.questions import concluded
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, TOO_FEW, Verdict, ran, side_of, title, title_of
from himap.results import Results, scope

NOT_BOTH = "it takes both models in one run"


def numbers_of(results: Results, part: str, name: str) -> list[dict[Any, Any]]:
    """Return the numbers of one part of the figure that could be measured."""
    frame = results.figure("sweep")
    frame = pd.DataFrame(columns=["part", "name", "value"]) if frame is None else frame
    return frame[(frame["part"] == part) & (frame["name"] == name)].dropna(subset=["value"]).to_dict("records")


def points(row: dict[Any, Any]) -> str:
    """Return a difference in points with its interval."""
    return f"{number(row['value'], sign=True)} points [{interval(row['low'], row['high'], sign=True)}]"


def lose_more(results: Results, book: Any, captions: str, questions: str) -> Verdict:
    """Return the verdict on: over the grid, captions lose more of their score than questions do."""
    cells, lines, ran_on = [], [], []
    halves = {(row["model"], row["benchmark"]): row for row in numbers_of(results, "control", "halves")}
    for row in numbers_of(results, "surplus", questions):
        if row["benchmark"] != captions:
            continue
        model = str(row["model"])
        # Positive: captions lose more of their score than questions, over the same schedules.
        cells.append((model, captions, side_of(row["low"], row["high"])))
        lines.append(
            f"{model}: {title(results, captions)} loses {points(row)} more than {title(results, questions)}, "
            f"mean of {int(row['schedules'])} schedules"
        )
        control = halves.get((model, questions))
        lines += (
            [f"control, one half of the pictures of {title(results, questions)} against the other: {points(control)}"]
            if control
            else []
        )
        counts = {task: (int(n), int(n)) for task, n in ((captions, row["n"]), (questions, row["n_base"]))}
        ran_on.append(ran(results, model, "grid", counts))
    return concluded(results, cells, lines, ran_on)


def wants_other(results: Results, book: Any, model: str, than: str, margin: float) -> Verdict:
    """Return the verdict on: a model's own choice of K and R is better than another's; `margin` is what is none better."""
    # Claims name models as the paper does, results by their key in the config.
    names = {facts["published"]: name for name, facts in results.facts["models"].items()}
    rows = [row for row in numbers_of(results, "transfer", names.get(than, "")) if row["model"] == names.get(model)]
    if not rows:
        here = ", ".join(results.facts["models"])
        return Verdict(why=f"{NOT_BOTH}: {model} and {than}, over the same grid; this run has {here}")
    # The last row is the mean over the benchmarks (`himap.figures.sweep`).
    mean, tasks = rows[-1], [str(row["benchmark"]) for row in rows if row["benchmark"] in results.facts["benchmarks"]]
    verdict = HOLDS if mean["low"] > 0 else FAILS if mean["high"] < margin else OPEN
    each = [f"{title_of(row['benchmark'])} {points(row)}" for row in rows if row["benchmark"] in tasks]
    lines = [f"{names[model]} with its own K and R against those of {names[than]}: {points(mean)}; {', '.join(each)}"]
    counts = {str(row["benchmark"]): (int(row["n"]), int(row["n"])) for row in rows if row["benchmark"] in tasks}
    basis = scope(results.facts, names[model], tasks)
    return Verdict(verdict, basis, ours=lines, ran_on=[ran(results, names[model], "grid", counts)], why=TOO_FEW)


TESTS: dict[str, Callable[..., Verdict]] = {"lose_more": lose_more, "wants_other": wants_other}
