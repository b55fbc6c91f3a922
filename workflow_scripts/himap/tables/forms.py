"""The printed forms of a table: CSV, Markdown, LaTeX, HTML."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd

from himap import benchmarks
from himap.numbers import plain_flops, plain_number, plain_p, plain_size
from himap.paper.published import has_method
from himap.tables import rival_texts
from himap.tables.latex import as_latex
from himap.tables.notes import notes
from himap.tables.records import NOT_JUDGED, NOT_PUBLISHED, beside, different_costs

# ---- the four forms


def digits(benchmark: str) -> int:
    """Return decimal places of a benchmark's score."""
    return benchmarks.get(benchmark).digits


def ours(row: pd.Series) -> str:
    """Return our value with its interval and n."""
    if row["status"] == NOT_JUDGED:
        return NOT_JUDGED
    places = digits(row["benchmark"])
    return (
        f"{plain_number(row['ours'], places)} [{plain_number(row['low'], places)}, {plain_number(row['high'], places)}]"
    )


def paper(row: pd.Series) -> str:
    """Return the paper's value, with our difference where both ran alike; nothing for a method that is not the paper's."""
    if pd.isna(row["paper"]):
        # "Not published" would suggest that the paper has this method and keeps the number to itself.
        return NOT_PUBLISHED if has_method(row["method"]) else ""
    places = digits(row["benchmark"])
    text = plain_number(row["paper"], places)
    return text if pd.isna(row["difference"]) else f"{text} ({plain_number(row['difference'], places, sign=True)})"


def against_vanilla(row: pd.Series) -> str:
    """Return the paired difference with its interval and p value."""
    if pd.isna(row["vs_vanilla"]):
        return ""
    places = digits(row["benchmark"])
    interval = ", ".join(plain_number(row[key], places, sign=True) for key in ("vs_vanilla_low", "vs_vanilla_high"))
    return f"{plain_number(row['vs_vanilla'], places, sign=True)} [{interval}], p {plain_p(row['p_value'], row['least_p'])}"


def cost_texts(cells: pd.DataFrame) -> tuple[str, str]:
    """Return TFLOPs and ratio of a row, each with the paper's where it prints one."""
    flops, ratios = [], []
    for kind, row in different_costs(cells):
        flops.append(plain_flops(row["tflops"]) + beside(kind, row["paper_tflops"], ""))
        ratios.append(f"{row['ratio']:.1f} %" + beside(kind, row["paper_ratio"], " %"))
    return "; ".join(flops), "; ".join(ratios)


def size(row: pd.Series) -> str:
    """Return the number of samples, and of pictures where they are fewer."""
    return plain_size(row["n"], row["pictures"])


def leading(settings: dict[str, Any]) -> list[str]:
    """Return the columns before a table's benchmarks."""
    return ["method", *(["mean tokens", "of unpruned"] if "budgets" in settings else []), "TFLOPs", "ratio"]


def parts(settings: dict[str, Any]) -> dict[str, Callable[[pd.Series], str]]:
    """Return the columns of each benchmark, and how each is written."""
    if "budgets" in settings:
        measures = {
            "same answers": rival_texts.same_text,
            "hard samples": rival_texts.hard_text,
            "evidence": rival_texts.evidence_text,
        }
        return {"ours": ours, "printed": rival_texts.printed_text, "vs vanilla": against_vanilla, **measures, "n": size}
    return {"ours": ours, "paper": paper, "vs vanilla": against_vanilla, "n": size}


def view(frame: pd.DataFrame, settings: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Return header, and per model the rows, of the forms that people read."""
    names = settings["benchmark_order"]
    titles = [benchmarks.get(name).title for name in names]
    header = [*leading(settings), *(f"{title} {part}" for title in titles for part in parts(settings))]
    groups = []
    for model in settings["models"]:
        rows = []
        for method in settings["methods"]:
            here = (frame["model"] == model) & (frame["method"] == method["name"])
            # The column stays beside the index, since the texts of a cell ask for it.
            cells = frame[here].set_index("benchmark", drop=False)
            if cells.empty:
                continue
            more = rival_texts.lead(cells.iloc[0]) if "budgets" in settings else []
            row = [method["title"], *more, *cost_texts(cells)]
            for name in names:
                row += [text(cells.loc[name]) for text in parts(settings).values()]
            rows.append(row)
        groups.append((model, rows))
    return header, groups


def as_csv(frame: pd.DataFrame) -> str:
    """Return all records, full precision kept to six digits."""
    # Six digits: the last bits of a float differ between machines, and equal runs should give equal files.
    return frame.to_csv(index=False, float_format="%.6g")


def as_markdown(frame: pd.DataFrame, settings: dict[str, Any]) -> str:
    """Return a Markdown page."""
    header, groups = view(frame, settings)
    lines = [f"# {settings['title']}", ""]
    for model, rows in groups:
        lines += [f"## {model}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        # A bar in a title would begin a new cell.
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines + [f"- {note}" for note in notes(settings, frame)]) + "\n"


# In the file itself, since a page has to show without a network and beside no other file.
STYLE = """
:root { color-scheme: light dark; --line: #767676; --soft: #f2f4f7; --text: #1b1b1b; --back: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --line: #9a9a9a; --soft: #22262b; --text: #ececec; --back: #14171a; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; color: var(--text); background: var(--back); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 0 0 1rem; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { background: var(--soft); }
"""


def as_html(frame: pd.DataFrame, settings: dict[str, Any]) -> str:
    """Return a page that needs nothing else: one table per model."""
    names = settings["benchmark_order"]
    _, groups = view(frame, settings)
    first, columns = leading(settings), parts(settings)
    top = "".join(
        f'<th colspan="{len(columns)}" scope="colgroup">{escape(benchmarks.get(name).title)}</th>' for name in names
    )
    # Two rows of headings: a benchmark over its columns; the columns before the benchmarks span both.
    below = "".join(f'<th scope="col">{part}</th>' for _ in names for part in columns)
    left = "".join(f'<th rowspan="2" scope="col">{part}</th>' for part in first)
    head = f"<thead><tr>{left}{top}</tr><tr>{below}</tr></thead>"
    tables = []
    for model, rows in groups:
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        tables.append(
            f'<div class="scroll"><table><caption>{escape(model)}</caption>{head}<tbody>{body}</tbody></table></div>'
        )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes(settings, frame))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(settings["title"])}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(settings['title'])}</h1>{''.join(tables)}<ul>{listed}</ul></body></html>\n"
    )


def forms(frame: pd.DataFrame, settings: dict[str, Any]) -> dict[str, str]:
    """Return the four forms by file ending."""
    return {
        "csv": as_csv(frame),
        "tex": as_latex(frame, settings),
        "md": as_markdown(frame, settings),
        "html": as_html(frame, settings),
    }
