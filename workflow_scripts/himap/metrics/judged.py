"""Parse and average the verdicts of a judging language model: LLaVA-Bench's pairs of scores, MM-Vet's grades."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Verdict = list[float] | None  # LLaVA-Bench: [reference, model]; MM-Vet: [grade]; None: unreadable


def parse_pair(review: str) -> Verdict:
    """Return LLaVA-Bench's two scores: exactly two numbers on the first line, separated by a space or a comma; else None."""
    parts = review.split("\n")[0].replace(",", " ").split(" ")
    numbers = [number for part in parts if (number := as_float(part)) is not None]
    # "8, 7" has three parts, one of them empty, and is unreadable for the official script too.
    return numbers if len(parts) == len(numbers) == 2 else None


def parse_grade(content: str) -> Verdict:
    """Return MM-Vet's grade: the first word, if it is a number from 0 to 1; else None."""
    grade = as_float(content.split(" ")[0].strip())
    return [grade] if grade is not None and 0.0 <= grade <= 1.0 else None


def as_float(text: str) -> float | None:
    """Return the finite number that a text is, or None; a judge's 'nan' or 'inf' is no score."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def run_columns(verdicts: Sequence[Verdict], names: Sequence[str]) -> dict[str, float]:
    """Return one column per run and score (score_1, score_2, ...), NaN where the verdict of a run could not be read."""
    missing = [float("nan")] * len(names)
    return {
        f"{name}_{run}": value
        for run, verdict in enumerate(verdicts, start=1)
        for name, value in zip(names, verdict or missing, strict=True)
    }


def unreadable_counts(frame: pd.DataFrame) -> dict[str, float]:
    """Return how many verdicts could not be read, and how many there are."""
    return {"unreadable": float(frame["unreadable"].sum()), "verdicts": float(len(frame) * len(runs_of(frame)))}


def runs_of(frame: pd.DataFrame) -> list[int]:
    """Return the numbers of the judge's runs in a table of per-sample scores."""
    return sorted(int(name.removeprefix("score_")) for name in frame.columns if name.startswith("score_"))


def relative_scores(sums: Any) -> Any:
    """Return LLaVA-Bench's result of each run, from sums of both scores and of verdicts: [..., 3 runs] -> [..., runs].

    The official script rounds both means to three decimals and their ratio to one, and so do we.
    """
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        # 0: the model's scores, 1: the reference's, 2: how many verdicts could be read.
        model, reference = (np.round(sums[..., start::3] / sums[..., 2::3], 3) for start in (0, 1))
        return np.round(100.0 * model / reference, 1)


def relative_estimate(frame: pd.DataFrame) -> Any:
    """Return the mean of the runs' results as an Estimate; a question with an unreadable verdict is in neither mean."""
    import numpy as np

    from himap.metrics.statistics import Estimate

    parts = []
    for run in runs_of(frame):
        scores = frame[[f"score_{run}", f"reference_{run}"]].to_numpy(dtype=np.float64)  # [n, 2]
        readable = ~np.isnan(scores).any(axis=1)  # [n]
        # 0 and not NaN, which would make the whole sum NaN. The third column is what the sums are divided by.
        parts += [np.where(readable[:, None], scores, 0.0), readable[:, None].astype(np.float64)]
    values = np.concatenate(parts, axis=1)  # [n, 3 runs]
    pictures = frame["picture"].to_numpy(dtype=str) if "picture" in frame else None
    return Estimate(values, lambda sums: relative_scores(sums).mean(axis=-1), pictures)
