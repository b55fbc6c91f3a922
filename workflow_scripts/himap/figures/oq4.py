"""Open question 4: what shallow and deep pruning of equal cost leave of counting, reading, localization and recognition."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import Style
from himap.figures._panels import Curves
from himap.figures._questions import curve, question_figure, read_question

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd

    from himap.figures._panels import Panel

NAME = "oq4"
ABILITIES = {  # which kinds of questions each ability is measured by; MME's subtasks are kinds too
    "recognition": ("existence", "color", "shape", "knowledge"),
    "counting": ("count",),
    "reading": ("word", "number", "OCR"),
    "localization": ("position", "neighbor", "where"),
}
BASE = "recognition"  # what the others are compared with
LABELS = {"shallow": "pruned early (shallow)", "deep": "pruned later, at equal FLOPs (deep)"}
COST = "FLOPs, % of unpruned"


# ---- numbers


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return what is left of each ability and kind per module and dose, recall of evidence, and the interactions."""
    import pandas as pd

    frame = read_question(settings, results, NAME)
    # NaN for kinds that belong to no ability, such as "sum".
    frame["ability"] = frame["kind"].map({kind: name for name, kinds in ABILITIES.items() for kind in kinds})
    parts = []
    frame = joined(frame)
    for (model, task), here in frame.groupby(["model", "benchmark"], sort=False):
        rows = [*left(here, "ability"), *left(here, "kind"), *interactions(here), *evidence(here)]
        parts.append(pd.DataFrame(rows).assign(model=str(model), benchmark=str(task)))
    return pd.concat(parts, ignore_index=True)


def joined(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with those of sets that ask for no recognition (`where`) counted as the model's first set that does."""
    based = frame[frame["ability"] == BASE].groupby("model", sort=False)["benchmark"]
    first = frame["model"].map(based.first())
    # Sets without recognition have nothing to be compared with.
    alone = ~frame["benchmark"].isin(frame.loc[frame["ability"] == BASE, "benchmark"]) & first.notna()
    pictures = frame["benchmark"] + "/" + frame["picture"].astype(str)  # two sets may have a picture of the same name
    return frame.assign(benchmark=frame["benchmark"].where(~alone, first), picture=pictures)


def left(frame: pd.DataFrame, of: str) -> Iterator[dict[str, Any]]:
    """Yield what each module and dose leaves of the unpruned score, by ability or by kind."""
    from himap.metrics.statistics import mean_interval

    for name, here in frame.groupby(of, sort=False):
        table = by_picture(here)
        whole = table["unpruned", 1.0].mean()  # dose 1: everything is kept
        for module, dose, ratio in arms_of(here):
            values = table[module, dose].to_numpy()
            low, high = mean_interval(values, top=1.0)
            scaled = {key: value / whole if whole else None for key, value in (("low", low), ("high", high))}
            yield {
                "measure": f"left by {of}", "of": name, "module": module, "dose": dose, "ratio": ratio, "n": len(values),
                "unpruned": whole, "value": values.mean() / whole if whole else None, **scaled,
            }  # fmt: skip


def evidence(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the share of the evidence that each module and dose keeps, of another sample's (the control), and of all tokens."""
    from himap.metrics.statistics import mean_interval

    shown = frame.assign(kept=frame["kept"] / frame["image_tokens"])
    for module, dose, ratio in arms_of(frame):
        here = shown[(shown["module"] == module) & (shown["dose"] == dose)]
        for measure in ("recall", "recall_shuffled", "kept"):
            values = here[measure].dropna().to_numpy(dtype=float)
            if len(values):
                low, high = mean_interval(values, top=1.0)
                yield {
                    "measure": measure, "of": "", "module": module, "dose": dose, "ratio": ratio, "n": len(values),
                    "value": values.mean(), "low": low, "high": high,
                }  # fmt: skip


def interactions(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield by how much more shallow pruning costs than deep pruning of equal FLOPs, beyond what it costs of recognition."""
    from himap.metrics.bootstrap import bootstrap

    doses = sorted(frame.loc[frame["module"] == "deep", "dose"].unique())  # those where a deep schedule costs the same
    groups = {name: shallow_deep_unpruned(frame[frame["ability"] == name], doses) for name in ABILITIES}
    for name, values in groups.items():
        if name == BASE or not doses or not len(values) or not len(groups[BASE]):
            continue
        # Each ability's pictures are drawn by themselves.
        value, low, high = bootstrap([values, groups[BASE]], lambda other, base: gap(other) - gap(base))
        sizes = {"n": len(values), "n_base": len(groups[BASE])}
        yield {"measure": "interaction", "of": name, "value": value, "low": low, "high": high, **sizes}


def shallow_deep_unpruned(frame: pd.DataFrame, doses: list[float]) -> np.ndarray:
    """Return each picture's mean score under shallow and under deep pruning over the doses, and unpruned: [n, 3]."""
    import numpy as np

    if frame.empty or not doses:
        return np.empty((0, 3))
    table = by_picture(frame)
    means = [table[[(module, dose) for dose in doses]].mean(axis=1).to_numpy() for module in ("shallow", "deep")]
    return np.stack([*means, table["unpruned", 1.0].to_numpy()], axis=1)  # the order that `gap` reads


def gap(means: np.ndarray) -> np.ndarray:
    """Return the loss under shallow less that under deep pruning [...], in relation to the unpruned score, of means [..., 3]."""
    return (means[..., 1] - means[..., 0]) / means[..., 2]


def by_picture(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per picture, the unit that is drawn, and a column per module and dose: its mean score."""
    return frame.pivot_table(index="picture", columns=["module", "dose"], values="score", aggfunc="mean")


def arms_of(frame: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return module, dose and share of the FLOPs of every pruned arm."""
    pruned = frame[frame["module"] != "unpruned"]
    return [tuple(arm) for arm in pruned[["module", "dose", "ratio"]].drop_duplicates().to_numpy().tolist()]


# ---- panels


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and benchmark a panel per ability and one of the evidence, two curves each."""
    cells = frame.groupby(["model", "benchmark"], sort=False)
    return [panel for (model, task), here in cells for panel in panels_of(str(model), str(task), here)]


def panels_of(model: str, task: str, frame: pd.DataFrame) -> Iterator[Panel]:
    """Yield the panels of one model and benchmark; the last compares the evidence that is kept with that of other samples."""
    shown = frame.assign(
        cost=100 * frame["ratio"], value=100 * frame["value"], low=100 * frame["low"], high=100 * frame["high"]
    )
    base = Curves(
        title="", group=f"{model}, {benchmarks.get(task).title}", model=model, x_label=COST, curves=(), digits=0
    )
    for ability in ABILITIES:
        part = shown[(shown["measure"] == "left by ability") & (shown["of"] == ability)]
        if part.empty:
            continue
        curves = [
            curve(part[part["module"] == name], label, look, x="cost")
            for look, (name, label) in enumerate(LABELS.items())
        ]
        title = f"{ability}, n = {int(part['n'].max())}, {100 * part['unpruned'].max():.0f} % unpruned"
        yield replace(base, title=title, y_label="score, % of unpruned", curves=curves)
    part = shown[shown["measure"] == "recall"]
    if part.empty:
        return
    control = shown[shown["measure"] == "recall_shuffled"]
    curves = [
        *(
            curve(part[part["module"] == name], label, look, x="cost")
            for look, (name, label) in enumerate(LABELS.items())
        ),
        *(
            curve(
                control[control["module"] == name], f"control: evidence of another sample, {name}", 2 + look, x="cost"
            )
            for look, name in enumerate(LABELS)
        ),
    ]
    yield replace(base, title=f"evidence, n = {int(part['n'].max())}", y_label="evidence kept, %", curves=curves)


FIGURE = question_figure(
    NAME,
    title="Early injection, counting, reading and localization",
    about="What shallow and deep pruning of equal FLOPs leave of recognition, counting, reading and localization.",
    caption="Image tokens are dropped once, early or later, with what is kept later chosen so that the FLOPs (the paper's formula) are"
    " equal within 1 %; where the later stage alone costs more, there is no such point. Score in percent of the unpruned model's by"
    " kind of question: recognition is existence, color, shape and knowledge; counting; reading words and numbers; localization is"
    " position, neighbors and where an object is. The last panel shows the share of the tokens that a question is about which are"
    " kept, and as a control the same for another sample's. Bars are 95 % intervals over pictures.",
    numbers=numbers,
    panels=panels,
    style=Style(columns=3),
    rank=14,
)
