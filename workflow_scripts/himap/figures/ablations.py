"""What each ablation costs or gains against the unpruned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Figure, Run, Style
from himap.figures._panels import Dot, Dots, Line, number_or_none
from himap.numbers import interval, number, p_value

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

TABLES = {  # built-in tables, by their files' names
    "ablation_stages": "contribution of the stages",
    "ablation_criteria": "criteria replaced",
    "ablation_hierarchy": "hierarchy replaced, at equal FLOPs",
}
COLUMNS = [
    "table",
    "model",
    "method",
    "title",
    "benchmark",
    "ratio",
    "vs_vanilla",
    "vs_vanilla_low",
    "vs_vanilla_high",
    "p_value",
    "n",
]


def shown_tables(run: Run) -> list[str]:
    """Return the ablation tables that the run has."""
    return [table for table in TABLES if table in run.tables()]


def inputs(run: Run) -> list[str]:
    """Return the ablation tables' records."""
    return [f"{run.out}/tables/{table}.csv" for table in shown_tables(run)]


def settings(run: Run) -> dict[str, Any]:
    """Return the tables, and the benchmarks that are their columns."""
    tables = shown_tables(run)
    return {"tables": tables, "benchmarks": sorted({task for table in tables for task in run.columns(table)})}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return the paired difference to the unpruned model of each ablation on each benchmark."""
    import pandas as pd

    parts = [pd.read_csv(Path(results) / "tables" / f"{name}.csv").assign(table=name) for name in settings["tables"]]
    frame = pd.concat(parts, ignore_index=True)
    return frame.loc[frame["vs_vanilla"].notna(), COLUMNS]  # the unpruned model's own row has no difference


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a group per model and table with a panel for each benchmark."""
    shown: list[Panel] = []
    for (model, table), here in frame.groupby(["model", "table"], sort=False):
        for task, part in here.groupby("benchmark", sort=False):
            digits = benchmarks.get(str(task)).digits
            shown.append(
                Dots(
                    title=f"{benchmarks.get(str(task)).title}, n = {int(part['n'].max())}",
                    group=f"{model}: {TABLES.get(str(table), str(table))}",
                    model=str(model),
                    x_label="difference to the unpruned model",
                    dots=[dot(row, digits) for row in part.sort_values("vs_vanilla").to_dict("records")],
                    head=["method", "difference", "95 % interval", "paired test", "FLOPs"],
                    lines=[Line(at=0.0)],  # no loss
                    says="paired difference, with its 95 % interval",
                )
            )
    return shown


def dot(row: dict[Any, Any], digits: int) -> Dot:
    """Return a method's row."""
    low, high = row["vs_vanilla_low"], row["vs_vanilla_high"]
    cells = [
        row["title"],
        number(row["vs_vanilla"], digits, sign=True),
        interval(low, high, digits, sign=True),
        p_value(row["p_value"]),
        f"{number(row['ratio'])} %",
    ]
    return Dot(
        label=row["title"], value=row["vs_vanilla"], low=number_or_none(low), high=number_or_none(high), cells=cells
    )


FIGURE = Figure(
    title="Ablations against the unpruned model",
    about="Difference to the unpruned model by ablation.",
    caption="What each change costs or gains against the unpruned model on the same n samples, in the benchmark's own unit,"
    " the largest loss first; a whisker is the 95 % interval of the paired difference.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    style=Style(width=12.0, columns=4),
    rank=20,
)
