"""Reading the rows of an open question, and summing them up with intervals, for the figure of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from himap.figures._panels import Curve, Dot, points
from himap.numbers import interval, number
from himap.paths import Paths

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._base import Run


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

    texts = dict.fromkeys(("sample_id", "answer", "clean_answer", "other_answer", "kind", "donor"), str)
    parts = [
        pd.read_csv(Paths(results).question(model, task, name), dtype=texts, keep_default_na=True)
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
    for place, part in frame.groupby(list(keys), sort=False):
        values = part[column].dropna().to_numpy(dtype=float)
        if not len(values):
            continue
        low, high = mean_interval(values, top=1.0)
        sizes = {"value": values.mean(), "low": low, "high": high, "n": len(values)}
        rows.append(dict(zip(keys, place, strict=True)) | sizes)
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def curve(frame: pd.DataFrame, label: str, look: int, x: str = "layer") -> Curve:
    """Return rows with value, low and high as a curve with intervals."""
    edges = frame.sort_values(x)[[x, "low", "high"]].dropna()
    spans = [(float(a), float(low), float(high)) for a, low, high in edges.itertuples(index=False)]
    return Curve(label, points(frame, x=x), look, intervals=spans)


def measured_dot(label: str, row: dict[Any, Any]) -> Dot:
    """Return a value with its interval (none if it is not a number) and its n as a dot."""
    cells = [label, number(row["value"], 2), interval(row["low"], row["high"], 2), str(int(row["n"]))]
    low, high = (None, None) if row["low"] != row["low"] else (row["low"], row["high"])
    return Dot(label=label, value=row["value"], low=low, high=high, cells=cells)
