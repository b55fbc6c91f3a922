"""Tables as the page shows them: ours and the paper's side by side; interval and paired test behind each cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from himap import benchmarks, numbers
from himap.results import Results, scope
from himap.tables.notes import notes
from himap.tables.records import NOT_JUDGED, REFERENCE, different_costs, unreadable_text

LEVEL = 0.05
GIVEN_ONCE = ("Ours with", "TFLOPs and ratio", "The data or model")  # notes that the page gives once for all tables
FORMS = {"CSV": "csv", "LaTeX": "tex", "Markdown": "md"}


def table_parts(results: Results, names: list[str]) -> list[dict[str, Any]]:
    """Return every table, those that are missing too."""
    return [table_part(results, name) for name in names]


def table_part(results: Results, name: str) -> dict[str, Any]:
    """Return one table: a block per model, its notes, its files."""
    title = results.facts["tables"][name]
    frame = results.table(name)
    part: dict[str, Any] = {"name": name, "title": title, "blocks": [], "notes": [], "links": links(results, name)}
    if frame is not None and len(frame):
        part["blocks"] = [block(results, name, str(model), rows) for model, rows in frame.groupby("model", sort=False)]
        part["notes"] = [line for line in notes({"name": name}, frame) if not line.startswith(GIVEN_ONCE)]
        part["notes"] += unpublished(frame)
    return part


def links(results: Results, name: str) -> list[dict[str, str]]:
    """Return the table's files that are there, relative to the page."""
    files = {label: f"tables/{name}.{ending}" for label, ending in FORMS.items()}
    return [{"label": label, "href": href} for label, href in files.items() if (results.folder / href).is_file()]


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
            "paper": bool(frame.loc[frame["benchmark"] == task, "paper"].notna().any()),
        }
        for task in tasks
    ]
    world = scope(results.facts, model, tasks)
    rows, footnotes = [], []
    for _, rows_of_method in frame.groupby("method", sort=False):
        cells = rows_of_method.set_index("benchmark", drop=False)
        costs = different_costs(cells)
        first = costs[0][1]
        row = {
            "title": first["title"],
            "tflops": by_kind(costs, "tflops", numbers.flops),
            "ratio": by_kind(costs, "ratio", lambda value: f"{numbers.number(value)} %", "paper_ratio"),
            "cost": " ".join(cost_detail(one, kind) for kind, one in costs).strip(),
            "cost_note": None,
            "cells": [],
        }
        for column in columns:
            cell = cell_part(cells.loc[column["task"]])
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
        "columns": columns,
        "rows": rows,
        "footnotes": footnotes,
    }


def by_kind(
    costs: list[tuple[str, pd.Series]], key: str, shown: Callable[[float], str], printed: str | None = None
) -> dict[str, Any]:
    """Return a cost of the first kind of task, and below it the paper's, and those of other kinds where they differ."""
    theirs = [f"paper {row[printed]:g} %" if printed and pd.notna(row[printed]) else "" for _, row in costs]
    also = [
        " ".join(filter(None, (kind, shown(row[key]), one))) for (kind, row), one in zip(costs, theirs, strict=True)
    ]
    return {"text": shown(costs[0][1][key]), "value": costs[0][1][key], "also": [*filter(None, theirs[:1]), *also[1:]]}


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
    sure = row["p_value"] < LEVEL
    side = "better" if change is not None and change > 0 else "worse"
    return {
        "ours": numbers.number(row["ours"], places) if judged else "not judged",
        "value": None if pd.isna(row["ours"]) else float(row["ours"]),
        "change": None if change is None else numbers.number(change, places, sign=True),
        "sure": side if change is not None and sure else None,
        "paper": numbers.number(row["paper"], places),
        "paper_value": None if pd.isna(row["paper"]) else float(row["paper"]),
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
    if pd.notna(row["paper"]):
        theirs = f"paper {numbers.number(row['paper'], places)}"
        if pd.notna(row["difference"]):
            theirs += f", ours {numbers.number(row['difference'], places, sign=True)}"
        else:
            theirs += f", for reference only ({row['why']})"
        parts.append(theirs)
    return "; ".join(parts) + "."
