"""What K and R cost questions and captions, over the grid of schedules, and whether one model's choice serves another."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Figure, Run, Style
from himap.figures._labels import LAYER
from himap.figures._panels import Curves, Dots, Range
from himap.figures._questions import curve, measured_dot
from himap.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd

    from himap.figures._panels import Panel

SCHEDULE = ["k1", "r1", "k2", "r2"]  # columns of the grid's tables; r is the share of all image tokens kept
UNPRUNED = (0, 1.0, 0, 1.0)  # how the grid's tables name the unpruned model
MEAN = "mean of all"  # in place of a benchmark
PARAMETERS = {
    "K1": ("K1, where the shallow stage is", LAYER),
    "R1": ("R1, what it drops", "% of the image tokens"),
    "K2": ("K2, where the deep stage is", LAYER),
    "R2": ("R2, what it drops of the rest", "% of what the shallow stage left"),
}
COLUMNS = ("model", "benchmark", "part", "name", "x", "value", "low", "high", "n", "n_base", "schedules")


def inputs(run: Run) -> list[str]:
    """Return what the grids' schedules cost, and each sample's score under each of them."""
    return [Paths(run.out).grid(*cell, name) for cell in run.grid_cells() for name in ("scores.csv", "samples.csv")]


def settings(run: Run) -> dict[str, Any]:
    """Return the models and benchmarks of the grid, and which of these are questions, which captions."""
    cells = run.grid_cells()
    return {"cells": [list(cell) for cell in cells], "kinds": {task: benchmarks.get(task).task for _, task in cells}}


# ---- numbers


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return what each value of K and R leaves of the score, by how much captions lose more, and what another's choice costs."""
    import pandas as pd

    tables = {(model, task): read_grid(results, model, task) for model, task in settings["cells"]}
    rows = [
        {"model": model, "benchmark": task, **row}
        for (model, task), table in tables.items()
        for row in (*effects(table), *control(table))
    ]
    kinds = settings["kinds"]
    for model in dict.fromkeys(model for model, _ in tables):
        asked = [task for other, task in tables if other == model]
        for task in (task for task in asked if kinds[task] == "qa"):
            for captions in (task for task in asked if kinds[task] == "caption"):
                gap = surplus(tables[model, captions], tables[model, task])
                rows.append({"model": model, "benchmark": captions, "part": "surplus", "name": task, **gap})
    # Both ways: A's choice for B and B's for A.
    for model, other in permutations(dict.fromkeys(model for model, _ in tables), 2):
        rows += [{"model": model, "name": other, **row} for row in transfers(results, tables, model, other)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_grid(results: str, model: str, task: str) -> pd.DataFrame:
    """Return the summed scores of each picture (a row) under each schedule (a column)."""
    import pandas as pd

    frame = pd.read_csv(Paths(results).grid(model, task, "samples.csv"), dtype={"sample_id": str, "picture": str})
    # Sums, so that a picture with more questions counts for more, as in the benchmark's score.
    return frame.pivot_table(index="picture", columns=SCHEDULE, values="score", aggfunc="sum", sort=False)


def pruned_mean(table: pd.DataFrame, schedules: list[Any] | None = None) -> np.ndarray:
    """Return each picture's mean score over some schedules (all that prune), and its unpruned one: [n, 2]."""
    import numpy as np

    chosen = pruning_ones(table) if schedules is None else schedules
    return np.stack([table[chosen].mean(axis=1).to_numpy(), table[UNPRUNED].to_numpy()], axis=1)


def pruning_ones(table: pd.DataFrame) -> list[Any]:
    """Return the schedules that prune."""
    return [schedule for schedule in table.columns if schedule != UNPRUNED]


def share_left(means: np.ndarray) -> np.ndarray:
    """Return the score that is left, in percent of the unpruned one, of means [..., 2]."""
    import numpy as np

    unpruned = means[..., 1]  # 0 in a draw of pictures without a score, of which nothing can be said
    return 100 * means[..., 0] / np.where(unpruned > 0, unpruned, np.nan)


def measured(groups: list[np.ndarray], statistic: Any) -> dict[str, float]:
    """Return a statistic of groups of pictures with its interval; no number where a score of nothing is left to compare with."""
    from himap.metrics.bootstrap import bootstrap

    if any(not len(group) or not group[:, -1].any() for group in groups):
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    return dict(zip(("value", "low", "high"), bootstrap(groups, statistic), strict=True))


def levels(k1: int, r1: float, k2: int, r2: float) -> dict[str, float]:
    """Return a schedule's K and R as the paper writes them: layers, and percent dropped of what was there."""
    # Rounded: 1 - 0.9 is not quite 0.1, and levels are compared as keys.
    return {"K1": k1, "R1": round(100 * (1 - r1), 3), "K2": k2, "R2": round(100 * (1 - r2 / r1), 3)}


def effects(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield for each value of K1, R1, K2 and R2 what is left of the score in the mean of the schedules that have it."""
    schedules: dict[tuple[str, float], list[Any]] = {}
    for schedule in pruning_ones(table):
        for place in levels(*schedule).items():
            schedules.setdefault(place, []).append(schedule)
    for (name, x), chosen in sorted(schedules.items()):
        left = measured([pruned_mean(table, chosen)], share_left)
        yield {"part": "left", "name": name, "x": x, **left, "n": len(table), "schedules": len(chosen)}


def surplus(captions: pd.DataFrame, questions: pd.DataFrame) -> dict[str, float]:
    """Return by how many points captions lose more than questions do, in percent of the unpruned score and the mean of all schedules."""
    groups = [pruned_mean(captions), pruned_mean(questions)]  # drawn apart: their pictures differ
    gap = measured(groups, lambda first, second: share_left(second) - share_left(first))
    return {**gap, "n": len(captions), "n_base": len(questions), "schedules": len(captions.columns) - 1}


def control(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield by how much one half of the pictures loses more than the other, which should be nothing."""
    yield {"part": "control", "name": "halves", **surplus(*(table.loc[half] for half in halves(table.index)))}


def halves(pictures: pd.Index) -> list[pd.Index]:
    """Return two halves of some pictures, drawn since neighbors may be of one kind."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(pictures))  # always the same halves
    return [pictures[np.sort(order[half::2])] for half in (0, 1)]


# ---- one model's choice for another


def transfers(
    results: str, tables: dict[tuple[str, str], pd.DataFrame], model: str, other: str
) -> list[dict[str, Any]]:
    """Return by how much a model's own choice of K and R is better than another model's, on each benchmark and in their mean."""
    import numpy as np

    shared = [task for of, task in tables if of == model and (other, task) in tables]
    groups, rows = [], []
    for task in shared:
        gains, choice = cross_fitted(results, tables, model, other, task)
        groups.append(gains)
        rows.append(
            {"benchmark": task, "part": "transfer", "schedules": choice, "n": len(gains)}
            | measured([gains], share_left)
        )
    mean = measured(groups, lambda *means: np.mean([share_left(part) for part in means], axis=0)) if groups else {}
    return (
        [*rows, {"benchmark": MEAN, "part": "transfer", "n": sum(map(len, groups)), **mean}]
        if len(groups) > 1
        else rows
    )


def cross_fitted(
    results: str, tables: dict[tuple[str, str], pd.DataFrame], model: str, other: str, task: str
) -> tuple[np.ndarray, int]:
    """Return each picture's score under the own choice less that under the other's, beside the unpruned score [n, 2], and how
    many of the schedules could be chosen.

    Each half of the pictures chooses for both models; the other half is what is compared. Only schedules that are among the
    cheaper half of the grid in both models can be chosen: without a bound the dearest would be best.
    """
    import numpy as np

    own, theirs = (tables[name, task] for name in (model, other))
    common = own.index.intersection(theirs.index)
    cheap = sorted(cheaper_half(results, model, task) & cheaper_half(results, other, task))
    parts = []
    for choosing, judging in permutations(halves(common)):  # twice, halves swapped, so that every picture is judged
        # Each model chooses by its own scores, but both are judged by this model's.
        mine, yours = (best(table.loc[choosing], cheap) for table in (own, theirs))
        judged = own.loc[judging]
        parts.append(np.stack([(judged[mine] - judged[yours]).to_numpy(), judged[UNPRUNED].to_numpy()], axis=1))
    return np.concatenate(parts), len(cheap)


def cheaper_half(results: str, model: str, task: str) -> set[Any]:
    """Return the half of the schedules that cost the fewest FLOPs."""
    import pandas as pd

    costs = pd.read_csv(Paths(results).grid(model, task)).set_index(SCHEDULE)["ratio"].drop(UNPRUNED)
    return set(costs[costs <= costs.median()].index)


def best(table: pd.DataFrame, schedules: list[Any]) -> Any:
    """Return the schedule of the highest score; of equals the first, so that two models that cannot tell choose alike."""
    return table[schedules].sum().idxmax()


# ---- panels


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model a panel per parameter with a curve per benchmark, what captions lose more, and what another's choice costs."""
    import numpy as np

    shown: list[Panel] = []
    for model, here in frame.groupby("model", sort=False):
        left = here[here["part"] == "left"]
        edges = left[["value", "low", "high"]].to_numpy(float)
        # The same for all four, so that a glance says which of them costs most.
        y_range = (float(np.nanmin(edges)) - 2, float(np.nanmax(edges)) + 2) if np.isfinite(edges).any() else None
        shown += [parameter_panel(str(model), name, left[left["name"] == name], y_range) for name in PARAMETERS]
        shown += difference_panels(str(model), here)
    return shown


def parameter_panel(model: str, name: str, frame: pd.DataFrame, y_range: Range | None) -> Panel:
    """Return what each value of a parameter leaves of the score, in the mean of the schedules that have it."""
    title, x_label = PARAMETERS[name]
    sizes = {str(task): int(part["n"].max()) for task, part in frame.groupby("benchmark", sort=False)}
    return Curves(
        title=title, group=f"{model}: the grid over both stages", model=model,
        x_label=x_label, y_label="score left, % of unpruned", y_range=y_range, digits=1,
        curves=[
            curve(frame[frame["benchmark"] == task], f"{benchmarks.get(task).title}, n = {n} pictures", look, x="x")
            for look, (task, n) in enumerate(sizes.items())
        ],
    )  # fmt: skip


def difference_panels(model: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the differences between kinds of benchmarks with their control, and those between choices, where they could be measured."""
    known = frame.dropna(subset=["value"])
    for part, title, x_label in (
        ("surplus", "captions against questions", "points that captions lose more"),
        ("transfer", "own K and R against another model's", "points better with its own"),
    ):
        rows = known[known["part"].isin([part, "control"] if part == "surplus" else [part])].to_dict("records")
        if not any(row["part"] == part for row in rows):
            continue
        yield Dots(
            title=title, group=f"{model}: the grid over both stages", model=model, x_label=x_label,
            dots=[measured_dot(difference_label(row), row) for row in rows], head=["compared", "points", "95 % interval", "n"],
        )  # fmt: skip


def difference_label(row: dict[Any, Any]) -> str:
    """Return what is compared, in words."""
    title = MEAN if row["benchmark"] == MEAN else benchmarks.get(row["benchmark"]).title
    if row["part"] == "control":
        return f"control: two halves of {title}"
    if row["part"] == "transfer":
        return f"{title}, {row['name']}'s choice"
    return f"{title} against {benchmarks.get(row['name']).title}"


FIGURE = Figure(
    title="K and R for questions and captions",
    about="What each value of K1, R1, K2 and R2 costs on each benchmark of the grid, and whether one model's choice serves another.",
    caption="Every combination of the grid's K1, R1, K2 and R2 (the sweep of the paper's summary): the shallow stage drops R1 of the image"
    " tokens before layer K1, the deep stage R2 of the rest before layer K2. A point is the mean of all schedules with that value, in"
    " percent of the unpruned model's score on the same samples. Then by how many points captions lose more than questions in the mean of"
    " all schedules, and as a control one half of the pictures against the other, which should be nothing. With several models: by how"
    " much a model's own choice is better than another's, each made on one half of the pictures, among the cheaper half of the schedules,"
    " and judged on the other. Bars are 95 % intervals over pictures. CIDEr and accuracy are compared in percent of themselves.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    section="beyond",
    rank=26,
)
