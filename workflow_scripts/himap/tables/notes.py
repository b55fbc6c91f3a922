"""The notes under a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from himap.costs.printed import prints, unexplained
from himap.paper.published import inconsistencies
from himap.tables import rival_texts
from himap.tables.records import MINI, NOT_JUDGED, OTHER_MODEL, REFERENCE_ROW, references, unreadable

# Under a table with budgets, whatever its numbers.
BUDGET_NOTES = (
    "Mean tokens: image tokens that enter a layer, in the mean of all layers that look at them; every method is solved for the same. VTW "
    "and the smaller image come near it in steps, of a layer and of a row of the picture. Of unpruned: the mean over the benchmarks.",
    "Printed: for LLaVA-1.5-7B at the same share of its tokens, the method's own paper first, with its source; disputed where "
    "values from several papers differ by more than a point (20 of MME). Many count tokens differently. All values are in the CSV.",
    "Same answers: as the unpruned model's, word by word. Hard samples: those that the smaller image of the same budget gets wrong. "
    "The CSV also has how much of what is kept is padding, and where in the picture it is.",
)


def notes(settings: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """Return what a reader of the table must know."""
    lines = [
        "Ours with the 95 % interval, in which questions about one picture count as one draw; against vanilla: paired difference on the "
        "same samples, its interval and p value, with the least possible one where few pictures differ (docs/statistics.md).",
        "TFLOPs and ratio by the paper's formula on image tokens (multiply-accumulates); in the CSV also over the whole prompt and as "
        "counted on a real run. Layers count from 0.",
    ]
    if "budget" in frame:  # the report reads the records from their CSV and has no settings
        lines = [*rival_texts.sentences(frame), *lines, *BUDGET_NOTES]
    if (frame["why"] == MINI).any() and "benchmarks" in settings:
        # First, since whoever reads one line must not take these numbers for the paper's.
        lines.insert(0, "Embedded world: it shows the method at work, not the paper's numbers.")
    if frame["why"].isin([MINI, OTHER_MODEL]).any():
        lines.append(
            f"The data or model is not the paper's: its column (here {REFERENCE_ROW} where the model is not in the paper) "
            "stands as a reference, without difference or verdict."
        )
    lines += costs_per_input(frame)
    lines += references(frame)
    if (frame["status"] == NOT_JUDGED).any():
        lines.append("Not judged: answers were generated, and no judge is configured.")
    lines += unreadable(frame)
    lines += borrowed(settings["name"], frame)
    lines += [f"In the paper: {what}." for what in inconsistencies(settings["name"])]
    return lines + unexplained_flops(settings["name"], frame)


def costs_per_input(frame: pd.DataFrame) -> list[str]:
    """Return whose costs are means of what samples really kept, since each input finds its own layers or counts."""
    if "cost_samples" not in frame or not frame["cost_samples"].notna().any():
        return []
    measured = frame[frame["cost_samples"].notna()]
    titles = ", ".join(dict.fromkeys(measured["title"]))
    return [
        f"{titles}: each input finds how many tokens stay or from which layer on, so TFLOPs and ratio are the mean of what "
        f"{int(measured['cost_samples'].min())} samples really kept."
    ]


def borrowed(table: str, frame: pd.DataFrame) -> list[str]:
    """Return which of the paper's values are from another of its tables."""
    others = frame[frame["paper_source"].notna() & (frame["paper_source"] != table)]
    # Methods that borrow from several tables get one line with all of them.
    lines: dict[str, list[str]] = {}
    for source, titles in others.groupby("paper_source", sort=True)["title"].unique().items():
        lines.setdefault(", ".join(titles), []).append(str(source).replace("table", "Table "))
    return [
        f"The paper's values of {titles} are from its {' and '.join(sources)}." for titles, sources in lines.items()
    ]


def unexplained_flops(table: str, frame: pd.DataFrame) -> list[str]:
    """Return per model of the paper: TFLOPs by its formula beside printed ones that do not follow from it."""
    lines = []
    compared = frame[~frame["why"].isin([MINI, OTHER_MODEL]) & frame["paper_tflops"].notna()]
    for model, rows in compared.drop_duplicates(["model", "method"]).groupby("model", sort=False):
        pairs = []
        for row in rows.to_dict("records"):
            # Whether ours, rounded or cut off to two decimals, is the printed value.
            if not prints(row["tflops"], row["paper_tflops"], 2):
                # By the printed value and not by the model, whose name here is the config's own.
                key = (table, row["method"], row["paper_tflops"])
                near = [cost.nearest for cost in unexplained() if (cost.table, cost.method, cost.printed) == key]
                hint = f"; nearest setting: {near[0]}" if near else ""
                pairs.append(f"{row['title']} {row['tflops']:.2f} (printed {row['paper_tflops']:g}{hint})")
        if pairs:
            lines.append(f"{model}, TFLOPs by the formula that do not give the printed ones: {', '.join(pairs)}.")
    return lines
