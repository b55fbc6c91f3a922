"""Score against cost of every schedule of the grid over both stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Figure, Run, Style
from himap.figures._labels import metric_label
from himap.figures._panels import Point, Scatter
from himap.numbers import interval, number, significant
from himap.paths import Paths

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

FRONTIER = "frontier: no other is better at no more cost"


def inputs(run: Run) -> list[str]:
    """Return the scores of each model's and benchmark's grid."""
    return [Paths(run.out).grid(*cell) for cell in run.grid_cells()]


def settings(run: Run) -> dict[str, Any]:
    """Return the models and benchmarks of the grid."""
    return {"cells": [list(cell) for cell in run.grid_cells()]}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return every schedule with score and cost, and whether any other is better at no more cost."""
    import pandas as pd

    parts = [
        pd.read_csv(Paths(results).grid(model, task)).assign(model=model, benchmark=task)
        for model, task in settings["cells"]
    ]
    return pd.concat(parts, ignore_index=True)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a panel per model and benchmark with a point for each schedule."""
    return [
        Scatter(
            title=f"{benchmarks.get(str(task)).title}, n = {int(here['n'].max())}",
            group=f"{model}: the grid over both stages",
            model=str(model),
            x_label="FLOPs, % of unpruned",
            y_label=metric_label(benchmarks.get(str(task))),
            points=[point(row, benchmarks.get(str(task)).digits) for row in here.to_dict("records")],
            head=["image tokens kept", "FLOPs", "score", "95 % interval", "frontier"],
            says="a schedule",
            best=FRONTIER,
        )
        for (model, task), here in frame.groupby(["model", "benchmark"], sort=False)
    ]


def point(row: dict[Any, Any], digits: int) -> Point:
    """Return a schedule as a point."""
    # "50 % before 2, 12.5 % before 8".
    stages = f"{number(100 * row['r1'], 0)} % before {row['k1']}, {significant(100 * row['r2'])} % before {row['k2']}"
    cells = [
        stages if row["r2"] < 1 else "all",  # r1 = r2 = 1 is the unpruned model
        f"{number(100 * row['ratio'])} %",
        number(row["score"], digits),
        interval(row["low"], row["high"], digits),
        "yes" if row["frontier"] else "no",
    ]
    return Point(x=100 * row["ratio"], y=row["score"], best=bool(row["frontier"]), cells=cells)


FIGURE = Figure(
    title="Accuracy against FLOPs",
    about="Score against FLOPs over the grid, with its frontier.",
    caption="Score and FLOPs (the paper's formula, image tokens alone) of every schedule of the grid; on the page then of the"
    " methods of Tables 1, 2 and 5 on each benchmark, their bars the 95 % interval of a score. n is the number of samples."
    " Within a chart the samples are the same for all points; neighbors on a frontier differ by less than their intervals"
    " unless n is large, so it is a guide, not a ranking.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    style=Style(width=7.0, columns=2),
    section="cost",
    rank=9,
)
