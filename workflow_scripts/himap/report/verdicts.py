"""The paper's claims against this run: one function per rule, each from result files to what is shown beside the claim.

A function returns the paper's figure, ours line by line, and *holds*, *fails* or *open*. `basis` says what the verdict
rests on: the paper's models, the embedded world, another model, or arithmetic on what the paper itself prints.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import yaml

from himap import costs
from himap.dims import Dims
from himap.published import published, table_value
from himap.report.facts import CLAIMS, scope
from himap.report.results import Results, records_of
from himap.report.text import interval, listed, number, p_value, significant
from himap.statistics import error_of_mean

HOLDS, FAILS, OPEN = "holds", "fails", "open"
WORDS = {HOLDS: "holds", FAILS: "does not hold", OPEN: "not decidable here"}
GROUNDS = {"paper": "on the paper's models", "arithmetic": "from the paper's own numbers"}
ASIDES = {"mini": "in the mini world", "other": "on another model"}
SHORT = {"image_from_image": "S_vv", "instruction_from_image": "S_vt"}
Z = 1.96  # half width of a 95 % interval in standard errors


@dataclass
class Verdict:
    """What stands in a claim's row."""

    verdict: str = OPEN
    basis: str = "paper"
    paper: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    ran_on: list[str] = field(default_factory=list)
    why: str = ""


def verdict_groups(results: Results) -> list[dict[str, Any]]:
    """All claims in their groups, each with its verdict."""
    book = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    groups = []
    for group in book["groups"]:
        rows = []
        for claim in group["claims"]:
            found: Verdict = TESTS[claim["test"]](results, book, **claim["with"])
            rows.append(
                {"claim": claim, "rule": claim["rule"].format(**claim["with"]), "found": found, "words": words(found)}
            )
        groups.append({"title": group["title"], "rows": rows})
    return groups


def shown(found: Verdict) -> str:
    """The verdict on the claim itself: what another model or the embedded world shows decides nothing about the paper's."""
    return found.verdict if found.basis in GROUNDS else OPEN


def words(found: Verdict) -> dict[str, str]:
    """A verdict in words with its ground, or why there is none; and what a model that cannot decide shows nevertheless."""
    verdict = shown(found)
    aside = found.verdict != OPEN and verdict == OPEN
    reason = found.why if found.verdict == OPEN else GROUNDS.get(found.basis, "")
    return {"verdict": verdict, "text": WORDS[verdict], "ground": reason, "aside": ASIDES[found.basis] if aside else ""}


def summary(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """How many claims came out how, and apart from that what models that cannot decide show."""
    found = [row["found"] for group in groups for row in group["rows"]]
    apart = [one for one in found if one.basis in ASIDES and one.verdict != OPEN]
    return {
        "total": len(found),
        "counts": {verdict: sum(shown(one) == verdict for one in found) for verdict in WORDS},
        "arithmetic": sum(one.basis == "arithmetic" and one.verdict != OPEN for one in found),
        "aside": ASIDES[apart[0].basis] if apart else "",
        "apart": {verdict: sum(one.verdict == verdict for one in apart) for verdict in (HOLDS, FAILS)},
    }


# ---- what rules share


def models_that_count(results: Results, tasks: list[str]) -> list[str]:
    """The paper's models if this run has any, else all."""
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    theirs = [model for model in results.facts["models"] if scope(results.facts, model, known or None) == "paper"]
    return theirs or list(results.facts["models"])


def ground(results: Results, tasks: list[str]) -> str:
    """What results on these benchmarks can speak about."""
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    counted = models_that_count(results, tasks)
    return scope(results.facts, counted[0], known or None)


def together(verdicts: Iterable[str]) -> str:
    """One verdict from several: all must hold, and one that fails decides."""
    found = list(verdicts)
    if FAILS in found:
        return FAILS
    return HOLDS if found and all(one == HOLDS for one in found) else OPEN


def side_of(low: float, high: float, line: float = 0.0) -> str:
    """Whether an interval lies above a line, below it, or across."""
    return HOLDS if low > line else FAILS if high < line else OPEN


def holm(values: list[float]) -> list[float]:
    """p values corrected for their number, step down."""
    order = np.argsort(values)
    corrected, running = [1.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = running
    return corrected


def title(results: Results, task: str) -> str:
    """A benchmark's title."""
    return str(results.facts["benchmarks"][task]["title"])


def ran(results: Results, model: str, stage: str, sizes: dict[str, int]) -> str:
    """Model, benchmarks with n, device."""
    parts = [f"{title(results, task)} n = {n}" for task, n in sizes.items()]
    devices = results.devices(stage, model)
    return f"{model}: {', '.join(parts)}" + (f"; {', '.join(devices)}" if devices else "")


# ---- accuracy


def paired_differences(results: Results, model: str, tasks: list[str], method: str, base: str) -> list[dict[str, Any]]:
    """Per benchmark, method minus base in percent of the base's score."""
    rows = []
    for task in tasks:
        if task not in results.facts["benchmarks"]:
            continue
        against, score = results.compare(model, task, base, method), results.score(model, task, base)
        if against is None or score is None or not score["headline"]:
            continue
        unit = 100 / abs(score["headline"])
        low, high = (unit * edge for edge in against.interval)
        rows.append(
            {
                "task": task,
                "n": against.n,
                "value": unit * against.difference,
                "low": low,
                "high": high,
                "p": against.p_value,
            }
        )
    return rows


def mean_difference(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The mean over benchmarks with its interval, the benchmarks being independent."""
    spread = error_of_mean((row["high"] - row["low"]) / (2 * Z) for row in rows)
    mean = sum(row["value"] for row in rows) / len(rows)
    return mean, mean - Z * spread, mean + Z * spread


def difference_lines(results: Results, model: str, rows: list[dict[str, Any]]) -> list[str]:
    """The mean, then the benchmarks one after another."""
    mean, low, high = mean_difference(rows)
    lines = [f"{model}: mean {number(mean, sign=True)} % [{interval(low, high, sign=True)}]"]
    if len(rows) > 1:
        each = [
            f"{title(results, row['task'])} {number(row['value'], sign=True)} % ({p_value(row['p'])})" for row in rows
        ]
        lines.append(", ".join(each))
    return lines


def published_differences(results: Results, table: str, tasks: list[str], method: str, base: str) -> list[str]:
    """The same differences, in percent of the base's score, as the paper prints the scores."""
    lines = []
    for model, cells in published()["tables"][table]["cells"].items():
        changes = {}
        for task in tasks:
            one, other = (cells.get(name, {}).get(task) for name in (method, base))
            if one is not None and other is not None:
                changes[task] = 100 * (one - other) / other
        if len(changes) > 2:
            low, high = min(changes, key=changes.__getitem__), max(changes, key=changes.__getitem__)
            ends = [f"{title_of(task)} {number(changes[task], sign=True)}" for task in (low, high)]
            lines.append(
                f"{model}: mean {number(float(np.mean(list(changes.values()))), sign=True)} % ({' to '.join(ends)} %)"
            )
        elif changes:
            lines.append(
                f"{model}: "
                + ", ".join(f"{title_of(task)} {number(one, sign=True)} %" for task, one in changes.items())
            )
    return lines


def over_models(results: Results, table: str, tasks: list[str], method: str, base: str, judge: Any) -> Verdict:
    """Differences on each model that counts, and the verdict over all."""
    verdict = Verdict(basis=ground(results, tasks), paper=published_differences(results, table, tasks, method, base))
    found = []
    for model in models_that_count(results, tasks):
        rows = paired_differences(results, model, tasks, method, base)
        if not rows:
            found.append(OPEN)
            continue
        found.append(judge(rows))
        verdict.ours += difference_lines(results, model, rows)
        verdict.ran_on.append(ran(results, model, "evaluation", {row["task"]: row["n"] for row in rows}))
    verdict.verdict = together(found)
    known = [task for task in tasks if task in results.facts["benchmarks"]]
    if not known:
        verdict.why = "these benchmarks are not in the config"
    elif not verdict.ours:
        unjudged = all(not results.facts["benchmarks"][task]["scored"] for task in known)
        verdict.why = "the answers are not judged" if unjudged else "not run yet, or the score to compare with is 0"
    else:
        verdict.why = "the samples are too few to tell"
    return verdict


def not_worse(
    results: Results, book: Any, table: str, tasks: list[str], method: str, base: str, margin: float
) -> Verdict:
    """No benchmark significantly worse, and the mean surely above minus the margin."""
    level = book["margins"]["level"]

    def judge(rows: list[dict[str, Any]]) -> str:
        corrected = holm([row["p"] for row in rows])
        if any(row["value"] < 0 and p < level for row, p in zip(rows, corrected, strict=True)):
            return FAILS
        return HOLDS if mean_difference(rows)[1] > -margin else OPEN

    return over_models(results, table, tasks, method, base, judge)


def better(results: Results, book: Any, table: str, tasks: list[str], method: str, base: str) -> Verdict:
    """The mean difference surely above zero."""
    return over_models(results, table, tasks, method, base, lambda rows: side_of(*mean_difference(rows)[1:]))


def scores_match(results: Results, book: Any, tables: list[str], tolerance: float) -> Verdict:
    """Every compared cell within the interval or the tolerance."""
    frames = [frame for name in tables if (frame := results.table(name)) is not None]
    cells = pd.concat(frames) if frames else pd.DataFrame(columns=["status", "paper", "ours"])
    cells = cells[(cells["status"] == "compared") & cells["paper"].notna() & cells["ours"].notna()]
    values = [
        value
        for name in tables
        for model in published()["tables"][name]["cells"].values()
        for row in model.values()
        for column, value in row.items()
        if column not in ("tflops", "ratio") and value is not None
    ]
    verdict = Verdict(paper=[f"{len(values)} scores of its tables"], why="no cell ran on the paper's model and data")
    if cells.empty:
        return verdict
    close = (cells["ours"] - cells["paper"]).abs() <= tolerance / 100 * cells["paper"].abs()
    inside = (cells["low"] <= cells["paper"]) & (cells["paper"] <= cells["high"])
    agree = close | inside
    verdict.verdict = HOLDS if agree.all() else FAILS
    verdict.ours = [f"{int(agree.sum())} of {len(cells)} compared cells agree"]
    far = cells[~agree]
    if len(far):
        names = [f"{row.model}, {row.title}, {title(results, row.benchmark)}" for row in records_of(far)]
        verdict.ours.append(f"do not: {listed(names, 6)}")
    verdict.ran_on = [f"{model}: {len(part)} cells" for model, part in cells.groupby("model")]
    return verdict


# ---- information flow


def layer_span(first: int, last: int, of: int, layers: int) -> range:
    """The same share of another depth, at least one layer."""
    begin = first * layers // of
    return range(begin, max(begin + 1, round(last * layers / of)))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share."""
    centre, width = successes + Z * Z / 2, Z * sqrt(successes * (n - successes) / n + Z * Z / 4)
    return (centre - width) / (n + Z * Z), (centre + width) / (n + Z * Z)


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


# ---- cost


def sizes_of(book: Any, model: str) -> Dims:
    """The decoder of one of the paper's models."""
    return Dims(**book["sizes"][model])


def formula(
    results: Results, book: Any, table: str, quantity: str, tolerance: float, cells: list[list[str]]
) -> Verdict:
    """What the formula gives for stated schedules, against what is printed."""
    verdict, found = Verdict(basis="arithmetic"), []
    for model, method, schedule in cells:
        dims, stages = sizes_of(book, model), book["schedules"][schedule]
        value = costs.flops(dims, stages) / 1e12 if quantity == "tflops" else 100 * costs.ratio(dims, stages)
        printed = table_value(table, model, method, quantity)
        name = results.facts["methods"].get(method, {}).get("title", method)
        if printed is None:
            continue
        places, unit = (3, "TFLOPs") if quantity == "tflops" else (1, "%")
        verdict.paper.append(f"{model} {name}: {printed} {unit}")
        verdict.ours.append(f"{model} {name}: {number(value, places)} {unit}")
        found.append(HOLDS if abs(value - printed) <= tolerance else FAILS)
    verdict.verdict = together(found)
    verdict.ran_on = ["by formula; no model needed"]
    return verdict


def flops_cut(
    results: Results, book: Any, quoted: str, schedule: str, models: list[str], kind: str, tolerance: float
) -> Verdict:
    """The cut by the paper's count on its own models; under each model's run the other counts."""
    target = published()["quoted"][quoted]["value"]
    verdict, found = Verdict(basis="arithmetic", paper=[f"about {target} %"]), []
    for model in models:
        cut = 100 * (1 - costs.ratio(sizes_of(book, model), book["schedules"][schedule]))
        verdict.ours.append(f"{model} by formula: {number(cut)} %")
        found.append(HOLDS if abs(cut - target) <= tolerance else FAILS)
    names = {"paper": "image tokens", "prompt": "whole prompt", "measured": "as counted on a run, scoring included"}
    for model in results.facts["models"]:
        frame = results.csv("flops", model, f"{kind}.csv")
        if frame is not None and "himap" in set(frame["method"]):
            own = frame[frame["method"] == "himap"].set_index("convention")["ratio"]
            cuts = [f"{text} {number(100 * (1 - own[key]))} %" for key, text in names.items() if key in own]
            verdict.ours.append(f"{model} here: {', '.join(cuts)}")
    verdict.verdict = together(found)
    return verdict


def per_sample_seconds(results: Results, model: str) -> dict[str, pd.DataFrame]:
    """Per benchmark, each sample's median time under each method."""
    found = {}
    for task in results.facts["benchmarks"]:
        frame = results.csv("latency", model, f"{task}.csv")
        if frame is not None:
            found[task] = frame.groupby(["sample_id", "method"])["seconds_total"].median().unstack("method")
    return found


def mean_and_spread(values: pd.Series) -> tuple[float, float]:
    """Mean and half width of its 95 % interval."""
    spread = float(values.std() / sqrt(len(values))) if len(values) > 1 else float("inf")
    return float(values.mean()), Z * spread


def latency_order(results: Results, book: Any, order: list[str]) -> Verdict:
    """Each method surely faster than the next."""
    lines = []
    for model, tasks in published()["figures"]["figure8"]["cells"].items():
        panels = [
            f"{title_of(task)} " + " < ".join(str(cells[method]) for method in order) for task, cells in tasks.items()
        ]
        lines.append(f"{model}: {', '.join(panels)} s")
    verdict = Verdict(paper=lines, why="latency has not been measured")
    found = []
    for model in models_that_count(results, list(results.facts["benchmarks"])):
        timed = per_sample_seconds(results, model)
        for task, frame in timed.items():
            if not set(order) <= set(frame.columns):
                continue
            verdict.basis, verdict.why = scope(results.facts, model, [task]), "the differences are within the noise"
            parts = []
            for faster, slower in itertools.pairwise(order):
                mean, half = mean_and_spread((frame[slower] - frame[faster]) / frame[slower])
                found.append(side_of(mean - half, mean + half))
                names = [results.facts["methods"][name]["title"] for name in (faster, slower)]
                change = number(-100 * mean, 0, sign=True)
                edges = interval(-100 * (mean + half), -100 * (mean - half), 0, sign=True)
                parts.append(f"{names[0]} against {names[1]} {change} % [{edges}]")
            verdict.ours.append(f"{model}, {title(results, task)}: {'; '.join(parts)}")
        sizes = {task: len(frame) for task, frame in timed.items()}
        if sizes:
            verdict.ran_on.append(ran(results, model, "latency", sizes))
    verdict.verdict = together(found)
    return verdict


def latency_cut(results: Results, book: Any, quoted: str, tolerance: float) -> Verdict:
    """The cut in the paper's own Figure 8; ours beside it."""
    target = published()["quoted"][quoted]["value"]
    cuts = [
        100 * (1 - cells["himap"] / cells["vanilla"])
        for tasks in published()["figures"]["figure8"]["cells"].values()
        for cells in tasks.values()
    ]
    span = f"{number(min(cuts), 0)} to {number(max(cuts), 0)} %, mean {number(float(np.mean(cuts)), 0)} %"
    verdict = Verdict(basis="arithmetic", paper=[f"text: {target} %", f"its Figure 8: {span}"])
    verdict.verdict = HOLDS if abs(np.mean(cuts) - target) <= tolerance else FAILS
    for model in results.facts["models"]:
        for task, frame in per_sample_seconds(results, model).items():
            if {"himap", "vanilla"} <= set(frame.columns):
                mean, half = mean_and_spread(1 - frame["himap"] / frame["vanilla"])
                cut = f"{number(100 * mean, 0)} % [{interval(100 * (mean - half), 100 * (mean + half), 0)}]"
                verdict.ours.append(f"{model}, {title(results, task)}: {cut}")
    return verdict


def title_of(task: str) -> str:
    """A benchmark's title, whether or not this run has it."""
    from himap import benchmarks

    return benchmarks.get(task).title


TESTS: dict[str, Callable[..., Verdict]] = {
    "not_worse": not_worse,
    "better": better,
    "scores_match": scores_match,
    "flow_is_larger": flow_is_larger,
    "image_importance": image_importance,
    "early_cut_matters": early_cut_matters,
    "random_is_minor": random_is_minor,
    "bias_changes_sign": bias_changes_sign,
    "formula": formula,
    "flops_cut": flops_cut,
    "latency_order": latency_order,
    "latency_cut": latency_cut,
}
