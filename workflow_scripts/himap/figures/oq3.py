"""OQ3: what dropping at the tower's output costs against dropping in the decoder, and what kept tokens tell of dropped ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._labels import method_or_criterion
from himap.figures._panels import Curves, Dots
from himap.figures._questions import curve, measured_dot, question_figure, read_question

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd

    from himap.figures._panels import Panel

NAME = "oq3"
UNPRUNED, STAGES, HIMAP = "unpruned", "stages", "himap"
AS_HIMAP = 0.0  # the dose of what costs as much as HiMAP
PLACES = {"tower": "tower's output", "input": "decoder's input"}
SETS = {0: "told by the kept tokens", 1: "control, by those of another picture"}
COST = "FLOPs, % of unpruned"
COLUMNS = ("model", "benchmark", "part", "name", "where", "control", "dose", "x", "value", "low", "high", "p", "n")


# ---- numbers


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return accuracy of each arm, differences to HiMAP at its FLOPs, what kept tokens tell, and the gradient's concentration."""
    import pandas as pd

    frame = read_question(settings, results, NAME)
    rows = [
        {"model": model, "benchmark": task, **row}
        for (model, task), part in frame.groupby(["model", "benchmark"], sort=False)
        for row in numbers_of(part)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def numbers_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the numbers of one model and benchmark."""
    parts = {str(name): part for name, part in frame.groupby("part", sort=False)}
    yield from accuracies(parts["arm"])
    yield from differences(parts["arm"])
    left = parts["left"][parts["left"]["same"] == 1]  # tokens that were dropped without a change of the answer
    by_himap = left["criterion"].str.startswith("stage ")  # rows of HiMAP's own stages are named after them
    # All stages together, then each criterion or stage.
    for name, part in [(HIMAP, left[by_himap]), *left.groupby("criterion", sort=False)]:
        yield from told(str(name), part)
    yield from concentrations(parts["gradient"])


def accuracies(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield accuracy over FLOPs of each arm, in percent."""
    from himap.metrics.statistics import mean_interval

    for (where, criterion, dose), part in frame.groupby(["where", "criterion", "dose"], sort=False, dropna=False):
        low, high = mean_interval(part["score"], top=1.0)
        yield {
            "part": "accuracy", "name": named(str(where), criterion), "where": where, "dose": dose, "x": 100 * part["cost"].mean(),
            "value": 100 * part["score"].mean(), "low": 100 * low, "high": 100 * high, "n": len(part),
        }  # fmt: skip


def named(where: str, criterion: Any) -> str:
    """Return the name of an arm without its dose."""
    return where if where == UNPRUNED else HIMAP if where == STAGES else str(criterion)


def differences(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the paired difference to HiMAP, in points, of whatever costs as much as HiMAP."""
    from himap.metrics.paired import paired
    from himap.metrics.statistics import mean_of

    equal = frame[frame["dose"] == AS_HIMAP]
    # Sorted: paired by place.
    base = mean_of(equal[equal["where"] == STAGES].sort_values("sample_id")["score"], binary=True)
    for (where, criterion), part in equal[equal["where"] != STAGES].groupby(["where", "criterion"], sort=False):
        compared = paired(base, mean_of(part.sort_values("sample_id")["score"], binary=True))
        yield {
            "part": "difference", "name": criterion, "where": where, "dose": AS_HIMAP, "value": compared.difference,
            "low": compared.interval[0], "high": compared.interval[1], "p": compared.p_value, "n": compared.n,
        }  # fmt: skip


def told(name: str, frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield which share of the dropped tokens' features kept ones explain (R²), and of their readable content a probe reads there.

    Of the content the unit is what the same probe reads from the tokens themselves. Intervals are over pictures.
    """
    from himap.metrics.bootstrap import bootstrap

    for (where, control), part in frame.groupby(["where", "control"], sort=False):
        # Over the tokens dropped from a picture.
        sums = part.groupby("sample_id")[["error", "spread", "told", "own", "cells"]].sum()
        common = {"name": name, "where": where, "control": control, "n": len(sums)}
        yield {"part": "features", **common, **edges(bootstrap([sums[["error", "spread"]].to_numpy()], explained))}
        if sums["own"].sum() > 0:  # else the probe reads nothing even in the tokens themselves
            yield {"part": "content", **common, **edges(bootstrap([sums[["told", "own"]].to_numpy(float)], quotient))}
            yield {"part": "own", **common, **edges(bootstrap([sums[["own", "cells"]].to_numpy(float)], quotient))}


def explained(means: np.ndarray) -> np.ndarray:
    """Return R² of mean squared error and mean squared spread [..., 2]."""
    return 1 - means[..., 0] / means[..., 1]


def quotient(means: np.ndarray) -> np.ndarray:
    """Return the first of means [..., 2] in units of the second."""
    return means[..., 0] / means[..., 1]


def edges(found: tuple[float, float, float]) -> dict[str, float]:
    """Return a value with its interval by their names."""
    return dict(zip(("value", "low", "high"), found, strict=True))


def concentrations(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the effective number of tokens as a share of all, the share of the top tenth, and the agreement with the decoder's input."""
    from himap.metrics.statistics import mean_interval

    shown = frame.assign(effective=frame["effective"] / frame["tokens"])  # models have unequal numbers of tokens
    for where, part in shown.groupby("where", sort=False):
        # A rank correlation, the last, has no such bound.
        for measure, top in (("effective", 1.0), ("top", 1.0), ("agreement", None)):
            if measure == "agreement" and where == "input":  # with itself
                continue
            values = part[measure].dropna().to_numpy(dtype=float)
            if len(values) > 1:  # one has no interval
                low, high = mean_interval(values, top=top)
                yield {
                    "part": measure, "name": "gradient", "where": where, "value": values.mean(), "low": low, "high": high,
                    "n": len(values),
                }  # fmt: skip


# ---- panels


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and benchmark accuracy over FLOPs, what kept tokens tell by place, and the concentration."""
    cells = frame.groupby(["model", "benchmark"], sort=False)
    return [panel for (model, task), here in cells for panel in panels_of(str(model), str(task), here)]


def panels_of(model: str, task: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the panels of one model and benchmark."""
    common: dict[str, Any] = {"group": f"{model}, {benchmarks.get(task).title}", "model": model}
    accuracy = frame[frame["part"] == "accuracy"]
    arms = accuracy[accuracy["where"] != UNPRUNED].groupby(["where", "name"], sort=False)
    yield Curves(
        title=f"where tokens go, n = {int(accuracy['n'].max())}", x_label=COST, y_label="accuracy, %", digits=1, **common,
        curves=[curve(part, arm_label(str(where), str(name)), look, x="x") for look, ((where, name), part) in enumerate(arms)],
    )  # fmt: skip
    for part, title in (
        ("features", "share of dropped features that kept tokens explain"),
        ("content", "dropped content that kept tokens tell, of what a probe reads in the tokens themselves"),
    ):
        rows = frame[(frame["part"] == part) & (frame["name"] == HIMAP)].to_dict("records")
        yield Dots(
            title=title, x_label="share (R²)" if part == "features" else "share", from_zero=True, **common,
            dots=[measured_dot(f"{place_label(row['where'])}, {SETS[int(row['control'])]}", row) for row in rows],
            head=["place", "share", "95 % interval", "pictures"],
        )  # fmt: skip
    yield Dots(
        title="tokens that the answer's loss depends on", x_label="effective number, share of all", from_zero=True, **common,
        dots=[measured_dot(place_label(row["where"]), row) for row in frame[frame["part"] == "effective"].to_dict("records")],
        head=["place", "share", "95 % interval", "samples"],
    )  # fmt: skip


def arm_label(where: str, name: str) -> str:
    """Return an arm in words."""
    shown = method_or_criterion(name)
    return {"tower": f"tower's output, {shown}", "decoder": f"one layer of the decoder, {shown}"}.get(where, "HiMAP")


def place_label(where: str) -> str:
    """Return a place in words."""
    return PLACES.get(where, where)


FIGURE = question_figure(
    NAME,
    title="Redundancy in the encoder or in the decoder",
    about="Dropping at the tower's output against dropping in the decoder, and what kept tokens tell of dropped ones.",
    caption="First: image tokens are dropped at the tower's output by several criteria, at an early layer of the decoder, or in HiMAP's"
    " stages, at equal FLOPs (the paper's formula) where that is possible. Then, for tokens that HiMAP drops without a change of the"
    " answer: the share of their features that a ridge regression explains from the nearest kept tokens and the mean of all kept ones"
    " (R²), and the glyphs and colors of their cells that a linear probe reads there, of those that it reads in the tokens themselves;"
    " fitted on other pictures, at the tower's output, the decoder's input and between layers. The control is told by the kept tokens of"
    " another picture. What kept tokens tell, the encoder has said twice; what they do not tell, the decoder did not use. Last: the"
    " effective number of tokens (exp of the entropy) over which |x · dL/dx| is spread. Bars are 95 % intervals over pictures.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    rank=23,
)
