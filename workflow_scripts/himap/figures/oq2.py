"""OQ2: layers and counts that each input finds, against the same for all, and what an oracle would save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._panels import Curve, Curves, Dot, Dots, Point, Scatter, points
from himap.figures._questions import measured_dot, question_figure, read_question
from himap.numbers import interval, number, significant

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from himap.figures._panels import Panel

NAME = "oq2"
UNPRUNED, REFERENCE, ORACLE, SHUFFLED = "unpruned", "himap", "oracle", "oracle's schedules, shuffled"
ADAPTIVE = {
    "mass": "each input finds the counts",
    "depth": "each input finds the layers",
    "both": "each input finds both",
}
TITLES = {REFERENCE: "HiMAP", **ADAPTIVE}
ALL = "all kinds"
PREDICTORS = {
    "by_image_entropy": "entropy of attention among image tokens",
    "by_instruction_share": "instruction's share on the image",
    "by_question_length": "length of the question",
    "by_evidence": "cells that the question is about",
}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return accuracy and FLOPs of each policy, differences to HiMAP by kind, costs per sample, and what predicts the oracle's."""
    import pandas as pd

    frame = read_question(settings, results, NAME)
    rows = [
        {"model": model, "benchmark": task, **row}
        for (model, task), part in frame.groupby(["model", "benchmark"], sort=False)
        for row in numbers_of(part)
    ]
    columns = ["model", "benchmark", "part", "name", "kind", "x", "value", "low", "high", "p", "n"]
    return pd.DataFrame(rows, columns=columns)


def numbers_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the numbers of one model and benchmark."""
    costs, scores, same = (
        frame.pivot(index="sample_id", columns="policy", values=column) for column in ("cost", "score", "same")
    )
    kinds = frame.groupby("sample_id")["kind"].first().reindex(costs.index)  # empty where a benchmark has no kinds
    policies = [name for name in costs.columns if name not in ADAPTIVE]  # schedules that are the same for all inputs
    chosen = cheapest(costs[policies], same[policies])
    costs, scores = with_oracle(costs, chosen), with_oracle(scores, chosen)
    yield from (policy_row(name, costs[name], scores[name]) for name in costs.columns)
    for name in ADAPTIVE:
        if name in costs:
            yield from differences(name, scores, kinds)
            yield from shuffled_kinds(name, scores, kinds)
            yield from spread(name, costs[name])
    yield from spread(ORACLE, costs[ORACLE])
    yield saved_row(costs)
    whole = frame[frame["policy"] == UNPRUNED].set_index("sample_id").reindex(costs.index)
    yield from (predictor_row(name, whole[name], costs[ORACLE]) for name in PREDICTORS if name in whole)


def cheapest(costs: pd.DataFrame, same: pd.DataFrame) -> pd.Series:
    """Return by sample the cheapest schedule that still gives the unpruned answer; the unpruned model itself always does."""
    chosen: pd.Series = costs.where(same.astype(bool), float("inf")).idxmin(axis=1)
    return chosen


def with_oracle(frame: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """Return values by sample and policy with those of the oracle, and of the control in which samples swap its schedules."""
    import numpy as np

    shuffled = chosen.sample(frac=1.0, random_state=0).to_numpy()
    wider = frame.copy()
    for name, policies in ((ORACLE, chosen), (SHUFFLED, shuffled)):
        places = np.array([list(frame.columns).index(policy) for policy in policies])  # column of each sample's policy
        wider[name] = frame.to_numpy()[np.arange(len(frame)), places]  # from `frame`: `wider` has new columns
    return wider


def policy_row(name: str, costs: pd.Series, scores: pd.Series) -> dict[str, Any]:
    """Return a policy's accuracy and mean FLOPs, in percent."""
    from himap.metrics.statistics import mean_interval

    low, high = mean_interval(scores, top=1.0)
    return {
        "part": "policy", "name": name, "x": 100 * costs.mean(), "value": 100 * scores.mean(), "low": 100 * low, "high": 100 * high,
        "n": len(scores),
    }  # fmt: skip


def differences(name: str, scores: pd.DataFrame, kinds: pd.Series) -> Iterator[dict[str, Any]]:
    """Yield a policy's paired difference to HiMAP in points, over all samples and for each kind of question."""
    from himap.metrics.paired import paired
    from himap.metrics.statistics import mean_of

    groups = [(ALL, scores)] + [(str(kind), part) for kind, part in scores.groupby(kinds, sort=False) if kind]
    for kind, part in groups:
        first, second = (mean_of(part[policy], binary=True) for policy in (REFERENCE, name))
        compared = paired(first, second)
        low, high = compared.interval
        yield {
            "part": "difference", "name": name, "kind": kind, "value": compared.difference, "low": low, "high": high,
            "p": compared.p_value, "n": compared.n,
        }  # fmt: skip


def shuffled_kinds(name: str, scores: pd.DataFrame, kinds: pd.Series) -> Iterator[dict[str, Any]]:
    """Yield a control: the same differences with kinds shuffled among the samples, of which none should be significant."""
    dealt = kinds.sample(frac=1.0, random_state=0).set_axis(kinds.index)  # set_axis: pandas would align them back
    yield from ({**row, "part": "control"} for row in differences(name, scores, dealt) if row["kind"] != ALL)


def spread(name: str, costs: pd.Series) -> Iterator[dict[str, Any]]:
    """Yield the FLOPs in percent that so many of the samples cost at most."""
    for share in range(0, 101, 10):  # the cheapest sample, each tenth, the dearest
        value = 100 * float(costs.quantile(share / 100))
        yield {"part": "spread", "name": name, "x": share, "value": value, "n": len(costs)}


def saved_row(costs: pd.DataFrame) -> dict[str, Any]:
    """Return the percent of HiMAP's mean FLOPs that the oracle saves."""
    from himap.metrics.bootstrap import bootstrap

    # Draw whole samples, so that each keeps both of its costs.
    pairs = costs[[ORACLE, REFERENCE]].to_numpy(float)
    value, low, high = bootstrap([pairs], lambda means: 100 * (1 - means[..., 0] / means[..., 1]))
    return {"part": "saved", "name": ORACLE, "value": value, "low": low, "high": high, "n": len(costs)}


def predictor_row(name: str, values: pd.Series, needed: pd.Series) -> dict[str, Any]:
    """Return the rank correlation of a predictor with what the oracle spends on a sample."""
    from himap.metrics.ranks import spearman, spearman_interval

    known = values.notna()  # a sample without evidence has no such number
    rho, n = spearman(values[known], needed[known]) if known.any() else float("nan"), int(known.sum())
    low, high = spearman_interval(rho, n)
    return {"part": "predictor", "name": name, "value": rho, "low": low, "high": high, "n": n}


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and benchmark accuracy over FLOPs, FLOPs per sample, differences by kind, and predictors."""
    cells = frame.groupby(["model", "benchmark"], sort=False)
    return [panel for (model, task), here in cells for panel in panels_of(str(model), str(task), here)]


def panels_of(model: str, task: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the panels of one model and benchmark."""
    group = f"{model}, {benchmarks.get(task).title}"
    parts = {str(name): part for name, part in frame.groupby("part", sort=False)}
    rows = parts["policy"].to_dict("records")
    yield Scatter(
        title=f"accuracy over mean FLOPs, n = {int(parts['policy']['n'].max())}", group=group, model=model,
        x_label="FLOPs, % of unpruned", y_label="accuracy, %",
        points=[policy_point(row) for row in rows], head=["policy", "FLOPs", "accuracy", "95 % interval"], says="a policy",
    )  # fmt: skip
    curves = parts["spread"].groupby("name", sort=False)
    yield Curves(
        title="FLOPs per sample", group=group, model=model, x_label="samples, % of all, the cheapest first",
        y_label="FLOPs, % of unpruned", digits=1,
        curves=[
            Curve(TITLES.get(str(name), str(name)), points(part, x="x"), look)
            for look, (name, part) in enumerate(curves, start=2)
        ],
    )  # fmt: skip
    for name, part in parts["difference"].groupby("name", sort=False):
        yield Dots(
            title=ADAPTIVE[str(name)], group=group, model=model, x_label="points more than HiMAP at equal mean FLOPs",
            dots=[difference_dot(row) for row in part.to_dict("records")], head=["kind", "difference", "95 % interval", "p", "n"],
        )  # fmt: skip
    known = parts["predictor"].dropna(subset=["value"])  # a predictor that never varies has no rank correlation
    yield Dots(
        title="what predicts the oracle's FLOPs", group=group, model=model, x_label="rank correlation", x_range=(-1.0, 1.0),
        dots=[measured_dot(PREDICTORS[row["name"]], row) for row in known.to_dict("records")],
        head=["predictor", "rank correlation", "95 % interval", "n"],
    )  # fmt: skip


def policy_point(row: dict[Any, Any]) -> Point:
    """Return a policy as a point."""
    # The others, fixed schedules, are small and without a name.
    looks = {UNPRUNED: 0, REFERENCE: 1, **{name: look for look, name in enumerate(ADAPTIVE, start=2)}, ORACLE: 5}
    label = TITLES.get(row["name"], row["name"])
    cells = [label, f"{number(row['x'])} %", number(row["value"]), interval(row["low"], row["high"])]
    labelled = label if row["name"] in looks else ""
    return Point(
        x=row["x"], y=row["value"], low=row["low"], high=row["high"], look=looks.get(row["name"]), label=labelled,
        cells=cells,
    )  # fmt: skip


def difference_dot(row: dict[Any, Any]) -> Dot:
    """Return a paired difference as a dot."""
    cells = [
        row["kind"], number(row["value"]), interval(row["low"], row["high"]), significant(row["p"]), str(int(row["n"]))
    ]  # fmt: skip
    return Dot(label=row["kind"], value=row["value"], low=row["low"], high=row["high"], cells=cells)


FIGURE = question_figure(
    NAME,
    title="Layers and counts that each input finds",
    about="Rules by which each input finds its own counts and layers against HiMAP's at equal mean FLOPs, and an oracle.",
    caption="Rules by which each input finds how many tokens stay (the fewest that hold a share of the criterion's score), before which"
    " layer (once a signal of the attention has sunk below a share of its peak), or both. Their thresholds are fitted on other samples,"
    " so that the mean FLOPs are HiMAP's; FLOPs are the mean of what samples really kept, by the paper's formula. The oracle takes"
    " for each sample the cheapest of the schedules that are the same for all and still give the unpruned answer; shuffled, samples swap"
    " these schedules: the control. Bars are 95 % intervals.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    rank=22,
)
