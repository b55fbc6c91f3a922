"""The main figure: how much of the unpruned model's score each method keeps, over what it costs."""

from __future__ import annotations

import numpy as np

from himap.figures._labels import INTERVAL
from himap.figures._panels import Panel, Point, Scatter
from himap.metrics.statistics import mean_of_intervals
from himap.numbers import NONE, interval, number
from himap.report.findings import BASE, name_of
from himap.report.verdicts.accuracy import paired_difference
from himap.results import Results, methods_of

SHOWN = 2  # models on the first screen; the others are one click away


def tradeoff_panels(results: Results) -> list[Panel]:
    """Return a panel per model that has scores of the first table's methods."""
    return [panel for model in results.facts["models"] if (panel := tradeoff_panel(results, model))]


def tradeoff_panel(results: Results, model: str) -> Panel | None:
    """Return one model's methods; only benchmarks on which all of them are scored count, so that all means are alike."""
    methods = results.facts["main_methods"]
    tasks = [
        task
        for task in results.facts["benchmarks"]
        if set(methods) <= set(methods_of(results, model, task))
        and all(results.score(model, task, name) is not None for name in methods)
    ]
    if BASE in methods:  # of an unpruned score of zero nothing can be a share
        tasks = [task for task in tasks if (results.score(model, task, BASE) or {}).get("headline")]
    if BASE not in methods or not tasks:
        return None
    costs = {name: mean_ratio(results, model, name, tasks) for name in methods}
    points = [
        method_point(results, model, name, tasks, costs[name], look)
        for look, name in enumerate(methods)
        # NaN differs from itself: a method whose FLOPs are not counted yet has no place on this axis.
        if costs[name] == costs[name]
    ]
    return Scatter(
        title=f"{model}, mean over {len(tasks)} benchmark{'s' if len(tasks) > 1 else ''}",
        model=model,
        x_label="FLOPs, % of unpruned (paper's formula)",
        y_label="score, % of unpruned",
        points=points,
        head=["method", "FLOPs", "score", "95 % interval"],
        says=f"a method: {INTERVAL}",
        best="",
    )


def mean_ratio(results: Results, model: str, method: str, tasks: list[str]) -> float:
    """Return a method's share of the unpruned FLOPs, mean over benchmarks; NaN where it was not computed."""
    shares = []
    for task in tasks:
        frame = results.flops(model, results.facts["benchmarks"][task]["kind"], method)
        if frame is not None:
            shares.append(100 * float(frame.set_index("convention")["ratio"]["paper"]))
    return float(np.mean(shares)) if shares else float("nan")


def method_point(results: Results, model: str, method: str, tasks: list[str], ratio: float, look: int) -> Point:
    """Return a method as a point with the interval of its mean paired difference."""
    rows = [row for task in tasks if (row := paired_difference(results, model, task, method, BASE))]
    known = [row for row in rows if np.isfinite(row["value"])]
    # The unpruned model is 100 % by definition, so an interval around it would say nothing.
    mean, low, high = (0.0, 0.0, 0.0) if method == BASE else mean_of_intervals(
        [row["value"] for row in known], [(row["low"], row["high"]) for row in known]
    )  # fmt: skip
    edges = NONE if method == BASE else interval(100 + low, 100 + high)
    return Point(
        # The mean is of differences in percent of the unpruned score, which is 100.
        x=ratio, y=100 + mean, low=None if method == BASE else 100 + low, high=None if method == BASE else 100 + high,
        label=name_of(results, method), look=look,
        cells=[name_of(results, method), f"{number(ratio)} %", f"{number(100 + mean)} %", edges],
    )  # fmt: skip
