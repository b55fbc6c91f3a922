"""Figure 8: seconds per example by method, and what fewer tokens could give at best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Figure, Run, Style, files_of
from himap.figures._panels import Dot, Dots, number_or_none
from himap.numbers import number, significant
from himap.paper.published import figure_values
from himap.paths import Paths
from himap.results import RANDOM_WEIGHTS, one_at_a_time, timing_files

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel


def inputs(run: Run) -> list[str]:
    """Return the latency of each model and benchmark, and that of random weights where it is measured."""
    files = files_of(run, "latency", "{model}/{benchmark}.csv")
    return files + ([Paths(run.out).random_latency] if run.config.latency.random_weights else [])


def settings(run: Run) -> dict[str, Any]:
    """Return the benchmarks and the methods in order, with their titles, and what the model of random weights is."""
    part = run.config.latency
    # Each method once, in the order of the config.
    order = list(dict.fromkeys([*part.methods, *(part.random_weights.methods if part.random_weights else [])]))
    titles = {name: run.title(name) for name in order}
    random = {"random_weights": run.random_weights_text} if part.random_weights else {}
    return {"benchmarks": run.known(part.benchmarks), "order": order, "methods": titles, **random}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return seconds per example: each sample's median over the rounds, mean over samples, and the ideal of fewer tokens."""
    import pandas as pd

    from himap.metrics.statistics import mean_interval

    rows = []
    for model, task, path in timing_files(settings, results):
        frame = one_at_a_time(pd.read_csv(path))  # batches and the eager kernel are for the table of efficiency
        per_sample = frame.groupby(["method", "sample_id"], as_index=False)[["seconds_total", "ideal_speedup"]].median()
        means = per_sample.groupby("method")[["seconds_total", "ideal_speedup"]].mean()
        # The ideal is measured from the unpruned time of the same run, since only ratios within a run compare.
        full = means.loc["vanilla", "seconds_total"] if "vanilla" in means.index else float("nan")
        # {} for random weights.
        published = figure_values("figure8", settings["models"].get(model, {}).get("published") or "", task) or {}
        for method in (name for name in settings["order"] if name in means.index):
            row = means.loc[method]
            # No `top`: seconds have no upper bound.
            low, high = mean_interval(per_sample.loc[per_sample["method"] == method, "seconds_total"].to_numpy())
            rows.append(
                {
                    "model": model,
                    "benchmark": task,
                    "method": method,
                    "title": settings["methods"][method],
                    "seconds": row["seconds_total"],
                    "low": low,
                    "high": high,
                    "ideal": full / row["ideal_speedup"],
                    "n": frame["sample_id"].nunique(),
                    "device": frame["device"].iloc[0],  # a run times on one device
                    "paper": published.get(method),
                }
            )
    return pd.DataFrame(rows)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a panel per model and benchmark with a row for each method."""
    shown: list[Panel] = []
    for model, here in frame.groupby("model", sort=False):
        group = f"{model} on {', '.join(sorted(set(here['device'].astype(str))))}"
        for task, part in here.groupby("benchmark", sort=False):
            full = part.set_index("method")["seconds"].get("vanilla")  # None where it was not timed
            title = str(task) if model == RANDOM_WEIGHTS else benchmarks.get(str(task)).title
            shown.append(
                Dots(
                    title=f"{title}, n = {int(part['n'].max())}",
                    group=group,
                    model="" if model == RANDOM_WEIGHTS else str(model),
                    x_label="seconds per example",
                    dots=[dot(row, look, full) for look, row in enumerate(part.to_dict("records"))],
                    head=["method", "seconds", "95 % interval", "less time", "ideal", "paper"],
                    from_zero=True,
                    ideal="ideal: time in proportion to tokens",
                    paper="the paper's, on one A800 80G",
                )
            )
    return shown


def dot(row: dict[Any, Any], look: int, full: float | None) -> Dot:
    """Return a method's row; `full` is the unpruned model's time."""
    paper, ideal = number_or_none(row["paper"]), number_or_none(row["ideal"])
    less = f"{number(100 * (1 - row['seconds'] / full), 0)} %" if full else "–"
    edges = f"{significant(row['low'])} to {significant(row['high'])}"
    cells = [row["title"], significant(row["seconds"]), edges, less, significant(row["ideal"]), number(paper, 3)]
    low, high = number_or_none(row["low"]), number_or_none(row["high"])
    return Dot(
        label=row["title"], value=row["seconds"], low=low, high=high, ideal=ideal, paper=paper, look=look, cells=cells
    )


FIGURE = Figure(
    title="Figure 8: time per example",
    about="Latency per example.",
    caption="Seconds per example from decoded image to answer, methods in turns, each sample's median over the rounds and then"
    " the mean over n samples; a whisker is its 95 % interval. A bar marks the ideal: what the unpruned time would be if it"
    " went with the tokens. Times depend on the device; ratios between methods of one run are what can be compared."
    " Random weights are timed alone, at a size where tokens are the cost: the embedded model is too small to show what fewer"
    " of them save.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    section="cost",
    rank=8,
)
