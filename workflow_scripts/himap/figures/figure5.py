"""Figure 5: how often answers stay the same when attention is cut, by layer and over the first and last layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.figures._base import OURS, PAPER, Figure, Run
from himap.figures._disruption import asked_for, disruption_files, disruption_inputs, read_disruption
from himap.figures._labels import EXTENTS, FLOWS, INTERVAL, LAYER, MEASURES
from himap.figures._panels import Curve, Curves, Dot, Dots, Line, number_or_none, points
from himap.numbers import interval, number
from himap.paper.published import figure_values

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel


def settings(run: Run) -> dict[str, Any]:
    """Return what the run's disruption has, and how many layers count as the first and the last ones."""
    return asked_for(run) | {"edge": run.config.disruption.edge}


# ---- numbers


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return consistency per layer, and its mean over the first and the last layers, with the floor of the commonest answer."""
    import pandas as pd

    frame, edge = read_disruption(settings, results), settings["edge"]
    keys = ["model", "benchmark", "extent", "flow", "measure"]
    per_layer = frame.groupby([*keys, "layer"], as_index=False).agg(value=("value", "mean"), n=("value", "size"))
    per_layer["part"] = "layer"
    # By model, since one figure may hold models of unequal depth.
    depth = frame["model"].map({name: facts["layers"] for name, facts in settings["models"].items()})
    parts = [per_layer]
    for part, inside in (("first", frame["layer"] < edge), ("last", frame["layer"] >= depth - edge)):
        # First per sample: the layers of a sample go together, and an interval over sample × layer would be far too narrow.
        means = frame[inside].groupby([*keys, "sample_id"], as_index=False)["value"].mean()
        parts.append(with_intervals(means, keys).assign(part=part))
    whole = pd.concat(parts, ignore_index=True).assign(source=OURS)
    # The same floor on every row of a model and benchmark.
    whole = whole.merge(prior_floor(settings, results)[["model", "benchmark", "floor"]], on=["model", "benchmark"])
    return pd.concat([whole, published_consistency(settings)], ignore_index=True)


def with_intervals(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the mean of a share over samples within each group, with its 95 % interval."""
    import pandas as pd

    from himap.metrics.statistics import mean_interval

    rows = []
    for place, part in frame.groupby(keys):
        low, high = mean_interval(part["value"].to_numpy(), top=1.0)
        values = {"value": part["value"].mean(), "low": low, "high": high, "n": len(part)}
        rows.append(dict(zip(keys, place, strict=True)) | values)
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def prior_floor(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return what a model would score that always gives its commonest answer."""
    import pandas as pd

    rows = []
    for model, task, path in disruption_files(settings, results):
        # A file has a row per layer and cut; the undisturbed answer is the same in all of them.
        frame = pd.read_parquet(path, columns=["sample_id", "clean_answer"]).drop_duplicates("sample_id")
        floor = frame["clean_answer"].value_counts(normalize=True).iloc[0]
        rows.append({"model": model, "benchmark": task, "floor": floor, "n": len(frame)})
    return pd.DataFrame(rows).drop_duplicates(["model", "benchmark"])  # every block of layers gave the same row


def published_consistency(settings: dict[str, Any]) -> pd.DataFrame:
    """Return the paper's bars; it says neither on which data nor how layers were cut."""
    import pandas as pd

    rows = []
    for model, facts in settings["models"].items():
        for measure, cells in (figure_values("figure5", facts["published"] or "LLaVA-7B") or {}).items():
            for name, value in cells.items():
                flow, part = name.rsplit("_", 1)  # "img2txt_first"
                rows.append(
                    {"model": model, "flow": flow, "measure": measure, "part": part, "value": value, "source": PAPER}
                )
    return pd.DataFrame(rows)


# ---- panels


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return for each model and way of cutting both measures by layer, then the first and the last layers."""
    ours, theirs = frame[frame["source"] == OURS], frame[frame["source"] == PAPER]
    return [
        panel
        for model, here in ours.groupby("model", sort=False)
        for extent in EXTENTS
        if extent in set(here["extent"])
        for panel in extent_panels(str(model), extent, here, theirs[theirs["model"] == model])
    ]


def extent_panels(model: str, extent: str, here: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[Panel]:
    """Yield the three panels of one way of cutting."""
    titles = [benchmarks.get(task).title for task in dict.fromkeys(here["benchmark"])]
    tasks = f"{'mean over ' if len(titles) > 1 else ''}{' and '.join(titles)}"
    where: dict[str, Any] = {"model": model, "group": f"{model}, {tasks}: attention cut in {EXTENTS[extent]}"}
    here = here[here["extent"] == extent]
    for measure, title in MEASURES.items():
        part = here[(here["part"] == "layer") & (here["measure"] == measure)]
        means = part.groupby(["flow", "layer"], as_index=False)["value"].mean()
        curves = [
            Curve(FLOWS[flow], points(means[means["flow"] == flow]), look)
            for look, flow in enumerate(FLOWS)
            if flow in set(means["flow"])
        ]
        # The floor is a share of answers; the overlap of first tokens has none.
        floor = number_or_none(part["floor"].mean()) if measure == "label" else None
        lines = [Line(at=floor, label="commonest answer always")] if floor is not None else []
        yield Curves(
            title=f"{title} by layer", x_label=LAYER, y_label=title, curves=curves, y_range=(0.0, 1.04), lines=lines, **where
        )  # fmt: skip
    dots = list(edge_dots(here[here["measure"] == "label"], theirs[theirs["measure"] == "label"]))
    if dots:
        yield Dots(
            title="label consistency, first and last layers", x_label="label consistency",
            dots=dots, head=["cut", "ours", "95 % interval", "paper", "n"],
            x_range=(0.0, 1.04), says=INTERVAL, paper="the paper's bar", **where,
        )  # fmt: skip


def edge_dots(ours: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[Dot]:
    """Yield a row per cut for the first and for the last layers, mean over benchmarks."""
    from himap.metrics.statistics import mean_of_intervals

    for part in ("first", "last"):
        for look, flow in enumerate(FLOWS):
            rows = ours[(ours["part"] == part) & (ours["flow"] == flow)]
            if rows.empty:
                continue
            edges = list(zip(rows["low"], rows["high"], strict=True))
            value, low, high = mean_of_intervals(rows["value"].tolist(), edges)  # benchmarks are independent samples
            low, high = max(0.0, low), min(1.0, high)  # a share lies between 0 and 1
            paper = number_or_none(theirs[(theirs["part"] == part) & (theirs["flow"] == flow)]["value"].mean())
            label, n = f"{part} layers, {FLOWS[flow]}", str(int(rows["n"].sum()))
            cells = [label, number(value, 3), interval(low, high, 3), number(paper, 3), n]
            yield Dot(label=f"{label} (n = {n})", value=value, low=low, high=high, paper=paper, look=look, cells=cells)


FIGURE = Figure(
    title="Figure 5: answers under disruption",
    about="Label and score consistency under disruption.",
    caption="How often the answer stays the same (label) and how much the five likeliest first tokens overlap (score) when"
    " attention is cut. Beside it means over the first and the last layers, as many as disruption.edge in the config"
    " says; a whisker is the 95 % interval of the mean over n samples, n counted over all benchmarks. A diamond marks the"
    " paper's bar, that of LLaVA-7B where the model is none of the paper's; the paper does not say on which data, nor"
    " whether layer l was cut alone. The dotted line is what a model scores that always gives its commonest answer. Where"
    " attention is also cut after the softmax, that is shown under “Paper and code”.",
    inputs=disruption_inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    rank=5,
)
