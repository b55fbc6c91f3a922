"""Tables as the page shows them: ours and the paper's side by side; interval and paired test behind each cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from himap import benchmarks, numbers
from himap.figures._labels import metric_label
from himap.results import Results, scope
from himap.tables import efficiency, rival_texts
from himap.tables.notes import notes
from himap.tables.records import NOT_JUDGED, REFERENCE, different_costs, unreadable_text

LEVEL = 0.05
GIVEN_ONCE = ("Ours with", "TFLOPs and ratio", "The data or model")  # notes that the page gives once for all tables


def table_parts(results: Results, names: list[str]) -> list[dict[str, Any]]:
    """Return every table, those that are missing too."""
    return [table_part(results, name) for name in names]


def table_part(results: Results, name: str) -> dict[str, Any]:
    """Return one table: a block per model, its notes."""
    title = results.facts["tables"][name]
    frame = results.table(name)
    # A table that is not made yet keeps its place on the page, without blocks.
    part: dict[str, Any] = {"name": name, "title": title, "blocks": [], "notes": []}
    if frame is not None and len(frame):
        part["blocks"] = [block(results, name, str(model), rows) for model, rows in frame.groupby("model", sort=False)]
        part["notes"] = [line for line in notes({"name": name}, frame) if not line.startswith(GIVEN_ONCE)]
        part["notes"] += unpublished(frame)
    return part


def efficiency_part(results: Results) -> dict[str, Any] | None:
    """Return the table of time and memory: a block per model and benchmark, its notes; None if the run measures none."""
    if results.facts["efficiency"] is None:
        return None
    frame = results.table("efficiency")
    part: dict[str, Any] = {"title": results.facts["efficiency"], "columns": [], "blocks": [], "notes": []}
    if frame is not None and len(frame):
        part["columns"], part["notes"] = list(efficiency.COLUMNS), efficiency.notes(frame)
        part["blocks"] = [{"title": title, "rows": rows} for title, rows in efficiency.groups(frame)]
    return part


def unpublished(frame: pd.DataFrame) -> list[str]:
    """Return which columns have no value of the paper at all."""
    known = frame.groupby("benchmark", sort=False)["paper"].count()
    missing = [benchmarks.get(str(task)).title for task in known.index[known == 0]]
    return (
        [f"The paper's values for {numbers.listed(missing)} are not published or could not be obtained."]
        if missing
        else []
    )


def block(results: Results, table: str, model: str, frame: pd.DataFrame) -> dict[str, Any]:
    """Return one model's rows."""
    tasks = list(dict.fromkeys(frame["benchmark"]))
    columns = [
        {
            "task": task,
            "title": benchmarks.get(task).title,
            "unit": metric_label(benchmarks.get(str(task))),
            "paper": bool(frame.loc[frame["benchmark"] == task, "paper"].notna().any()),
        }
        for task in tasks
    ]
    world = scope(results.facts, model, tasks)
    rows, footnotes = [], []
    # Only a table with budgets has this column.
    at_budgets = "mean_tokens" in frame
    # Small models would show 0.00 TFLOPs in every row, so their tables have GFLOPs.
    tera = frame["tflops"].max() >= numbers.SMALL
    for _, rows_of_method in frame.groupby("method", sort=False):
        cells = rows_of_method.set_index("benchmark", drop=False)
        costs = different_costs(cells)
        # Costs depend on the kind of task; kinds of equal cost are listed once (`different_costs`).
        first = costs[0][1]
        row = {
            "title": first["title"],
            "tflops": by_kind(costs, "tflops", lambda value: numbers.number(value if tera else 1000 * value, 2)),
            "ratio": by_kind(costs, "ratio", numbers.number, "paper_ratio"),
            "cost": " ".join(cost_detail(one, kind) for kind, one in costs).strip(),
            "cost_note": None,
            "spent": rival_texts.lead(first) if at_budgets else [],
            "cells": [],
        }
        for column in columns:
            cell = cell_part(cells.loc[column["task"]])
            # Footnotes count through a block, in the order in which one reads it.
            if cell["detail"]:
                footnotes.append(cell["detail"])
                cell["note"] = len(footnotes)
            row["cells"].append(cell | {"has_paper": column["paper"]})
        if row["cost"]:
            footnotes.append(row["cost"])
            row["cost_note"] = len(footnotes)
        rows.append(row)
    return {
        "id": f"{table}-{model}",
        "model": model,
        "scope": world,
        "unit": "TFLOPs" if tera else "GFLOPs",
        "spent": ["mean tokens", "of unpruned"] if at_budgets else [],
        "columns": columns,
        "rows": rows,
        "footnotes": footnotes,
    }


def by_kind(
    costs: list[tuple[str, pd.Series]], key: str, shown: Callable[[float], str], printed: str | None = None
) -> dict[str, Any]:
    """Return a cost of the first kind of task, and below it the paper's, and those of other kinds where they differ."""
    also: list[str] = []
    for number, (kind, row) in enumerate(costs):
        # The first kind's value is the cell's own text.
        also += [f"{kind} {shown(row[key])}"] if number else []
        if printed and pd.notna(row[printed]):
            also.append(f"paper {row[printed]:g}{f' for {kind}' if number else ''}")
    return {"text": shown(costs[0][1][key]), "value": costs[0][1][key], "also": also}


def cost_detail(row: pd.Series, kind: str) -> str:
    """Return the other counts of FLOPs."""
    shares = {
        "over the whole prompt": row["ratio_prompt"],
        "as counted on a run, scoring included": row["ratio_measured"],
    }
    shown = [f"{number} % {name}" for name, value in shares.items() if (number := numbers.number(value)) != "–"]
    theirs = [f"paper: {numbers.number(row['paper_ratio'], 0)} %"] if pd.notna(row["paper_ratio"]) else []
    name = f"{row['title']}, {kind}" if kind else row["title"]
    return f"{name}, share of the unpruned FLOPs: {', '.join([*shown, *theirs])}." if shown or theirs else ""


def cell_part(row: pd.Series) -> dict[str, Any]:
    """Return what one cell shows at once, and what it tells when asked."""
    places = benchmarks.get(row["benchmark"]).digits
    judged = row["status"] != NOT_JUDGED
    change = None if pd.isna(row["vs_vanilla"]) else row["vs_vanilla"]
    # NaN is not below it: a cell without a test is never marked.
    sure = row["p_value"] < LEVEL
    side = "better" if change is not None and change > 0 else "worse"
    return {
        "ours": numbers.number(row["ours"], places) if judged else "not judged",
        "value": None if pd.isna(row["ours"]) else float(row["ours"]),
        "change": None if change is None else numbers.number(change, places, sign=True),
        "sure": side if change is not None and sure else None,
        "paper": numbers.number(row["paper"], places),
        "paper_value": None if pd.isna(row["paper"]) else float(row["paper"]),
        "difference": None if pd.isna(row["difference"]) else numbers.number(row["difference"], places, sign=True),
        "reference": row["status"] == REFERENCE,
        "detail": detail(row, places) if judged else "",
        "note": None,
    }


def detail(row: pd.Series, places: int) -> str:
    """Return interval, n, paired test and the paper's value in words."""
    name = benchmarks.get(row["benchmark"]).title
    parts = [
        f"{row['title']}, {name}: {numbers.number(row['ours'], places)}, "
        f"95 % interval {numbers.interval(row['low'], row['high'], places)}, {numbers.size(row['n'], row['pictures'])}"
    ]
    if row.get("unreadable", 0) > 0:
        parts.append(f"{unreadable_text(row)} verdicts of the judge could not be read and are left out")
    if pd.notna(row["vs_vanilla"]):
        edges = numbers.interval(row["vs_vanilla_low"], row["vs_vanilla_high"], places, sign=True)
        change = numbers.number(row["vs_vanilla"], places, sign=True)
        parts.append(
            f"against unpruned {change} [{edges}], {numbers.p_value(row['p_value'], row['least_p'])} ({row['test']})"
        )
    if "mean_tokens" in row:
        measured = {
            "same answers": rival_texts.same_text, "hard samples": rival_texts.hard_text, "evidence kept": rival_texts.evidence_text,
            "printed": rival_texts.printed_text,
        }  # fmt: skip
        parts += [f"{name} {text(row)}" for name, text in measured.items() if text(row)]
    if pd.notna(row["paper"]):
        theirs = f"paper {numbers.number(row['paper'], places)}"
        if pd.notna(row["difference"]):
            theirs += f", ours {numbers.number(row['difference'], places, sign=True)}"
        else:
            # Another model, data or protocol than the paper's: shown, but not subtracted.
            theirs += f", for reference only ({row['why']})"
        parts.append(theirs)
    return "; ".join(parts) + "."
