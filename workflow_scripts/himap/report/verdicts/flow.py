"""Rules about information flow: saliency (Figures 3 and 4), disruption (Figure 5), bias ratio (Figure 6)."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from himap.published import published
from himap.report.facts import scope
from himap.report.results import Results, records_of
from himap.report.text import interval, number, significant
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    Verdict,
    Z,
    ground,
    layer_span,
    models_that_count,
    ran,
    side_of,
    title,
    title_of,
    together,
    wilson,
)

SHORT = {"image_from_image": "S_vv", "instruction_from_image": "S_vt"}


def flow_is_larger(results: Results, book: Any, larger: str, smaller: str, first: int, last: int, of: int) -> Verdict:
    """The share of samples in which one flow exceeds the other over a span of layers."""
    verdict = Verdict(paper=published_flow(larger, smaller, first, last, of), why="saliency has not been run")
    found, tasks = [], list(results.facts["benchmarks"])
    for model in models_that_count(results, tasks):
        span = layer_span(first, last, of, results.facts["models"][model]["layers"])
        for task in tasks:
            frame = results.parquet("saliency", model, task, "saliency.parquet")
            if frame is None:
                continue
            verdict.basis, verdict.why = scope(results.facts, model, [task]), "the samples are too few to tell"
            kept = frame[(frame["weights"] == "trained") & frame["layer"].isin(span)]
            kept = kept[kept["target"] == frame["target"].iloc[0]]
            for definition, part in kept.groupby("definition", sort=True):
                sums = part.groupby("sample_id")[[larger, smaller]].sum()
                wins, n = int((sums[larger] > sums[smaller]).sum()), len(sums)
                low, high = wilson(wins, n)
                name = "equation 1" if definition == "paper" else "released code"
                share = f"{number(100 * wins / n, 0)} % of samples [{interval(100 * low, 100 * high, 0)}]"
                verdict.ours.append(f"{model}, {title(results, task)}, {name}: {share}")
                if definition == "paper":
                    found.append(side_of(low, high, 0.5))
                    layers = f"layers {span.start} to {span.stop - 1}" if len(span) > 1 else f"layer {span.start}"
                    verdict.ran_on.append(ran(results, model, "saliency", {task: n}) + f"; {layers}")
    verdict.verdict = together(found)
    return verdict


def published_flow(larger: str, smaller: str, first: int, last: int, of: int) -> list[str]:
    """How often the one flow exceeds the other over the same span, as read off the paper's figure."""
    lines = []
    for place, curves in published()["figures"]["figure4"]["cells"].items():
        span = layer_span(first, last, of, len(curves[larger]))
        sums = [sum(curves[name][layer] for layer in span) for name in (larger, smaller)]
        model, task = place.split("/")
        names = [SHORT[name] for name in (larger, smaller)]
        lines.append(
            f"{model}, {title_of(task)}: {names[0]} {significant(sums[0], 2)}, {names[1]} {significant(sums[1], 2)}"
        )
    return lines


def image_importance(results: Results, book: Any, factor: float) -> Verdict:
    """The image bars' share of the instruction bars, in the paper's own figure; ours beside it."""
    quoted = published()["quoted"]["image_importance_of_instruction"]["value"]
    shares = {
        place: 100 * sum(curves["image"]) / sum(curves["instruction"])
        for place, curves in published()["figures"]["figure3"]["cells"].items()
    }
    bars = f"{number(min(shares.values()))} to {number(max(shares.values()))} %"
    verdict = Verdict(basis="arithmetic", paper=[f"text: {quoted} %", f"its bars, read off: {bars}"])
    verdict.verdict = HOLDS if max(shares.values()) <= factor * quoted else FAILS
    frame = results.figure("figure3")
    if frame is not None:
        own = frame[(frame["source"] == "ours") & frame["variant"].isin(["paper", "released"])]
        for (model, task, variant), part in own.groupby(["model", "benchmark", "variant"], sort=False):
            sums = part.groupby("curve")["raw"].sum()
            name = "equations 2–4" if variant == "paper" else "released code"
            share = significant(100 * sums["image"] / sums["instruction"])
            verdict.ours.append(f"{model}, {title(results, str(task))}, {name}: {share} %")
    return verdict


def bars(frame: pd.DataFrame, flow: str, extent: str, part: str, measure: str = "label") -> pd.DataFrame:
    """Our bars of Figure 5 for one flow, extent and end of the network."""
    chosen = (frame["source"] == "ours") & (frame["flow"] == flow) & (frame["extent"] == extent)
    return frame[chosen & (frame["part"] == part) & (frame["measure"] == measure)].set_index(["model", "benchmark"])


def early_cut_matters(results: Results, book: Any, kept: float) -> Verdict:
    """First layers lose answers, last layers keep them."""
    cells = published()["figures"]["figure5"]["cells"]
    lines = [f"{m}: first {c['label']['img2txt_first']}, last {c['label']['img2txt_last']}" for m, c in cells.items()]
    verdict = Verdict(paper=lines, why="disruption has not been run")
    frame, found = results.figure("figure5"), []
    if frame is None:
        return verdict
    first, last = (bars(frame, "img2txt", "single", part) for part in ("first", "last"))
    counted = models_that_count(results, list(results.facts["benchmarks"]))
    for model, task in [place for place in first.index if place in last.index and place[0] in counted]:
        a, b = first.loc[(model, task)], last.loc[(model, task)]
        spread = Z * sqrt(a["spread"] ** 2 + b["spread"] ** 2)
        change = b["value"] - a["value"]
        keeps = side_of(b["value"] - Z * b["spread"], b["value"] + Z * b["spread"], kept)
        drops = side_of(change - spread, change + spread)
        found.append(FAILS if FAILS in (keeps, drops) else HOLDS if drops == HOLDS and b["value"] >= kept else OPEN)
        verdict.basis, verdict.why = scope(results.facts, model, [task]), "the samples are too few to tell"
        text = f"first {number(a['value'], 2)}, last {number(b['value'], 2)}"
        verdict.ours.append(
            f"{model}, {title(results, task)}: {text}, difference [{interval(change - spread, change + spread, 2)}]"
        )
        verdict.ran_on.append(ran(results, model, "disruption", {task: int(a["n"])}))
    verdict.verdict = together(found)
    return verdict


def random_is_minor(results: Results, book: Any, kept: float) -> Verdict:
    """The control's own bars in the paper; ours beside them."""
    cells = {model: cell["label"]["random_first"] for model, cell in published()["figures"]["figure5"]["cells"].items()}
    verdict = Verdict(
        basis="arithmetic", paper=[f"{model}: keeps {value} in the first layers" for model, value in cells.items()]
    )
    verdict.verdict = HOLDS if min(cells.values()) >= kept else FAILS
    frame = results.figure("figure5")
    if frame is not None:
        for extent, name in (("single", "layer l alone"), ("suffix", "layer l and all above")):
            for row in records_of(bars(frame, "random", extent, "first").reset_index()):
                model, task = row.model, row.benchmark
                edges = interval(row.value - Z * row.spread, row.value + Z * row.spread, 2)
                verdict.ours.append(f"{model}, {title(results, task)}, {name}: keeps {number(row.value, 2)} [{edges}]")
    return verdict


def sign_change(low: float, high: float) -> str:
    """Below zero first and above zero then; a mean of exactly zero says nothing."""
    if low > 0 or high < 0:
        return FAILS
    return HOLDS if low < 0 < high else OPEN


def bias_changes_sign(results: Results, book: Any, shallow: int, deep: int, of: int) -> Verdict:
    """The mean bias ratio over the first layers and over the second half."""
    lines = []
    for name, values in published()["figures"]["figure6"]["cells"].items():
        depth = book["sizes"][name]["layers"]
        means = [
            np.mean([value for layer, value in values.items() if layer in span])
            for span in (layer_span(0, shallow, of, depth), layer_span(deep, of, of, depth))
        ]
        lines.append(f"{name}: {number(means[0], 2)} shallow, {number(means[1], 2)} deep")
    verdict = Verdict(paper=lines, why="disruption has not been run")
    frame, found, tasks = results.figure("figure6"), [], list(results.facts["benchmarks"])
    if frame is None:
        return verdict
    verdict.why = "a cut that changes no answer leaves the ratio undefined, too often here"
    verdict.basis = ground(results, tasks)
    for model in models_that_count(results, tasks):
        depth = results.facts["models"][model]["layers"]
        own = frame[(frame["source"] == "ours") & (frame["model"] == model)]
        for extent, name in (("single", "layer l alone"), ("suffix", "layer l and all above")):
            curve = own[(own["extent"] == extent) & (own["measure"] == "label")].set_index("layer")["value"]
            spans = (layer_span(0, shallow, of, depth), layer_span(deep, of, of, depth))
            parts = [curve[curve.index.isin(span)] for span in spans]
            if extent == "single":
                known = all(2 * len(part) >= len(span) for part, span in zip(parts, spans, strict=True))
                found.append(sign_change(*(float(part.mean()) for part in parts)) if known else OPEN)
            ends = [
                f"{number(part.mean(), 2)} ({len(part)} of {len(span)} layers)" if len(part) else "undefined"
                for part, span in zip(parts, spans, strict=True)
            ]
            verdict.ours.append(f"{model}, {name}: {ends[0]} shallow, {ends[1]} deep")
    verdict.verdict = together(found)
    return verdict
