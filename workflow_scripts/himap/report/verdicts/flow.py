"""Rules about information flow: saliency (Figures 3 and 4), disruption (Figure 5), bias ratio (Figure 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from himap.metrics.statistics import Estimate, difference_of_intervals, share_interval
from himap.metrics.statistics import interval as statistics_interval
from himap.numbers import interval, number, significant
from himap.paper.published import decoder, published
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    TOO_FEW,
    Verdict,
    ground,
    layer_span,
    models_that_count,
    not_run_yet,
    ran,
    side_of,
    title,
    title_of,
    together,
)
from himap.results import Results, records_of

BIASED = ("img2img", "img2txt")  # E_vv and E_vt
SHORT = {"image_from_image": "S_vv", "instruction_from_image": "S_vt"}


def flow_is_larger(results: Results, book: Any, larger: str, smaller: str, first: int, last: int, of: int) -> Verdict:
    """Return the verdict on the share of samples in which one flow exceeds the other over a span of layers."""
    tasks = results.facts["planned"]["saliency"]
    verdict = Verdict(basis=ground(results, tasks), paper=published_flow(larger, smaller, first, last, of))
    found: list[str] = []
    missing: dict[str, list[str]] = {}
    for model in models_that_count(results, tasks):
        span = layer_span(first, last, of, results.facts["models"][model]["layers"])
        for task in tasks:
            frame = results.saliency(model, task)
            if frame is None:
                missing.setdefault(model, []).append(task)
                continue
            kept = frame[(frame["weights"] == "trained") & frame["layer"].isin(span)]
            # The config's first target decides; the others are compared in the divergence table.
            kept = kept[kept["target"] == frame["target"].iloc[0]]
            for definition, part in kept.groupby("definition", sort=True):
                sums = part.groupby("sample_id")[[larger, smaller]].sum()
                # Sample by sample, since sums over samples would be those of the few with the largest gradients.
                wins, n = int((sums[larger] > sums[smaller]).sum()), len(sums)
                low, high = share_interval(wins, n)
                # The claim is about equation 1; the released code's numbers are shown beside it.
                name = "equation 1" if definition == "paper" else "released code"
                share = f"{number(100 * wins / n, 0)} % of samples [{interval(100 * low, 100 * high, 0)}]"
                verdict.ours.append(f"{model}, {title(results, task)}, {name}: {share}")
                if definition == "paper":
                    found.append(side_of(low, high, 0.5))
                    layers = f"layers {span.start} to {span.stop - 1}" if len(span) > 1 else f"layer {span.start}"
                    verdict.ran_on.append(ran(results, model, "saliency", {task: (n, n)}) + f"; {layers}")
    return concluded(results, verdict, found, missing)


def concluded(results: Results, verdict: Verdict, found: list[str], missing: dict[str, list[str]]) -> Verdict:
    """Return the verdict from its parts: open while something that the config plans is missing."""
    verdict.verdict = OPEN if any(missing.values()) else together(found)
    verdict.why = not_run_yet(results, missing) or (TOO_FEW if found else "not planned in this config")
    return verdict


def published_flow(larger: str, smaller: str, first: int, last: int, of: int) -> list[str]:
    """Return how often the one flow exceeds the other over the same span, as read off the paper's figure."""
    lines = []
    for place, curves in published()["figures"]["figure4"]["cells"].items():
        # The paper's figure has a curve for each model, with as many points as the model has layers.
        span = layer_span(first, last, of, len(curves[larger]))
        sums = [sum(curves[name][layer] for layer in span) for name in (larger, smaller)]
        model, task = place.split("/")
        names = [SHORT[name] for name in (larger, smaller)]
        lines.append(
            f"{model}, {title_of(task)}: {names[0]} {significant(sums[0], 2)}, {names[1]} {significant(sums[1], 2)}"
        )
    return lines


def image_importance(results: Results, book: Any, factor: float) -> Verdict:
    """Return the verdict on the image bars' share of the instruction bars in the paper's own figure, with ours beside it."""
    quoted = published()["quoted"]["image_importance_of_instruction"]["value"]
    shares = {
        place: 100 * sum(curves["image"]) / sum(curves["instruction"])
        for place, curves in published()["figures"]["figure3"]["cells"].items()
    }
    bars = f"{number(min(shares.values()))} to {number(max(shares.values()))} %"
    verdict = Verdict(basis="arithmetic", paper=[f"text: {quoted} %", f"its bars, read off: {bars}"])
    # The rule is about the paper's own figure: its bars against its text.
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
    """Return our bars of Figure 5 for one flow, extent and end of the network."""
    chosen = (frame["source"] == "ours") & (frame["flow"] == flow) & (frame["extent"] == extent)
    return frame[chosen & (frame["part"] == part) & (frame["measure"] == measure)].set_index(["model", "benchmark"])


def early_cut_matters(results: Results, book: Any, kept: float) -> Verdict:
    """Return the verdict on: first layers lose answers, last layers keep them."""
    cells = published()["figures"]["figure5"]["cells"]
    lines = [f"{m}: first {c['label']['img2txt_first']}, last {c['label']['img2txt_last']}" for m, c in cells.items()]
    tasks = results.facts["planned"]["disruption"]
    verdict = Verdict(basis=ground(results, tasks), paper=lines)
    frame = results.figure("figure5")
    found: list[str] = []
    missing: dict[str, list[str]] = {}
    for model in models_that_count(results, tasks):
        for task in tasks:
            ends = [bar(frame, model, task, part) for part in ("first", "last")]
            if None in ends:
                missing.setdefault(model, []).append(task)
                continue
            first, last = (end for end in ends if end is not None)
            edges = [(end.value, end.low, end.high) for end in (first, last)]
            # Last minus first: positive where the last layers keep more answers.
            _, low, high = difference_of_intervals(*edges)
            keeps, drops = side_of(last.low, last.high, kept), side_of(low, high)
            # The point and not its interval: at a share near 1 the interval of few samples reaches below the line whatever they say.
            holds = drops == HOLDS and last.value >= kept
            found.append(FAILS if FAILS in (keeps, drops) else HOLDS if holds else OPEN)
            text = f"first {number(first.value, 2)}, last {number(last.value, 2)}"
            verdict.ours.append(f"{model}, {title(results, task)}: {text}, difference [{interval(low, high, 2)}]")
            verdict.ran_on.append(ran(results, model, "disruption", {task: (int(first.n),) * 2}))
    return concluded(results, verdict, found, missing)


def bar(frame: pd.DataFrame | None, model: str, task: str, part: str) -> Any:
    """Return our bar of Figure 5 for layer l alone, image to instruction cut, or None."""
    rows = [] if frame is None else list(records_of(bars(frame, "img2txt", "single", part).reset_index()))
    return next((row for row in rows if (row.model, row.benchmark) == (model, task)), None)


def random_is_minor(results: Results, book: Any, kept: float) -> Verdict:
    """Return the verdict on the control's own bars in the paper, with ours beside them."""
    cells = {model: cell["label"]["random_first"] for model, cell in published()["figures"]["figure5"]["cells"].items()}
    verdict = Verdict(
        basis="arithmetic", paper=[f"{model}: keeps {value} in the first layers" for model, value in cells.items()]
    )
    # The paper's bars alone decide: its own control is what the sentence is about.
    verdict.verdict = HOLDS if min(cells.values()) >= kept else FAILS
    frame = results.figure("figure5")
    if frame is not None:
        for extent, name in (("single", "layer l alone"), ("suffix", "layer l and all above")):
            for row in records_of(bars(frame, "random", extent, "first").reset_index()):
                model, task = row.model, row.benchmark
                edges = interval(row.low, row.high, 2)
                verdict.ours.append(f"{model}, {title(results, task)}, {name}: keeps {number(row.value, 2)} [{edges}]")
    return verdict


def sign_change(shallow: tuple[float, float], deep: tuple[float, float]) -> str:
    """Return whether one interval lies below zero and the other above."""
    # One interval surely on the wrong side is enough to fail; both on the right side are needed to hold.
    if shallow[0] > 0 or deep[1] < 0:
        return FAILS
    return HOLDS if shallow[1] < 0 and deep[0] > 0 else OPEN


def bias_changes_sign(results: Results, book: Any, shallow: int, deep: int, of: int) -> Verdict:
    """Return the verdict on the mean bias ratio over the first layers and over the second half."""
    lines = []
    for name, values in published()["figures"]["figure6"]["cells"].items():
        depth = decoder(name).layers
        means = [
            np.mean([value for layer, value in values.items() if layer in span])
            for span in (layer_span(0, shallow, of, depth), layer_span(deep, of, of, depth))
        ]
        lines.append(f"{name}: {number(means[0], 2)} shallow, {number(means[1], 2)} deep")
    tasks = results.facts["planned"]["disruption"]
    verdict = Verdict(basis=ground(results, tasks), paper=lines)
    found, missing, defined = [], {}, True
    for model in models_that_count(results, tasks):
        depth = results.facts["models"][model]["layers"]
        frames = {task: results.disruption(model, task) for task in tasks}
        missing[model] = [task for task, frame in frames.items() if frame is None]
        sweeps = {task: frame for task, frame in frames.items() if frame is not None}
        if not sweeps:
            continue
        spans = (layer_span(0, shallow, of, depth), layer_span(deep, of, of, depth))
        for extent, name in (("single", "layer l alone"), ("suffix", "layer l and all above")):
            ends = [mean_bias(sweeps, extent, span) for span in spans]
            # The paper's words, layer l alone, decide; the released code's extent is shown.
            if extent == "single":
                # A ratio from one or two layers of a span would say little about the span.
                known = all(2 * end.layers >= len(span) for end, span in zip(ends, spans, strict=True))
                found.append(sign_change(*(end.edges for end in ends)) if known else OPEN)
                defined = defined and known
            texts = [end.text(len(span)) for end, span in zip(ends, spans, strict=True)]
            verdict.ours.append(f"{model}, {name}: {texts[0]} shallow, {texts[1]} deep")
        sizes = {task: (frame["sample_id"].nunique(),) * 2 for task, frame in sweeps.items()}
        verdict.ran_on.append(ran(results, model, "disruption", sizes))
    verdict = concluded(results, verdict, found, missing)
    if found and not defined and not any(missing.values()):
        verdict.why = "a cut that changes no answer leaves the ratio undefined, too often here"
    return verdict


@dataclass(frozen=True)
class MeanBias:
    """The mean bias ratio over some layers, its interval, and in how many of them it is defined."""

    value: float
    edges: tuple[float, float]
    layers: int

    def text(self, of: int) -> str:
        """Return it in words."""
        if not self.layers:
            return "undefined"
        return f"{number(self.value, 2)} [{interval(*self.edges, 2)}] ({self.layers} of {of} layers)"


def mean_bias(sweeps: dict[str, pd.DataFrame], extent: str, span: range) -> MeanBias:
    """Return log(E_vv / E_vt) with E = 1 - label consistency, mean over benchmarks and then over layers, by sample.

    The interval takes half an answer more for each count, so that leaving out the one sample that changed is no infinity.
    """
    blocks, counts, defined = [], [], []
    for frame in sweeps.values():
        own = frame[(frame["extent"] == extent) & (frame["block"] == frame["block"].iloc[0])]
        own = own[own["layer"].isin(span)].assign(changed=1.0 - own["same_answer"].astype(float))
        # [samples, flows and layers]: 1.0 where the cut changed the answer; NaN where a layer was not swept.
        table = own.pivot_table(index="sample_id", columns=["flow", "layer"], values="changed")
        # [samples, layers] of each flow, E_vv first.
        columns = [table.reindex(columns=[(flow, layer) for layer in span]).to_numpy() for flow in BIASED]
        sums = np.stack([np.nansum(column, axis=0) for column in columns])  # [2, layers]
        # [samples, 2 * layers]: a block of columns for each benchmark, E_vv and then E_vt.
        blocks.append(np.nan_to_num(np.concatenate(columns, axis=1)))
        counts.append(sums)
        # log(0) is undefined, so a layer counts only where both cuts changed an answer.
        defined.append((sums > 0).all(axis=0))
    known = np.stack(defined)  # [benchmarks, layers]
    layers = int(known.any(axis=0).sum())
    if not layers:
        return MeanBias(float("nan"), (float("nan"), float("nan")), 0)
    # [benchmarks, layers]: the mean over the benchmarks that define a layer, then over the defined layers. Sums to 1.
    weights = np.where(known, 1.0 / np.maximum(known.sum(axis=0), 1), 0.0) / layers
    # Block diagonal, [all samples, benchmarks * 2 * layers]: a sample counts in its own benchmark's columns alone, so
    # that leaving it out changes only these.
    values = np.zeros((sum(map(len, blocks)), 2 * known.size))
    start = 0
    for number_of, block in enumerate(blocks):
        values[start : start + len(block), number_of * block.shape[1] : (number_of + 1) * block.shape[1]] = block
        start += len(block)

    def weighted(sums: Any, extra: float = 0.5) -> Any:
        # [..., benchmarks, E_vv and E_vt, layers]
        pairs = np.log(np.maximum(sums, 0) + extra).reshape(*sums.shape[:-1], len(blocks), 2, len(span))
        return ((pairs[..., 0, :] - pairs[..., 1, :]) * weights).sum(axis=(-1, -2))

    strata = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    estimate = Estimate(values, weighted, strata=strata)
    logs = [np.log(np.where(is_known, sums, 1.0)) for is_known, sums in zip(known, counts, strict=True)]
    # The value itself takes the plain counts, and 1 where the ratio is undefined, whose weight is 0.
    value = float(sum(((log[0] - log[1]) * weight).sum() for log, weight in zip(logs, weights, strict=True)))
    # The interval was made around the value with half an answer more; it is moved to the plain one.
    low, high = (edge - estimate.point() + value for edge in statistics_interval(estimate))
    return MeanBias(value, (low, high), layers)
