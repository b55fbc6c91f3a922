"""Reading the rows of an open question, and summing them up with intervals, for the figure of the same name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from himap.figures._base import Figure, Run, Style
from himap.figures._panels import Curve, Dot, Panel, points
from himap.numbers import interval, number
from himap.paths import Paths

if TYPE_CHECKING:
    import pandas as pd


def question_figure(
    name: str,
    *,
    title: str,
    about: str,
    caption: str,
    numbers: Callable[[dict[str, Any], str], pd.DataFrame],
    panels: Callable[[pd.DataFrame], list[Panel]],
    style: Style,
    rank: float,
) -> Figure:
    """Return the figure of an open question, which reads that question's rows alone.

    Its keywords are those of `Figure`: a job's code hash leaves out, by their names, those that the job does not look at.
    """
    return Figure(
        title=title,
        about=about,
        caption=caption,
        inputs=partial(files_of_question, name=name),
        settings=partial(asked_on, name=name),
        numbers=numbers,
        panels=panels,
        style=style,
        section="beyond",
        rank=rank,
    )


def files_of_question(run: Run, name: str) -> list[str]:
    """Return the rows of a question on every model and benchmark on which it is asked."""
    return [Paths(run.out).question(model, task, name) for model, task in run.question_cells(name)]


def asked_on(run: Run, name: str) -> dict[str, Any]:
    """Return the models and benchmarks on which a question is asked."""
    cells = run.question_cells(name)
    return {"cells": [list(cell) for cell in cells], "benchmarks": list(dict.fromkeys(task for _, task in cells))}


def read_question(settings: dict[str, Any], results: str, name: str) -> pd.DataFrame:
    """Return the rows of a question on all models and benchmarks of this run; answers stay texts."""
    import pandas as pd

    # Read as texts, or a sample's id "007" and an answer "1.0" would become numbers.
    texts = dict.fromkeys(("sample_id", "answer", "clean_answer", "other_answer", "kind", "donor"), str)
    parts = [
        # Nothing but an empty cell is missing: pandas would take an answer "None" for that too.
        pd.read_csv(Paths(results).question(model, task, name), dtype=texts, keep_default_na=False, na_values=[""])
        .fillna(dict.fromkeys(texts, ""))
        .assign(model=model, benchmark=task)
        for model, task in settings["cells"]
    ]
    return pd.concat(parts, ignore_index=True)


def shares(frame: pd.DataFrame, keys: Sequence[str], column: str) -> pd.DataFrame:
    """Return the mean of a share (0 to 1) within each group, with its 95 % interval over samples."""
    import pandas as pd

    from himap.metrics.statistics import mean_interval

    rows = []
    # sort=False throughout: groups come in the order of the config, as the figure shows them.
    for place, part in frame.groupby(list(keys), sort=False):
        values = part[column].dropna().to_numpy(dtype=float)
        if not len(values):
            continue
        low, high = mean_interval(values, top=1.0)  # top: no interval of a share goes beyond 1
        sizes = {"value": values.mean(), "low": low, "high": high, "n": len(values)}
        rows.append(dict(zip(keys, place, strict=True)) | sizes)
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def curve(frame: pd.DataFrame, label: str, look: int, x: str = "layer") -> Curve:
    """Return rows with value, low and high as a curve with intervals."""
    edges = frame.sort_values(x)[[x, "low", "high"]].dropna()  # a point of one sample has no interval
    spans = [(float(a), float(low), float(high)) for a, low, high in edges.itertuples(index=False)]
    return Curve(label, points(frame, x=x), look, intervals=spans)


def measured_dot(label: str, row: dict[Any, Any]) -> Dot:
    """Return a value with its interval (none if it is not a number) and its n as a dot."""
    cells = [label, number(row["value"], 2), interval(row["low"], row["high"], 2), str(int(row["n"]))]
    low, high = (None, None) if row["low"] != row["low"] else (row["low"], row["high"])  # NaN alone differs from itself
    return Dot(label=label, value=row["value"], low=low, high=high, cells=cells)
