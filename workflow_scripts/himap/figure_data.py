"""The numbers behind each figure: one function per figure, from result files to one tidy table.

Drawing is another step (`himap.plots`), so that a changed plot never repeats this, and this never a simulation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from himap.paper.published import figure_values

GROUPS = ("system", "image", "instruction")
OURS, PAPER = "ours", "paper"


def named(results: str | Path, settings: dict[str, Any], stage: str, ending: str) -> list[tuple[str, str, Path]]:
    """(model, benchmark, file) of a stage, for the models and benchmarks of this run."""
    wanted = [(model, task) for model in settings["models"] for task in settings["benchmarks"]]
    return [
        (model, task, path)
        for model, task in wanted
        for path in sorted((Path(results) / stage / model).glob(ending.format(task)))
    ]


def normalised(frame: pd.DataFrame, panel: list[str]) -> pd.DataFrame:
    """One min-max over all curves and layers of a panel, as in the published figures."""
    low, high = (frame.groupby(panel)["raw"].transform(which) for which in ("min", "max"))
    frame["value"] = (frame["raw"] - low) / (high - low).where(high > low, 1.0)
    return frame


def read_saliency(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """All saliency results, with model and benchmark; `variant` is the definition, or the control with random weights."""
    parts = [
        pd.read_parquet(path).assign(model=model, benchmark=task)
        for model, task, path in named(results, settings, "saliency", "{}/saliency.parquet")
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["variant"] = np.where(
        frame["weights"] == "random", "random weights, " + frame["definition"], frame["definition"]
    )
    return frame[frame["target"] == frame["target"].iloc[0]]


PANEL = ["model", "benchmark", "variant"]


def figure3(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Share of each modality per layer: flow out of the group (paper, columns) or into it (released code, rows), per token."""
    frame = read_saliency(settings, results)
    released = frame["definition"] == "released"
    rows = []
    for group in GROUPS:
        into = sum(frame[f"{group}_from_{key}"] for key in GROUPS)
        out_of = sum(frame[f"{query}_from_{group}"] for query in GROUPS)
        flow = np.where(released, into, out_of) / frame[f"size_{group}"]
        rows.append(frame[[*PANEL, "layer"]].assign(curve=group, raw=flow))
    means = pd.concat(rows).groupby([*PANEL, "layer", "curve"])["raw"].mean().reset_index()
    return with_published("figure3", settings, normalised(means, PANEL).assign(source=OURS))


def figure4(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """S_vv (image from image) and S_vt (instruction from image) per layer; over the image's tokens in the paper's definition."""
    frame = read_saliency(settings, results)
    size = np.where(frame["definition"] == "released", 1, frame["size_image"])
    curves = ("image_from_image", "instruction_from_image")
    rows = [frame[[*PANEL, "layer"]].assign(curve=curve, raw=frame[curve] / size) for curve in curves]
    means = pd.concat(rows).groupby([*PANEL, "layer", "curve"])["raw"].mean().reset_index()
    return with_published("figure4", settings, normalised(means, PANEL).assign(source=OURS))


def with_published(figure: str, settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """The paper's curves below ours: those of the same model and data, of LLaVA-7B as a reference elsewhere."""
    rows = [frame]
    for model, facts in settings["models"].items():
        for task in settings["benchmarks"]:
            curves = figure_values(figure, f"{facts['published'] or 'LLaVA-7B'}/{task}") or {}
            for curve, values in curves.items():
                place = {"model": model, "benchmark": task, "variant": PAPER, "curve": curve, "source": PAPER}
                rows.append(pd.DataFrame({"layer": range(len(values)), "raw": values, "value": values}).assign(**place))
    return pd.concat(rows, ignore_index=True)


def disruption_files(settings: dict[str, Any], results: str) -> list[tuple[str, str, Path]]:
    """(model, benchmark, file) of this run's blocks of layers; an earlier run may have left others."""
    files = named(results, settings, "disruption", "{}/layers-*.parquet")
    return [(model, task, path) for model, task, path in files if path.name in settings["blocks"][model]]


def read_disruption(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """All disruption results with model and benchmark; the measures are label (agreement), label_released and score."""
    parts = [
        pd.read_parquet(path).assign(model=model, benchmark=task)
        for model, task, path in disruption_files(settings, results)
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[frame["block"] == frame["block"].iloc[0]]
    if settings["layers"] is not None:
        frame = frame[frame["layer"].isin(settings["layers"])]
    renamed = frame.rename(
        columns={"same_answer": "label", "reference_in_answer": "label_released", "jaccard": "score"}
    )
    kept = ["model", "benchmark", "extent", "flow", "layer", "sample_id"]
    long = renamed.melt(kept, ["label", "label_released", "score"], "measure", "value")
    return long.assign(value=long["value"].astype(float))


def prior_floor(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """What a model that always falls back to its commonest answer would score."""
    rows = []
    for model, task, path in disruption_files(settings, results):
        answers = pd.read_parquet(path, columns=["sample_id", "clean_answer"]).drop_duplicates("sample_id")[
            "clean_answer"
        ]
        rows.append(
            {
                "model": model,
                "benchmark": task,
                "floor": answers.value_counts(normalize=True).iloc[0],
                "n": len(answers),
            }
        )
    return pd.DataFrame(rows).drop_duplicates(["model", "benchmark"])


def figure5(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Consistency per layer, and its mean over the first and the last layers, with the floor of the commonest answer."""
    frame, edge = read_disruption(settings, results), settings["edge"]
    keys = ["model", "benchmark", "extent", "flow", "measure"]
    per_layer = frame.groupby([*keys, "layer"], as_index=False).agg(value=("value", "mean"), n=("value", "size"))
    per_layer["part"] = "layer"
    depth = frame["model"].map({name: facts["layers"] for name, facts in settings["models"].items()})
    parts = [per_layer]
    for part, inside in (("first", frame["layer"] < edge), ("last", frame["layer"] >= depth - edge)):
        means = frame[inside].groupby([*keys, "sample_id"], as_index=False)["value"].mean()
        parts.append(with_intervals(means, keys).assign(part=part))
    whole = pd.concat(parts, ignore_index=True).assign(source=OURS)
    whole = whole.merge(prior_floor(settings, results)[["model", "benchmark", "floor"]], on=["model", "benchmark"])
    return pd.concat([whole, published_consistency(settings)], ignore_index=True)


def with_intervals(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the mean of a share over samples within each group, with its 95 % interval."""
    from himap.metrics.statistics import mean_interval

    rows = []
    for place, part in frame.groupby(keys):
        low, high = mean_interval(part["value"].to_numpy(), top=1.0)
        numbers = {"value": part["value"].mean(), "low": low, "high": high, "n": len(part)}
        rows.append(dict(zip(keys, place, strict=True)) | numbers)
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def published_consistency(settings: dict[str, Any]) -> pd.DataFrame:
    """The paper's bars, which name neither data set nor extent."""
    rows = []
    for model, facts in settings["models"].items():
        for measure, cells in (figure_values("figure5", facts["published"] or "LLaVA-7B") or {}).items():
            for name, value in cells.items():
                flow, part = name.rsplit("_", 1)
                rows.append(
                    {"model": model, "flow": flow, "measure": measure, "part": part, "value": value, "source": PAPER}
                )
    return pd.DataFrame(rows)


def figure6(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Bias ratio D_l = log(E_vv / E_vt) with E = 1 - consistency (an assumption), mean over benchmarks; undefined where E is 0."""
    frame = read_disruption(settings, results)
    frame = frame[frame["flow"].isin(["img2img", "img2txt"])]
    keys = ["model", "extent", "measure", "layer"]
    bias = 1 - frame.groupby([*keys, "benchmark", "flow"])["value"].mean().unstack("flow")
    defined = bias[(bias > 0).all(axis=1)]
    logs = (defined["img2img"] / defined["img2txt"]).map(math.log)
    ratio = logs.groupby(level=keys).mean().rename("value").reset_index()
    depths = {model: facts["layers"] for model, facts in settings["models"].items()}
    rows = [ratio.assign(source=OURS, depth=ratio["model"].map(depths))]
    for model, facts in settings["models"].items():
        name = facts["published"] or "LLaVA-13B"
        values = figure_values("figure6", name) or {}
        depth = len((figure_values("figure4", f"{name}/scienceqa") or {}).get("image_from_image", []))
        curve = pd.DataFrame({"layer": list(values), "value": list(values.values())})
        rows.append(curve.assign(model=model, source=PAPER, depth=depth))
    return pd.concat(rows, ignore_index=True)


def figure7(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Image tokens that each layer still sees, by method and kind of task."""
    from himap.costs.formulas import keep_count

    rows = []
    for model, facts in settings["models"].items():
        for kind, methods in facts["stages"].items():
            for method in settings["order"]:
                stages = methods[method]
                left, by_layer = facts["image_tokens"], {stage["layer"]: stage["keep"] for stage in stages}
                for layer in range(facts["layers"]):
                    left = keep_count(by_layer[layer], facts["image_tokens"]) if layer in by_layer else left
                    rows.append(
                        {
                            "model": model,
                            "kind": kind,
                            "method": settings["methods"][method],
                            "layer": layer,
                            "tokens": left,
                        }
                    )
    return pd.DataFrame(rows)


def figure8(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Seconds per example: each sample's median over the rounds, mean over samples; with what fewer tokens could give at best."""
    from himap.metrics.statistics import mean_interval

    rows = []
    for model, task, path in named(results, settings, "latency", "{}.csv"):
        frame = pd.read_csv(path)
        per_sample = frame.groupby(["method", "sample_id"], as_index=False)[["seconds_total", "ideal_speedup"]].median()
        means = per_sample.groupby("method")[["seconds_total", "ideal_speedup"]].mean()
        full = means.loc["vanilla", "seconds_total"] if "vanilla" in means.index else float("nan")
        for method in (name for name in settings["order"] if name in means.index):
            row = means.loc[method]
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
                    "device": frame["device"].iloc[0],
                    "paper": (figure_values("figure8", settings["models"][model]["published"] or "", task) or {}).get(
                        method
                    ),
                }
            )
    return pd.DataFrame(rows)


def frontier(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Every schedule of the grid with score and cost, and whether any other is better at no more cost."""
    parts = [
        pd.read_csv(path).assign(model=model, benchmark=task)
        for model, task, path in named(results, settings, "grid", "{}/scores.csv")
    ]
    return pd.concat(parts, ignore_index=True)


def ablations(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Paired difference to the unpruned model of each ablation on each benchmark."""
    parts = [pd.read_csv(Path(results) / "tables" / f"{name}.csv").assign(table=name) for name in settings["tables"]]
    frame = pd.concat(parts, ignore_index=True)
    columns = [
        "table",
        "model",
        "method",
        "title",
        "benchmark",
        "ratio",
        "vs_vanilla",
        "vs_vanilla_low",
        "vs_vanilla_high",
        "p_value",
        "n",
    ]
    return frame.loc[frame["vs_vanilla"].notna(), columns]
