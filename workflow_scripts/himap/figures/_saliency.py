"""Reading the saliency results for Figures 3 and 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himap.figures._base import PAPER, found_files
from himap.paper.published import figure_values

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._base import Run

GROUPS = ("system", "image", "instruction")
PANEL = ["model", "benchmark", "variant"]


def read_saliency(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return all saliency results; `variant` is the definition, or the control with random weights."""
    import numpy as np
    import pandas as pd

    parts = [
        pd.read_parquet(path).assign(model=model, benchmark=task)
        for model, task, path in found_files(results, settings, "saliency", "{}/saliency.parquet")
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["variant"] = np.where(
        frame["weights"] == "random", "random weights, " + frame["definition"], frame["definition"]
    )
    # One target, the config's first: others would be averaged into the same curves.
    return frame[frame["target"] == frame["target"].iloc[0]]


def normalized(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with `value`: one min-max over all curves and layers of a panel, as in the published figures."""
    # Of the panel, at every row of the frame.
    low, high = (frame.groupby(PANEL)["raw"].transform(which) for which in ("min", "max"))
    # A panel in which nothing varies lies at 0 and divides by 1, not by 0.
    frame["value"] = (frame["raw"] - low) / (high - low).where(high > low, 1.0)
    return frame


def with_published(figure: str, settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """Return our curves and below them the paper's: of the same model and data, or of LLaVA-7B as a reference."""
    import pandas as pd

    rows = [frame]
    for model, facts in settings["models"].items():
        for task in settings["benchmarks"]:
            # In published.yaml, as LLaVA-7B/scienceqa.
            curves = figure_values(figure, f"{facts['published'] or 'LLaVA-7B'}/{task}") or {}
            for curve, values in curves.items():
                place = {"model": model, "benchmark": task, "variant": PAPER, "curve": curve, "source": PAPER}
                # The paper's are read off a figure that is min-max already.
                rows.append(pd.DataFrame({"layer": range(len(values)), "raw": values, "value": values}).assign(**place))
    return pd.concat(rows, ignore_index=True)


def asked_for(run: Run) -> dict[str, Any]:
    """Return the benchmarks whose saliency is shown."""
    return {"benchmarks": run.known(run.config.saliency.benchmarks)}
