"""Means over parts of a table of per-sample scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def by_group(
    frame: pd.DataFrame, column: str, score: str = "score", scale: float = 100.0, prefix: str = ""
) -> dict[str, float]:
    """Return the mean score for each value of a column, under the value's name."""
    means = frame.groupby(column, sort=True)[score].mean() * scale
    return {f"{prefix}{value}": float(mean) for value, mean in means.items()}


def total(frame: pd.DataFrame, column: str, scale: float = 100.0) -> float:
    """Return the mean of one column, times a scale."""
    return float(frame[column].mean() * scale)


def accuracy(frame: Any) -> Any:
    """Return the mean of answers that are right or wrong; pictures are drawn for its interval, each with all its questions."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"], clusters=frame.get("picture"), binary=True)
