"""Tables as data: one record per cell.

A record holds ours, the paper's value, the difference, n, the 95 % interval and, against the unpruned model on the same
samples, the paired difference with its p value. What the paper does not give says so; where model, data or protocol are
not the paper's, its value stands as a reference with the reason, without difference or verdict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from himap import benchmarks
from himap.benchmarks import _base
from himap.files import read_json
from himap.paper.published import table_value, unlike
from himap.paths import Paths
from himap.results import read_costs

MAIN_TABLES = ("table1", "table2", "table3", "table4")
REFERENCE_ROW = "LLaVA-7B"  # shown beside models that the paper does not have
NOT_PUBLISHED, NOT_JUDGED, REFERENCE = "not published", "not judged", "reference only"
MINI, OTHER_MODEL = "the embedded world is not the paper's data", "the model is none of the paper's"
KINDS = {"qa": "questions", "caption": "captions", "open": "open answers"}
COLUMNS = (
    "model", "method", "title", "benchmark", "kind", "metric", "ours", "low", "high", "n", "pictures", "paper", "difference",
    "vs_vanilla", "vs_vanilla_low", "vs_vanilla_high", "p_value", "least_p", "test", "tflops", "ratio", "ratio_prompt",
    "ratio_measured", "cost_samples", "paper_tflops", "paper_ratio", "paper_source", "status", "why", "unreadable", "verdicts",
)  # fmt: skip


def records(settings: dict[str, Any], results: str | Path) -> pd.DataFrame:
    """Return one row per model, method and benchmark of a table."""
    paths, methods, rows = Paths(results), [method["name"] for method in settings["methods"]], []
    for model, facts in settings["models"].items():
        costs = {kind: read_costs(paths, model, kind, methods) for kind in facts["kinds"]}
        for name in settings["benchmark_order"]:
            column = settings["benchmarks"][name]
            for method in settings["methods"]:
                row = {"model": model, "method": method["name"], "title": method["title"], "benchmark": name}
                row["kind"] = column["kind"]
                row |= cost_of(costs[column["kind"]], method["name"])
                row |= paper_of(settings["name"], facts["published"], method["name"], name)
                row |= score_of(paths, model, method["name"], column["scored"], benchmarks.get(name))
                row["why"] = reason(facts, name, column, row["n"], method["name"])
                # The paper prints no interval, so its difference from ours has no test and no p value.
                if not row["why"] and row["ours"] is not None and row["paper"] is not None:
                    row["difference"] = row["ours"] - row["paper"]
                # `score_of` has set it where nothing was judged.
                row["status"] = row.get("status") or (REFERENCE if row["why"] else "compared")
                rows.append(row)
    # In one order of columns, with empty ones for what no row has.
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def reason(facts: dict[str, Any], benchmark: str, column: dict[str, Any], n: int, method: str = "vanilla") -> str:
    """Return why a cell is not compared with the paper's; empty where it is."""
    # From the coarsest reason to the finest: one is enough, and the first says most.
    if column["source"] == "mini":
        return MINI
    if not facts["published"]:
        return OTHER_MODEL
    # Such as Qwen-VL-Chat on POPE and A-OKVQA.
    if facts["family"] in column["asked"]["own_form"]:
        return f"{facts['published']}'s authors published no way of asking it, and the one here is this project's"
    if method in facts["restaged"][column["kind"]]:
        return f"the config's stages of {method} are not those that the paper states"
    if facts["template"]:
        return f"the model is asked in the template {facts['template']}, and the paper names none"
    asked = column["asked"]
    if facts["image_mode"]:  # a model's own way with pictures comes before a benchmark's
        asked = asked | {"protocol": asked["protocol"] | {"images": facts["image_mode"]}}
    return unlike(benchmark, asked, n)


def cost_of(costs: pd.DataFrame, method: str) -> dict[str, Any]:
    """Return TFLOPs in the paper's convention and the share of the unpruned cost under three conventions, in percent."""
    # By convention: "paper", "prompt", "measured".
    counts = {row["convention"]: row for row in costs[costs["method"] == method].to_dict("records")}
    share = {name: 100 * float(counts[name]["ratio"]) for name in ("paper", "prompt", "measured") if name in counts}
    return {
        "tflops": float(counts["paper"]["flops"]) / 1e12,
        "ratio": share["paper"],
        # Counting on a real run can be switched off, so these may be missing.
        "ratio_prompt": share.get("prompt"),
        "ratio_measured": share.get("measured"),
        "cost_samples": counts["paper"].get("samples"),
    }


def paper_of(table: str, published: str | None, method: str, benchmark: str) -> dict[str, Any]:
    """Return the paper's values for a cell: from its own table, else from one of the main tables."""
    model = published or REFERENCE_ROW
    values: dict[str, Any] = {"paper": None, "paper_tflops": None, "paper_ratio": None, "paper_source": None}
    # The paper's ablations repeat some cells of Table 1; a table's own value comes before a borrowed one.
    for source in dict.fromkeys((table, *MAIN_TABLES)):
        if (value := table_value(source, model, method, benchmark)) is not None:
            values["paper"] = value
            values["paper_tflops"] = table_value(source, model, method, "tflops")
            values["paper_ratio"] = table_value(source, model, method, "ratio")
            values["paper_source"] = source
            break
    return values


def score_of(paths: Paths, model: str, method: str, scored: bool, benchmark: _base.Benchmark) -> dict[str, Any]:
    """Return score, interval, n, and the paired comparison with the unpruned model if that was run too."""
    row: dict[str, Any] = {"metric": benchmark.metric, "ours": None}
    if not scored:
        # `splitlines` would also cut at separators that an answer may contain, and count one answer twice.
        lines = Path(paths.predictions(model, benchmark.name, method)).read_text(encoding="utf-8").split("\n")
        count = len([line for line in lines if line])
        return row | {"n": count, "pictures": count, "status": NOT_JUDGED}
    score_file, per_sample = paths.scores(model, benchmark.name, method)
    score = read_json(score_file)
    row |= {"ours": score["headline"], "n": score["n"], "pictures": score["pictures"]}
    row |= dict(zip(("low", "high"), score["interval"], strict=True))
    if benchmark.judged:
        row |= {name: score["scores"].get(name) for name in ("unreadable", "verdicts")}
    _, reference = paths.scores(model, benchmark.name, "vanilla")
    # A table may leave the unpruned model out, or its job may not have run yet in `./reproduce report`.
    if method != "vanilla" and Path(reference).is_file():
        pair = [pd.read_parquet(path) for path in (reference, per_sample)]
        against = benchmarks.compare(benchmark, *pair)
        row |= {"vs_vanilla": against.difference, "p_value": against.p_value, "least_p": against.least}
        row["test"] = against.test
        row |= dict(zip(("vs_vanilla_low", "vs_vanilla_high"), against.interval, strict=True))
    return row


def different_costs(cells: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Return a method's costs beside its cells: one, or where its schedule differs with the kind of task one for each, named."""
    # By value and not by kind: two kinds with the same schedule are one cost.
    firsts = cells.drop_duplicates(["tflops", "ratio"])
    kinds = [
        cells[(cells["tflops"] == row["tflops"]) & (cells["ratio"] == row["ratio"])] for _, row in firsts.iterrows()
    ]
    named = [", ".join(KINDS.get(kind, kind) for kind in dict.fromkeys(group["kind"])) for group in kinds]
    return [(name if len(named) > 1 else "", with_printed(group)) for name, group in zip(named, kinds, strict=True)]


def with_printed(cells: pd.DataFrame) -> pd.Series:
    """Return the first of some cells of one cost, with the paper's cost from whichever cell has it."""
    row = cells.iloc[0].copy()
    for key in ("paper_tflops", "paper_ratio"):
        printed = cells[key].dropna()
        row[key] = printed.iloc[0] if len(printed) else float("nan")
    return row


def beside(kind: str, printed: float, unit: str) -> str:
    """Return what is in brackets behind a cost: the kind of task where costs differ, and what the paper prints."""
    parts = [kind] if kind else []
    parts += [f"paper {printed:g}{unit}"] if pd.notna(printed) else []
    return f" ({', '.join(parts)})" if parts else ""


def unreadable(frame: pd.DataFrame) -> list[str]:
    """Return a line on the verdicts of a judge that could not be read, if there are any."""
    if "unreadable" not in frame:  # a CSV of an earlier version
        return []
    cells = [
        f"{benchmarks.get(row['benchmark']).title}, {row['model']}, {row['title']}: {unreadable_text(row)}"
        # An empty column of a CSV, or of None, has no numeric type of its own.
        for row in frame[pd.to_numeric(frame["unreadable"]) > 0].to_dict("records")
    ]
    return [f"Verdicts of the judge that could not be read are left out: {'; '.join(cells)}."] if cells else []


def unreadable_text(row: Any) -> str:
    """Return how many of a cell's verdicts could not be read, and of how many."""
    return f"{int(row['unreadable'])} of {int(row['verdicts'])}"


def references(frame: pd.DataFrame) -> list[str]:
    """Return per benchmark of the paper why its values stand as a reference only."""
    compared = frame[frame["paper"].notna() & frame["why"].fillna("").ne("") & ~frame["why"].isin([MINI, OTHER_MODEL])]
    pairs = compared[["benchmark", "why"]].drop_duplicates().itertuples(index=False, name=None)
    return [f"{benchmarks.get(task).title}: the paper's values are a reference only, as {why}." for task, why in pairs]
