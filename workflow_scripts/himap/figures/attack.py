"""Attention led astray: answers over the weight on tokens without evidence, and pixels that draw attention to empty cells."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._labels import method_or_criterion
from himap.figures._panels import Curves, Dots
from himap.figures._questions import curve, measured_dot, question_figure, read_question, shares

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from himap.figures._panels import Panel

NAME = "attack"
HIMAP, UNPRUNED = "himap", "unpruned"
PICTURES = {"attacked": "attacked", "noise": "control, noise of the same size"}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return accuracy and recall over the weight, what the largest weight costs, success of the attack, and recall under it."""
    import pandas as pd

    frame = read_question(settings, results, NAME)
    keys = ["model", "benchmark"]
    # The question's two experiments.
    weighted, attack = (frame[frame["part"] == part] for part in ("weighted", "attack"))
    parts = [
        shares(weighted, [*keys, "method", "weight"], column).assign(measure=name)
        for column, name in (("score", "accuracy"), ("recall", "recall by weight"))
    ]
    parts.append(pd.DataFrame(costs(weighted, keys)))
    parts.append(shares(attack, [*keys, "method", "picture"], "recall").assign(measure="recall"))
    # Answers that pruning alone had not lost.
    pruned = attack[(attack["method"] != UNPRUNED) & (attack["clean_same"] == 1)]
    # `stays` is of the unpruned model's answer, `same` of the pruned one's, both on changed pixels.
    lost = pruned.assign(success=((pruned["stays"] == 1) & (pruned["same"] == 0)).astype(float))
    parts.append(shares(lost, [*keys, "method", "picture"], "success").assign(measure="success"))
    parts.append(pd.DataFrame(gains(lost, keys)))
    return pd.concat([part for part in parts if not part.empty], ignore_index=True)


def costs(frame: pd.DataFrame, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Yield for each method the paired change of accuracy, in points, from the smallest to the largest weight."""
    for place, part in frame.groupby([*keys, "method"], sort=False):
        scores = part.pivot(index="sample_id", columns="weight", values="score").sort_index(axis=1)
        yield {
            **dict(zip([*keys, "method"], place, strict=True)),
            **change(scores.iloc[:, 0], scores.iloc[:, -1], "change"),  # columns are sorted by weight
        }


def gains(frame: pd.DataFrame, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Yield for each method how much more often, in points, the attack succeeds than noise does, sample by sample."""
    for place, part in frame.groupby([*keys, "method"], sort=False):
        table = part.pivot(index="sample_id", columns="picture", values="success")
        yield {
            **dict(zip([*keys, "method"], place, strict=True)),
            **change(table["noise"], table["attacked"], "over noise"),
        }


def change(first: pd.Series, second: pd.Series, measure: str) -> dict[str, Any]:
    """Return a paired difference of right and wrong with its interval."""
    from himap.metrics.paired import paired
    from himap.metrics.statistics import mean_of

    compared = paired(mean_of(first, binary=True), mean_of(second, binary=True))
    return {
        "measure": measure,
        "value": compared.difference,
        "low": compared.interval[0],
        "high": compared.interval[1],
        "n": compared.n,
    }


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and benchmark answers over the weight, the attack's success, and the evidence kept under it."""
    cells = frame.groupby(["model", "benchmark"], sort=False)
    return [panel for (model, task), here in cells for panel in panels_of(str(model), str(task), here)]


def panels_of(model: str, task: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the panels of one model and benchmark."""
    common: dict[str, Any] = {"group": f"{model}, {benchmarks.get(task).title}", "model": model}
    for measure, words in (("accuracy", "accuracy, %"), ("recall by weight", "evidence kept, %")):
        rows = percent(frame[frame["measure"] == measure])
        yield Curves(
            title=f"scores weighted, content the same, n = {int(rows['n'].max())}", y_label=words, digits=0, **common,
            x_label="weight on tokens without evidence, as a power of 2",
            curves=[
                curve(part, method_or_criterion(str(name)), look, x="power")
                for look, (name, part) in enumerate(rows.groupby("method", sort=False))
            ],
        )  # fmt: skip
    for measure, words in (
        ("success", "answers lost that the unpruned model keeps"),
        ("recall", "evidence kept"),
    ):
        rows = frame[(frame["measure"] == measure) & frame["picture"].isin(PICTURES) & (frame["method"] != UNPRUNED)]
        yield Dots(
            title=f"pixels of empty cells changed: {words}", x_label=f"{words}, share", x_range=(0.0, 1.0), **common,
            dots=[
                measured_dot(f"{method_or_criterion(row['method'])}, {PICTURES[row['picture']]}", row)
                for row in rows.to_dict("records")
            ],
            head=["tokens kept by", words, "95 % interval", "n"],
        )  # fmt: skip


def percent(frame: pd.DataFrame) -> pd.DataFrame:
    """Return shares in percent, with the weight as a power of two."""
    scaled = {name: 100 * frame[name] for name in ("value", "low", "high")}
    # Weights are powers of two: even steps on the axis.
    return frame.assign(power=[log2(weight) for weight in frame["weight"]], **scaled)


FIGURE = question_figure(
    NAME,
    title="Attention led astray",
    about="What weighted scores, and pixels changed in empty cells, cost a model that ranks its image tokens by attention.",
    caption="First: where tokens are ranked by attention, that to tokens without evidence (those that the question is not about) counts so"
    " many times as much; hidden states are untouched. Norm and random look at no attention: the controls. Then: pixels of empty cells"
    " are changed a little by projected gradient, so that attention from the instruction at HiMAP's first stage leaves the evidence while"
    " the model's own answer stays. Shown is how often pruning at that stage's count then loses an answer that it gave before and that the"
    " unpruned model still gives, for HiMAP's criterion, which is attacked, and for others, which are not; noise of the same size is the"
    " control. Bars are 95 % intervals over samples.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=2),
    rank=25,
)
