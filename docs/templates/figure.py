"""Template of a figure: the scores of a table's methods with their intervals.

Copy this file to `workflow_scripts/himap/figures/<name>.py` and change the parts; `./reproduce <name>` makes it, and the
report page shows it. `himap/figures/_base.py` describes every field, `_panels.py` what can be drawn. Import numpy and
pandas inside functions only: this file is read each time the workflow starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Figure, Run, Style
from himap.figures._panels import Dot, Dots, number_or_none
from himap.numbers import interval, number

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

TABLE = "table1"


def inputs(run: Run) -> list[str]:
    """Return the result files that `numbers` reads; Snakemake makes them first. Without any the figure is left out."""
    return [f"{run.out}/tables/{TABLE}.csv"] if TABLE in run.tables() else []


def settings(run: Run) -> dict[str, Any]:
    """Return what `numbers` and `panels` depend on beside the results; a change makes the numbers again."""
    return {"benchmarks": run.columns(TABLE) if TABLE in run.tables() else []}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return one tidy table, which is kept as results/figures/data/<name>.csv."""
    import pandas as pd

    frame = pd.read_csv(Path(results) / "tables" / f"{TABLE}.csv")
    columns = ["model", "benchmark", "title", "ours", "low", "high", "n"]
    return frame.loc[frame["ours"].notna() & frame["benchmark"].isin(settings["benchmarks"]), columns]


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return what is drawn, in the PNG and on the page alike: here a row per method, a panel per benchmark."""
    return [
        Dots(
            title=f"{benchmarks.get(str(task)).title}, n = {int(part['n'].max())}",
            group=str(model),  # panels of a group stand side by side
            model=str(model),
            x_label="score",
            dots=[dot(row, look, benchmarks.get(str(task)).digits) for look, row in enumerate(part.to_dict("records"))],
            head=["method", "score", "95 % interval"],
            says="score, with its 95 % interval",
        )
        for (model, task), part in frame.groupby(["model", "benchmark"], sort=False)
    ]


def dot(row: dict[Any, Any], look: int, digits: int) -> Dot:
    """Return a method's row; `look` chooses its color, `cells` are its numbers as the page lists them."""
    cells = [row["title"], number(row["ours"], digits), interval(row["low"], row["high"], digits)]
    low, high = number_or_none(row["low"]), number_or_none(row["high"])
    return Dot(label=row["title"], value=row["ours"], low=low, high=high, look=look, cells=cells)


FIGURE = Figure(
    title="Scores of Table 1",
    about="Scores of Table 1 with their intervals.",  # for docs/configuration.md
    caption="The score of each method in the benchmark's own unit, over n samples; a whisker is its 95 % interval.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    style=Style(width=8.0),  # what the config's `figures:` may change
)
