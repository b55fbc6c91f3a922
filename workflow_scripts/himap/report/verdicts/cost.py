"""Rules about cost: FLOPs by formula, and time per example (Figure 8)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from himap.costs import formulas
from himap.costs.printed import stated_stages
from himap.metrics.statistics import mean_interval
from himap.numbers import interval, number
from himap.paper.published import decoder, published, table_value
from himap.report.verdicts.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    Verdict,
    ground,
    models_that_count,
    not_run_yet,
    ran,
    side_of,
    title,
    title_of,
    together,
)
from himap.results import RANDOM_WEIGHTS, Results


def formula(
    results: Results, book: Any, table: str, quantity: str, tolerance: float, cells: list[list[str]]
) -> Verdict:
    """Return the verdict on: what is printed is what the formula gives for the stated stages."""
    verdict, found = Verdict(basis="arithmetic"), []
    for model, method in cells:
        dims, stages = decoder(model), stated_stages(table, model, method)
        # By the paper's own count, on the decoder sizes of its models: no model has to be here.
        value = formulas.flops(dims, stages) / 1e12 if quantity == "tflops" else 100 * formulas.ratio(dims, stages)
        printed = table_value(table, model, method, quantity)
        name = results.facts["methods"].get(method, {}).get("title", method)
        # Cells that the paper leaves empty.
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
    results: Results, book: Any, quoted: str, table: str, models: list[str], kind: str, tolerance: float
) -> Verdict:
    """Return the verdict on the cut by the paper's count on its own models; each model's run here adds the other counts."""
    target = published()["quoted"][quoted]["value"]
    verdict, found = Verdict(basis="arithmetic", paper=[f"about {target} %"]), []
    for model in models:
        cut = 100 * (1 - formulas.ratio(decoder(model), stated_stages(table, model, "himap")))
        verdict.ours.append(f"{model} by formula: {number(cut)} %")
        found.append(HOLDS if abs(cut - target) <= tolerance else FAILS)
    names = {"paper": "image tokens", "prompt": "whole prompt", "measured": "as counted on a run, scoring included"}
    # Shown beside it only: the claim is about the paper's count on its own models.
    for model in results.facts["models"]:
        frame = results.flops(model, kind, "himap")
        if frame is not None:
            ratios = frame.set_index("convention")["ratio"]
            cuts = [f"{text} {number(100 * (1 - ratios[key]))} %" for key, text in names.items() if key in ratios]
            verdict.ours.append(f"{model} here: {', '.join(cuts)}")
    verdict.verdict = together(found)
    return verdict


def per_sample_seconds(results: Results, model: str) -> dict[str, pd.DataFrame]:
    """Return per benchmark, each sample's median time under each method."""
    found = {}
    for task in results.facts["benchmarks"]:
        frame = results.latency(model, task)
        if frame is not None:
            found[task] = medians(frame)
    return found


def medians(timings: pd.DataFrame) -> pd.DataFrame:
    """Return each sample's median time under each method: it drops the round in which another process disturbed the machine."""
    return timings.groupby(["sample_id", "method"])["seconds_total"].median().unstack("method")


def saving(faster: pd.Series, slower: pd.Series) -> tuple[float, float, float]:
    """Return how much less time the faster method takes, in percent of the slower's, and the interval of that."""
    # Sample by sample: long answers take many times as long as short ones, and that spread is none of the method's.
    shares = 100 * (slower - faster) / slower
    return float(shares.mean()), *mean_interval(shares.to_numpy())


def latency_order(results: Results, book: Any, order: list[str]) -> Verdict:
    """Return the verdict on: each method surely faster than the next."""
    lines = []
    for model, tasks in published()["figures"]["figure8"]["cells"].items():
        panels = [
            f"{title_of(task)} " + " < ".join(str(cells[method]) for method in order) for task, cells in tasks.items()
        ]
        lines.append(f"{model}: {', '.join(panels)} s")
    wanted = results.facts["planned"]["latency"]
    verdict = Verdict(basis=ground(results, wanted), paper=lines)
    found, missing, names = [], {}, {name: method["title"] for name, method in results.facts["methods"].items()}
    for model in models_that_count(results, wanted):
        timed = per_sample_seconds(results, model)
        # A benchmark on which one of the methods was not timed cannot be ordered.
        timed = {task: frame for task, frame in timed.items() if set(order) <= set(frame.columns)}
        missing[model] = [task for task in wanted if task not in timed]
        for task, frame in timed.items():
            parts = []
            # Each against the next: himap < fastv, fastv < vanilla.
            for faster, slower in itertools.pairwise(order):
                mean, low, high = saving(frame[faster], frame[slower])
                # Above zero: the method surely saves time of the next one.
                found.append(side_of(low, high))
                edges = interval(low, high, 0)
                parts.append(f"{names[faster]} saves {number(mean, 0)} % [{edges}] of {names[slower]}'s time")
            verdict.ours.append(f"{model}, {title(results, task)}: {'; '.join(parts)}")
        if timed:
            sizes = {task: (len(frame), len(frame)) for task, frame in timed.items()}
            verdict.ran_on.append(ran(results, model, "latency", sizes))
    verdict.verdict = OPEN if any(missing.values()) else together(found)
    verdict.why = not_run_yet(results, missing) or "the differences are within the noise"
    return verdict


def latency_cut(results: Results, book: Any, quoted: str, tolerance: float) -> Verdict:
    """Return the verdict on the cut in the paper's own Figure 8, with ours beside it."""
    target = published()["quoted"][quoted]["value"]
    cuts = [
        100 * (1 - cells["himap"] / cells["vanilla"])
        for tasks in published()["figures"]["figure8"]["cells"].values()
        for cells in tasks.values()
    ]
    span = f"{number(min(cuts), 0)} to {number(max(cuts), 0)} %, mean {number(float(np.mean(cuts)), 0)} %"
    verdict = Verdict(basis="arithmetic", paper=[f"text: {target} %", f"its Figure 8: {span}"])
    # The rule asks whether the text and the figure of the paper agree.
    verdict.verdict = HOLDS if abs(np.mean(cuts) - target) <= tolerance else FAILS
    for model in results.facts["models"]:
        for task, frame in per_sample_seconds(results, model).items():
            if {"himap", "vanilla"} <= set(frame.columns):
                mean, low, high = saving(frame["himap"], frame["vanilla"])
                cut = f"{number(mean, 0)} % [{interval(low, high, 0)}]"
                verdict.ours.append(f"{model}, {title(results, task)}: {cut}")
    if (saved := saving_of_random_weights(results)) is not None:
        mean, low, high = saved
        verdict.ours.append(f"{RANDOM_WEIGHTS}: {number(mean, 0)} % [{interval(low, high, 0)}]")
    return verdict


def saving_of_random_weights(results: Results) -> tuple[float, float, float] | None:
    """Return the time that HiMAP saves on a model of random weights, None if it was not timed."""
    if (timings := results.random_latency()) is None:
        return None
    timed = medians(timings)
    return saving(timed["himap"], timed["vanilla"]) if {"himap", "vanilla"} <= set(timed.columns) else None
