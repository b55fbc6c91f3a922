"""The methods of the main tables by score and FLOPs, shown on the page below the grid's frontier."""

from __future__ import annotations

import pandas as pd

from himap import benchmarks
from himap.costs.formulas import on_frontier
from himap.figures._labels import metric_label
from himap.figures._panels import Panel, Point, Scatter, number_or_none
from himap.figures.frontier import FRONTIER
from himap.numbers import interval, number
from himap.results import Results, records_of

TABLES = ("table1", "table2", "table5")


def method_panels(results: Results) -> list[Panel]:
    """Return a group of panels per model, one panel per benchmark."""
    frames = [frame for name in TABLES if (frame := results.table(name)) is not None]
    if not frames:
        return []
    cells = pd.concat(frames)
    scored = cells[cells["ours"].notna()].groupby(["model", "benchmark"], sort=False)
    panels = [method_panel(str(model), str(task), part) for (model, task), part in scored]
    models = list(dict.fromkeys(cells["model"]))
    # Stable: a model's benchmarks stay in the order of the tables.
    return sorted(panels, key=lambda panel: models.index(panel.model))


def method_panel(model: str, task: str, cells: pd.DataFrame) -> Panel:
    """Return a benchmark's methods as named points."""
    digits = benchmarks.get(task).digits
    best = on_frontier(cells["ratio"].tolist(), cells["ours"].tolist())
    points = [
        Point(
            x=row.ratio, y=row.ours, low=number_or_none(row.low), high=number_or_none(row.high), best=first, label=row.title,
            cells=[
                row.title, f"{number(row.ratio)} %", number(row.ours, digits),
                interval(row.low, row.high, digits), "yes" if first else "no",
            ],
        )
        for row, first in zip(records_of(cells), best, strict=True)
    ]  # fmt: skip
    return Scatter(
        title=f"{benchmarks.get(task).title}, n = {int(cells['n'].max())}",
        group=f"{model}: the methods",
        model=model,
        x_label="FLOPs, % of unpruned",
        y_label=metric_label(benchmarks.get(task)),
        points=points,
        head=["method", "FLOPs", "score", "95 % interval", "frontier"],
        says="a method, with the 95 % interval of its score",
        best=FRONTIER,
    )
