"""Importance: how well each criterion finds the tokens whose loss changes the answer, and those that the question is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._labels import method_or_criterion
from himap.figures._panels import Dots
from himap.figures._questions import measured_dot, question_figure, read_question, shares

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

NAME = "importance"
RANDOM = "random"
MEASURES = {
    "agreement": "rank correlation with true importance",
    "influence": "rank correlation with its size, falls and rises alike",
    "recall": "evidence kept",
    "precision": "truly best tokens among those kept",
    "regret": "log-probability lost against the truly best tokens",
}
# Of the recall: as many tokens anywhere; the paired gain over a random order.
CONTROLS = ("recall_shuffled", "over_random")


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return the mean of each measure by stage and criterion, with intervals over samples."""
    import pandas as pd

    frame = with_gain(read_question(settings, results, NAME))
    keys = ["model", "benchmark", "stage", "layer", "criterion"]
    parts = [mean_of(frame, keys, measure).assign(measure=measure) for measure in (*MEASURES, *CONTROLS)]
    return pd.concat(parts, ignore_index=True)


def with_gain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the recall of evidence beyond that of a random order of the same sample's tokens."""
    keys = ["model", "benchmark", "stage", "sample_id"]
    by_chance = frame[frame["criterion"] == RANDOM][[*keys, "recall"]].rename(columns={"recall": "chance"})
    frame = frame.merge(by_chance, on=keys, how="left")  # left: rows stay where no random order was measured
    return frame.assign(over_random=frame["recall"] - frame.pop("chance"))


def mean_of(frame: pd.DataFrame, keys: list[str], measure: str) -> pd.DataFrame:
    """Return a measure's means and intervals: shares stay within 0 and 1, the others have no bounds."""
    import pandas as pd

    from himap.metrics.statistics import mean_interval

    if measure in ("recall", "precision", "recall_shuffled"):
        return shares(frame, keys, measure)
    rows = []
    for place, part in frame.groupby(keys, sort=False):
        values = part[measure].dropna().to_numpy(dtype=float)
        low, high = mean_interval(values) if len(values) > 1 else (float("nan"), float("nan"))
        mean = values.mean() if len(values) else float("nan")
        rows.append(dict(zip(keys, place, strict=True)) | {"value": mean, "low": low, "high": high, "n": len(values)})
    return pd.DataFrame(rows)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each stage a panel per measure with a dot for each criterion."""
    shown: list[Panel] = []
    known = frame.dropna(subset=["value"])  # a benchmark without evidence has no recall
    for (model, task, layer), here in known.groupby(["model", "benchmark", "layer"], sort=False):
        for measure, words in MEASURES.items():
            part = here[here["measure"] == measure]
            shown.append(
                Dots(
                    title=f"{words}, before layer {layer}", group=f"{model}, {benchmarks.get(str(task)).title}", model=str(model),
                    x_label=words, dots=[measured_dot(method_or_criterion(str(row["criterion"])), row) for row in part.to_dict("records")],
                    head=["criterion", words, "95 % interval", "n"], from_zero=measure in ("recall", "precision"),
                )
            )  # fmt: skip
    return shown


FIGURE = question_figure(
    NAME,
    title="Attention and importance",
    about="How well each criterion finds the tokens whose loss changes the answer, and those that the question is about.",
    caption="True importance of an image token is how far the log-probability of the unpruned answer's first token falls if the token is"
    " left out from the layer of a stage on (`group` neighbors at a time). For each criterion at each of HiMAP's layers: the rank"
    " correlation with it; the share of evidence (the tokens that the question is about) among as many tokens as the stage keeps;"
    " the share of the truly best tokens among them; and the log-probability lost if only they go on instead of the truly best. Importance"
    " is measured one token at a time, so tokens that say the same look unimportant each, and keeping the best ones alone can be worse"
    " than a ranking that spreads. Controls are a random order and, where it was measured, the same attention in"
    " random weights. Bars are 95 % intervals over samples.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    rank=24,
)
