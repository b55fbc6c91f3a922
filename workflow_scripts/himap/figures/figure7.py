"""Figure 7: how many image tokens each layer still sees, from the schedules alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap.figures._base import Figure, Run
from himap.figures._labels import KINDS, LAYER
from himap.figures._panels import Curve, Curves, points

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel


def inputs(_: Run) -> list[str]:
    """Return nothing: the config's schedules say it all."""
    return []


def settings(run: Run) -> dict[str, Any]:
    """Return the methods in order, and the stages of each for every model and kind of benchmark."""
    methods = run.config.latency.methods
    return {
        "order": methods,
        "methods": {name: run.title(name) for name in methods},
        "schedules": {model: schedules(run, model, methods) for model in run.models_for()},
    }


def schedules(run: Run, model: str, methods: list[str]) -> dict[str, Any]:
    """Return a model's image tokens, and each method's stages by kind of benchmark."""
    # All benchmarks of a kind have the same schedule.
    examples = {kind: run.example_of(kind) for kind in run.kinds(model)}
    # A schedule that each input finds for itself has no curve.
    stages = {
        kind: {
            name: [stage.to_json() for stage in schedule.stages]
            for name in methods
            if (schedule := run.method(model, task, name)).is_fixed
        }
        for kind, task in examples.items()
    }
    return {"image_tokens": run.dims(model).tokens_per_image, "stages": stages}


def numbers(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return the image tokens that each layer still sees, by method and kind of benchmark."""
    import pandas as pd

    from himap.costs.formulas import keep_count

    rows = []
    for model, facts in settings["models"].items():
        for kind, methods in settings["schedules"][model]["stages"].items():
            total = settings["schedules"][model]["image_tokens"]
            for method in (name for name in settings["order"] if name in methods):
                # Every layer sees all of them until the first stage.
                left, keeps = total, {stage["layer"]: stage["keep"] for stage in methods[method]}
                for layer in range(facts["layers"]):
                    # Of all tokens and not of what is left: `keep` is always a share of the original number.
                    left = keep_count(keeps[layer], total) if layer in keeps else left
                    title = settings["methods"][method]
                    rows.append({"model": model, "kind": kind, "method": title, "layer": layer, "tokens": left})
    return pd.DataFrame(rows)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Return a panel per model and kind of benchmark with a curve of steps for each method."""
    shown: list[Panel] = []
    for (model, kind), here in frame.groupby(["model", "kind"], sort=False):
        curves = [
            Curve(str(method), points(part, y="tokens"), look, step=True)
            for look, (method, part) in enumerate(here.groupby("method", sort=False))
        ]
        shown.append(
            Curves(
                title=KINDS.get(str(kind), str(kind)),
                group=str(model),
                model=str(model),
                x_label=LAYER,
                y_label="image tokens",
                curves=curves,
                y_range=(0.0, 1.06 * float(here["tokens"].max())),  # a little air above the unpruned curve
                digits=0,  # counts
            )
        )
    return shown


FIGURE = Figure(
    title="Figure 7: image tokens that each layer sees",
    about="Image tokens left at each layer, by method.",
    caption="How many image tokens each decoder layer still sees, by the schedules of the methods in the config's latency.methods;"
    " methods whose schedule each input finds for itself have no such curve. In the paper, Figure 7 is a drawing of the method and holds"
    " no numbers.",
    inputs=inputs,
    settings=settings,
    numbers=numbers,
    panels=panels,
    needs_results=False,
    rank=7,
)
