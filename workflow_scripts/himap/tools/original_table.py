"""The table of the target `verify_original`: what two implementations answered to the same questions, side by side."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap.files import read_json, write_text

COLUMNS = {
    "sample_id": "sample",
    "same_prompt": "same prompt",
    "same_ids": "same ids",
    "largest_logit_difference": "largest logit difference",
    "same_first_token": "same first token",
    "same_answer": "same answer",
    "answer": "answer here",
    "original_answer": "answer of the original",
}


def write_comparison(ours_file: str, original_file: str, out: Path) -> None:
    """Write one row per sample, and a last one with counts, as CSV and, beside it, as an HTML page."""
    ours, original = read_json(ours_file), read_json(original_file)
    # `original` reads the questions from the file of `ours`; a later run of `ours` may have others.
    if [row["sample_id"] for row in ours["rows"]] != [row["sample_id"] for row in original["rows"]]:
        raise ValueError(f"{original_file}: not the samples of {ours_file}; run the step `original` again")
    rows = [compare_rows(our_row, row) for our_row, row in zip(ours["rows"], original["rows"], strict=True)]
    total: dict[str, Any] = {"sample_id": "all", "answer": "", "original_answer": ""}
    for key in COLUMNS:
        if key.startswith("same_"):
            total[key] = f"{sum(row[key] for row in rows)} of {len(rows)}"
    total["largest_logit_difference"] = max((row["largest_logit_difference"] for row in rows), default=0.0)
    lines = [list(COLUMNS), *([row[key] for key in COLUMNS] for row in [*rows, total])]
    write_text(out, "".join(map(csv_line, lines)))
    note = f"Here: {ours['made_with']}. The original: {original['made_with']}. Both in {ours['dtype']}."
    write_text(out.with_suffix(".html"), page([*rows, total], note))


def compare_rows(ours: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    """Return what is equal between two answers to the same question."""
    shared = min(len(ours["logits"]), len(original["logits"]))  # the conversion adds vocabulary entries at the end
    first, second = ours["logits"][:shared], original["logits"][:shared]
    return {
        "sample_id": ours["sample_id"],
        "same_prompt": ours["prompt"] == original["prompt"],
        "same_ids": ours["ids"] == original["ids"],
        "largest_logit_difference": max(abs(a - b) for a, b in zip(first, second, strict=True)),
        "same_first_token": first.index(max(first)) == second.index(max(second)),
        "same_answer": ours["answer_ids"] == original["answer_ids"],
        "answer": ours["answer"],
        "original_answer": original["answer"],
    }


def format_cell(value: Any) -> str:
    """Return a cell as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def csv_line(values: Sequence[Any]) -> str:
    """Return one line of the CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([format_cell(value) for value in values])
    return line.getvalue()


def page(rows: Sequence[dict[str, Any]], note: str) -> str:
    """Return a self-contained HTML page with the table."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in COLUMNS.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(format_cell(row[key]))}</td>" for key in COLUMNS) + "</tr>\n"
        for row in rows
    )
    style = "table{border-collapse:collapse;font:14px sans-serif}th,td{border:1px solid #ccc;padding:4px 8px;text-align:left}"
    title = "LLaVA-v1.5 here and in its original implementation"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>'
        f"<body><h1>{title}</h1><p>{html.escape(note)}</p><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></body></html>\n"
    )
