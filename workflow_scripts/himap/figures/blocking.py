"""Blocking: where the information is, by rows swapped between pictures, a late arrival and an early departure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._labels import LAYER
from himap.figures._panels import Curves
from himap.figures._questions import curve, question_figure, read_question, shares

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from himap.figures._panels import Panel

NAME = "blocking"
SWAPS = {"instruction": "instruction rows of the other picture", "image": "image rows of the other picture"}
BLOCKS = {"late": "picture arrives at layer l", "early": "picture leaves at layer l"}
MEASURES = ("follows", "same")


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return per layer the share of answers that follow the other run, and that stay, with intervals over samples."""
    import pandas as pd

    frame = read_question(settings, results, NAME)
    keys = ["model", "benchmark", "edit", "donor", "layer", "layers"]
    parts = [shares(frame, keys, measure).assign(measure=measure) for measure in MEASURES]
    return pd.concat(parts, ignore_index=True)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and benchmark what swapped rows carry, the control, and what late and early pictures leave."""
    # A CSV's empty text is NaN; late and early pictures have no donor.
    cells = frame.fillna({"donor": ""}).groupby(["model", "benchmark"], sort=False)
    return [panel for (model, task), here in cells for panel in panels_of(str(model), str(task), here)]


def panels_of(model: str, task: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the three panels of one model and benchmark."""
    for title, donor, measure, edits, y_label in (
        ("rows from a picture with another answer", "other answer", "follows", SWAPS, "answers that follow it"),
        ("control: a picture with the same answer", "same answer", "same", SWAPS, "answers that stay"),
        ("picture late or gone", "", "same", BLOCKS, "answers that stay"),
    ):
        part = frame[(frame["donor"] == donor) & (frame["measure"] == measure)]
        if part.empty:  # no two pictures with such answers were found
            continue
        looks = enumerate(edits.items(), start=0 if edits is SWAPS else 2)  # no look twice: the legend is one for all
        yield Curves(
            title=f"{title}, n = {int(part['n'].max())}", group=f"{model}, {benchmarks.get(task).title}", model=model,
            x_label=LAYER, y_label=y_label, y_range=(0.0, 1.04), digits=2,
            curves=[curve(part[part["edit"] == edit], label, look) for look, (edit, label) in looks],
        )  # fmt: skip


FIGURE = question_figure(
    NAME,
    title="Where the information is",
    about="Hard blocking: answers when rows come from another picture, and when the picture arrives late or leaves early.",
    caption="Two samples with the same question, different pictures and different answers. Left: the rows of the instruction, or of"
    " the image, enter layer l as in the run on the other picture; share of answers that become the other picture's. Where the"
    " instruction's curve rises and the image's falls, the information has moved. Middle, the control: the other picture has the"
    " same answer, so nothing should change. Right: the instruction runs as text alone below layer l and meets the picture there,"
    " or the image tokens leave before layer l; share of answers that stay. Bars are 95 % intervals over samples.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=3),
    rank=20,
)
