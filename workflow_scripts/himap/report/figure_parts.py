"""Figures 3 to 8, the frontier and the ablations: from each figure's numbers to charts with a caption."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml

from himap import benchmarks, numbers
from himap.costs.formulas import on_frontier
from himap.metrics.statistics import mean_of_intervals
from himap.paper.published import figure_values, inconsistencies
from himap.report.charts import Series, dot_chart, line_chart, scatter_chart
from himap.results import Results, records_of
from himap.workflow.plan.report_settings import CAPTIONS

LAYER = "layer (from 0)"
CURVES = {
    "system": "system", "image": "image", "instruction": "instruction",
    "image_from_image": "image to image (S_vv)", "instruction_from_image": "image to instruction (S_vt)",
}  # fmt: skip
VARIANTS = {
    "paper": "the paper's equations", "released": "released code",
    "random weights, paper": "control: random weights, equations",
    "random weights, released": "control: random weights, released code",
}  # fmt: skip
FLOWS = {
    "img2txt": "image to instruction", "img2img": "image to image", "random": "as many random pairs",
    "random_unmatched": "random rows, as released",
}  # fmt: skip
EXTENTS = {
    "single": "layer l alone (paper)",
    "suffix": "layer l and all above (released)",
    "window": "a window of layers",
}
MEASURES = {"label": "label consistency", "score": "score consistency"}
Panels = list[dict[str, Any]]


def figure_parts(results: Results, names: list[str]) -> list[dict[str, Any]]:
    """Every figure, those that are missing too."""
    return [figure_part(results, name) for name in names]


def figure_part(results: Results, name: str) -> dict[str, Any]:
    """One figure: groups of charts, caption, legend, files."""
    frame, words = results.figure(name), yaml.safe_load(CAPTIONS.read_text(encoding="utf-8"))[name]
    part: dict[str, Any] = {
        "name": name, "title": words["title"], "groups": [],
        "caption": words["caption"].format(edge=results.facts["edge"]), "legend": [], "links": links(results, name),
        "notes": [f"In the paper: {what}." for what in inconsistencies(name)],
    }  # fmt: skip
    if frame is None or frame.empty:
        return part
    part |= DRAWN[name](results, frame)
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in part["groups"]:
        for chart in group["charts"]:
            for one in chart["series"]:
                seen.setdefault((one["slot"], one["kind"], one["label"]), one)
    part["legend"] = part["legend"] or [{key: one[key] for key in ("slot", "kind", "label")} for one in seen.values()]
    return part


def links(results: Results, name: str) -> list[dict[str, str]]:
    """The figure's files that are there, relative to the page."""
    files = {"numbers (CSV)": f"figures/data/{name}.csv"} | {
        ending.upper(): f"figures/{name}.{ending}" for ending in ("svg", "pdf", "png")
    }
    return [{"label": label, "href": href} for label, href in files.items() if (results.folder / href).is_file()]


def task_title(task: str) -> str:
    """A benchmark's title."""
    return benchmarks.get(task).title


def named(results: Results) -> str:
    """The models of the run in a row."""
    return numbers.listed(list(results.facts["models"]))


def one_model(results: Results) -> str:
    """The model whose mark stands for a group of several."""
    return next(iter(results.facts["models"]))


def points(frame: pd.DataFrame, x: str = "layer", y: str = "value") -> list[tuple[float, float]]:
    """A curve's points in order, undefined ones left out."""
    return [(float(a), float(b)) for a, b in frame.sort_values(x)[[x, y]].dropna().itertuples(index=False)]


def stretched(curve: list[tuple[float, float]], last: int, of: float | None = None) -> list[tuple[float, float]]:
    """A curve of another model over the same share of the depth: its last layer (`of`, or where it ends) comes to our `last`."""
    end = of or curve[-1][0]
    return [(x / end * last, y) for x, y in curve]


def saliency_groups(results: Results, frame: pd.DataFrame, name: str, label: str) -> list[dict[str, Any]]:
    """One group per model and benchmark, one chart per definition; the paper's curve thin behind the released one, and alone
    too where its layers are not ours."""
    groups = []
    for (model, task), here in frame.groupby(["model", "benchmark"], sort=False):
        own = here[here["source"] == "ours"]
        theirs = {curve: points(part) for curve, part in here[here["source"] == "paper"].groupby("curve", sort=False)}
        comparable = (
            results.facts["models"][model]["published"] is not None and results.facts["benchmarks"][task]["comparable"]
        )
        charts: Panels = []
        for variant in sorted(own["variant"].unique(), key=list(VARIANTS).index):
            part = own[own["variant"] == variant]
            curves = [curve for curve in CURVES if curve in set(part["curve"])]
            series = [Series(CURVES[c], points(part[part["curve"] == c]), slot) for slot, c in enumerate(curves)]
            if variant == "released":
                last = results.facts["models"][model]["layers"] - 1
                behind = [
                    Series(
                        f"{CURVES[c]}, paper",
                        theirs[c] if comparable else stretched(theirs[c], last),
                        slot,
                        "paper",
                        listed=comparable,
                    )
                    for slot, c in enumerate(curves)
                    if c in theirs
                ]
                series = behind + series
            charts.append(line_chart(VARIANTS[variant], series, x_label=LAYER, y_label=label, y_range=(0.0, 1.04)))
        if theirs and not comparable:
            behind = [
                Series(f"{CURVES[c]}, paper", theirs[c], slot, "paper")
                for slot, c in enumerate(CURVES_OF[name])
                if c in theirs
            ]
            published = "the paper's LLaVA-7B, read off its figure"
            alone = line_chart(published, behind, x_label=LAYER, y_label=label, y_range=(0.0, 1.04))
            charts.insert(sum(variant in ("paper", "released") for variant in set(own["variant"])), alone)
        groups.append({"title": f"{model}, {task_title(str(task))}", "model": model, "charts": charts})
    return groups


CURVES_OF = {"figure3": list(CURVES)[:3], "figure4": list(CURVES)[3:]}


def figure3(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Modality shares."""
    return {
        "groups": saliency_groups(results, frame, "figure3", "saliency per token, min–max"),
    }


def figure4(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Flows S_vv and S_vt."""
    return {
        "groups": saliency_groups(results, frame, "figure4", "saliency, min–max"),
    }


def figure5(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Consistency per layer, then the first and last layers with intervals."""
    groups = []
    own = frame[frame["source"] == "ours"]
    for model, here in own.groupby("model", sort=False):
        charts: Panels = []
        for extent in [one for one in EXTENTS if one in set(here["extent"])]:
            for measure, label in MEASURES.items():
                part = here[(here["extent"] == extent) & (here["measure"] == measure) & (here["part"] == "layer")]
                series = [
                    Series(
                        FLOWS[flow],
                        points(part[part["flow"] == flow].groupby("layer", as_index=False)[["value"]].mean()),
                        slot,
                    )
                    for slot, flow in enumerate(FLOWS)
                    if flow in set(part["flow"])
                ]
                floor = part["floor"].mean()
                lines = [(float(floor), "commonest answer always")] if measure == "label" and pd.notna(floor) else []
                name = f"{label}: {EXTENTS[extent]}"
                charts.append(line_chart(name, series, x_label=LAYER, y_label=label, y_range=(0.0, 1.04), lines=lines))
        charts += [
            edge_chart(results, frame, str(model), extent) for extent in EXTENTS if extent in set(here["extent"])
        ]
        groups.append({"title": f"{model}, mean over {tasks_of(here)}", "model": model, "charts": charts})
    slots = {flow: slot for slot, flow in enumerate(FLOWS) if flow in set(own["flow"])}
    return {
        "groups": groups,
        "legend": [
            *({"slot": slot, "kind": "ours", "label": f"cut: {FLOWS[flow]}"} for flow, slot in slots.items()),
            {"slot": 0, "kind": "diamond", "label": "the paper's bar"},
        ],
    }


def tasks_of(frame: pd.DataFrame) -> str:
    """The benchmarks of some rows."""
    return " and ".join(task_title(task) for task in dict.fromkeys(frame["benchmark"]))


def edge_chart(results: Results, frame: pd.DataFrame, model: str, extent: str) -> dict[str, Any]:
    """Label consistency over the first and the last layers."""
    own = frame[(frame["source"] == "ours") & (frame["model"] == model) & (frame["extent"] == extent)]
    theirs = frame[(frame["source"] == "paper") & (frame["model"] == model) & (frame["measure"] == "label")]
    rows = []
    for part in ("first", "last"):
        for slot, flow in enumerate(FLOWS):
            chosen = own[(own["part"] == part) & (own["flow"] == flow) & (own["measure"] == "label")]
            if chosen.empty:
                continue
            edges = list(zip(chosen["low"], chosen["high"], strict=True))
            value, low, high = mean_of_intervals(chosen["value"].tolist(), edges)
            low, high = max(0.0, low), min(1.0, high)
            paper = theirs[(theirs["part"] == part) & (theirs["flow"] == flow)]["value"]
            shown = float(paper.mean()) if len(paper) else None
            label = f"{part} layers, {FLOWS[flow]}"
            rows.append(
                {
                    "label": label, "slot": slot, "value": value, "low": low, "high": high,
                    "paper": shown,
                    "cells": [label, numbers.number(value, 3), numbers.interval(low, high, 3),
                              numbers.number(shown, 3), str(int(chosen["n"].sum()))],
                }
            )  # fmt: skip
    return dot_chart(
        f"first and last layers: {EXTENTS[extent]}", rows, x_label="label consistency", x_range=(0.0, 1.04),
        head=["cut", "ours", "95 % interval", "paper", "n"],
    )  # fmt: skip


def figure6(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Bias ratio, the paper's curve behind it where the model is its own, beside it elsewhere."""
    charts: Panels = []
    label = "log of E_vv over E_vt"
    theirs = frame[frame["source"] == "paper"]
    for model in dict.fromkeys(frame["model"]):
        own = frame[(frame["source"] == "ours") & (frame["model"] == model)]
        series = []
        slot = 0
        for extent in EXTENTS:
            for measure, name in MEASURES.items():
                curve = points(own[(own["extent"] == extent) & (own["measure"] == measure)])
                if curve:
                    series.append(Series(f"{name}, {EXTENTS[extent]}", curve, slot))
                slot += 1
        published, last = (results.facts["models"][model][key] for key in ("published", "layers"))
        curve = points(theirs[theirs["model"] == model])
        if curve and published == "LLaVA-13B":
            series = [Series("LLaVA-13B, paper", curve, 6, "paper"), *series]
        elif curve and series and published is None:
            curve = stretched(curve, last - 1, of=theirs["depth"].max() - 1)
            series = [Series("LLaVA-13B, paper", curve, 6, "paper", listed=False), *series]
        if series:
            charts.append(line_chart(model, series, x_label=LAYER, y_label=label, lines=[(0.0, "")]))
    if not any(facts["published"] == "LLaVA-13B" for facts in results.facts["models"].values()):
        values = figure_values("figure6", "LLaVA-13B") or {}
        curve = [(float(layer), float(value)) for layer, value in values.items()]
        series = [Series("LLaVA-13B, paper", curve, 6, "paper")]
        charts.append(
            line_chart(
                "the paper's LLaVA-13B, read off its figure", series, x_label=LAYER, y_label=label, lines=[(0.0, "")]
            )
        )
    return {
        "groups": [{"title": named(results), "model": one_model(results), "charts": charts}],
    }


def figure7(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Tokens per layer."""
    names = {"qa": "questions", "caption": "captions", "open": "open questions"}
    charts: Panels = []
    for (model, kind), here in frame.groupby(["model", "kind"], sort=False):
        series = [
            Series(str(method), points(own, y="tokens"), slot, step=True)
            for slot, (method, own) in enumerate(here.groupby("method", sort=False))
        ]
        top = 1.06 * float(here["tokens"].max())
        name = f"{model}, {names.get(str(kind), str(kind))}"
        charts.append(line_chart(name, series, x_label=LAYER, y_label="image tokens", y_range=(0.0, top), places=0))
    return {
        "groups": [{"title": named(results), "model": one_model(results), "charts": charts}],
    }


def figure8(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Seconds per example, the ideal, the paper's value where comparable."""
    groups = []
    known = list(dict.fromkeys([*results.facts["main_methods"], *results.facts["methods"]]))
    order = [*known, *(name for name in dict.fromkeys(frame["method"]) if name not in known)]
    for model, here in frame.groupby("model", sort=False):
        charts: Panels = []
        for task, own in here.groupby("benchmark", sort=False):
            full = own.set_index("method")["seconds"].get("vanilla")
            own = own.sort_values("method", key=lambda names: names.map(order.index))
            rows = []
            for slot, row in enumerate(records_of(own)):
                paper = None if pd.isna(row.paper) else float(row.paper)
                cut = f"{numbers.number(100 * (1 - row.seconds / full), 0)} %" if full else "–"
                edges = f"{numbers.significant(row.low)} to {numbers.significant(row.high)}"
                rows.append(
                    {
                        "label": row.title, "slot": slot, "value": row.seconds, "low": row.low, "high": row.high,
                        "ideal": row.ideal, "paper": paper,
                        "cells": [
                            row.title, numbers.significant(row.seconds), edges, cut, numbers.significant(row.ideal),
                            numbers.number(paper, 3),
                        ],
                    }
                )  # fmt: skip
            name = f"{task_title(str(task))}, n = {int(own['n'].max())}"
            charts.append(
                dot_chart(
                    name,
                    rows,
                    x_label="seconds per example",
                    zero=True,
                    head=["method", "seconds", "95 % interval", "less time", "ideal", "paper"],
                )
            )
        device = numbers.listed(sorted(set(results.devices("latency", str(model)) or here["device"].astype(str))))
        groups.append({"title": f"{model} on {device}", "model": model, "charts": charts})
    legend = [
        {"slot": 0, "kind": "dot", "label": "mean, with its 95 % interval"},
        {"slot": 0, "kind": "ideal", "label": "ideal: time in proportion to tokens"},
    ]
    if frame["paper"].notna().any():
        legend.append({"slot": 0, "kind": "diamond", "label": "the paper, one A800 80G"})
    return {"groups": groups, "legend": legend}


def frontier(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """The grid's schedules."""
    charts: Panels = []
    for (model, task), here in frame.groupby(["model", "benchmark"], sort=False):
        places = benchmarks.get(str(task)).digits
        dots = [
            {
                "x": 100 * row.ratio, "y": row.score, "best": bool(row.frontier),
                "cells": [
                    f"{numbers.number(100 * row.r1, 0)} % before {row.k1}, {numbers.significant(100 * row.r2)} % before {row.k2}",
                    f"{numbers.number(100 * row.ratio)} %", numbers.number(row.score, places),
                    numbers.interval(row.low, row.high, places), "yes" if row.frontier else "no",
                ],
            }
            for row in records_of(here)
        ]  # fmt: skip
        name = f"{model}, {task_title(str(task))}, n = {int(here['n'].max())}"
        head = ["image tokens kept", "FLOPs", "score", "95 % interval", "frontier"]
        charts.append(scatter_chart(name, dots, x_label="FLOPs, % of unpruned", y_label="score", head=head))
    return {
        "groups": [{"title": "The grid over both stages", "model": one_model(results), "charts": charts}, *method_groups(results)],
        "legend": [
            {"slot": 0, "kind": "point", "label": "a schedule, or a method"},
            {"slot": 1, "kind": "stairs", "label": "frontier: no other is better at no more cost"},
        ],
    }  # fmt: skip


def method_groups(results: Results) -> list[dict[str, Any]]:
    """The main methods by score and FLOPs, a chart per benchmark."""
    frames = [frame for name in ("table1", "table2", "table5") if (frame := results.table(name)) is not None]
    if not frames:
        return []
    cells = pd.concat(frames)
    groups = []
    for model, own in cells[cells["ours"].notna()].groupby("model", sort=False):
        charts = [method_chart(str(task), part) for task, part in own.groupby("benchmark", sort=False)]
        groups.append({"title": f"{model}: the methods", "model": model, "charts": charts})
    return groups


def method_chart(task: str, cells: pd.DataFrame) -> dict[str, Any]:
    """Methods as named points."""
    places = benchmarks.get(task).digits
    best = on_frontier(cells["ratio"].tolist(), cells["ours"].tolist())
    dots = [
        {
            "x": row.ratio, "y": row.ours, "best": first, "label": row.title,
            "cells": [
                row.title, f"{numbers.number(row.ratio)} %", numbers.number(row.ours, places),
                numbers.interval(row.low, row.high, places), "yes" if first else "no",
            ],
        }
        for row, first in zip(records_of(cells), best, strict=True)
    ]  # fmt: skip
    head = ["method", "FLOPs", "score", "95 % interval", "frontier"]
    name = f"{task_title(task)}, n = {int(cells['n'].max())}"
    return scatter_chart(name, dots, x_label="FLOPs, % of unpruned", y_label="score", head=head)


def ablations(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Paired differences to the unpruned model."""
    groups = []
    for (model, table), here in frame.groupby(["model", "table"], sort=False):
        charts: Panels = []
        for task, own in here.groupby("benchmark", sort=False):
            places = benchmarks.get(str(task)).digits
            rows = [
                {
                    "label": row.title, "slot": 0, "value": row.vs_vanilla, "low": row.vs_vanilla_low, "high": row.vs_vanilla_high,
                    "cells": [
                        row.title, numbers.number(row.vs_vanilla, places, sign=True),
                        numbers.interval(row.vs_vanilla_low, row.vs_vanilla_high, places, sign=True),
                        numbers.p_value(row.p_value), f"{numbers.number(row.ratio)} %",
                    ],
                }
                for row in records_of(own)
            ]  # fmt: skip
            head = ["method", "difference", "95 % interval", "paired test", "FLOPs"]
            name = f"{task_title(str(task))}, n = {int(own['n'].max())}"
            charts.append(
                dot_chart(name, rows, x_label="difference to the unpruned model", head=head, lines=[(0.0, "")])
            )
        name = results.facts["tables"].get(table, table)
        groups.append({"title": f"{model}: {name}", "model": model, "charts": charts})
    return {
        "groups": groups,
        "legend": [{"slot": 0, "kind": "dot", "label": "paired difference, with its 95 % interval"}],
    }


DRAWN = {
    "figure3": figure3, "figure4": figure4, "figure5": figure5, "figure6": figure6, "figure7": figure7,
    "figure8": figure8, "frontier": frontier, "ablations": ablations,
}  # fmt: skip
