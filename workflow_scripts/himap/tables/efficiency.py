"""The table `efficiency`: time, memory and operations per method and batch size, as measured, with the ideal beside them.

A record holds medians over all timed batches. The interval of a median is by order statistics, which assumes nothing about
how times are spread: 95 % from six timings on, and the whole range below that. Speed-ups are medians of ratios within one
round and batch, so that a machine that drifts slows both sides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import comb
from statistics import median
from typing import Any

import pandas as pd

from himap import benchmarks
from himap.numbers import is_missing
from himap.results import RANDOM_WEIGHTS, timing_files
from himap.tables.forms import STYLE, as_csv
from himap.tables.latex import latex

TAIL = 0.025  # of the binomial distribution, on each side of an interval
Group = tuple[str, list[list[str]]]  # a model on a benchmark, and its rows


def records(settings: dict[str, Any], results: str) -> pd.DataFrame:
    """Return one row per model, benchmark, batch size and method, the eager kernel as a method of its own."""
    rows = []
    for model, task, path in timing_files(settings, results):
        frame = pd.read_csv(path)
        for size, timed in frame.groupby("batch_size", sort=True):
            best = timed[timed["kernel"] != "eager"]  # a speed-up is over the best kernel, also for the eager row
            full = by_batch(best[best["method"] == "vanilla"], "seconds_prefill")
            # In the order of the config; a method that could not be timed is left out.
            for method in (name for name in settings["order"] if name in set(timed["method"])):
                here = timed[timed["method"] == method]
                for _, own in here.groupby(here["kernel"] == "eager", sort=True):
                    named = {"model": model, "benchmark": task, "method": method, "title": settings["methods"][method]}
                    rows.append({**named, "batch_size": size, **record(own, full, int(str(size)))})
    return pd.DataFrame(rows)


def by_batch(timed: pd.DataFrame, column: str) -> pd.Series:
    """Return a column by round and batch; questions that come twice in a batch of few samples count once."""
    # A batch bears the id of its first sample, so the same batch of two methods has the same key.
    return timed.drop_duplicates(["round", "sample_id"]).set_index(["round", "sample_id"])[column]


def record(own: pd.DataFrame, full: pd.Series, size: int) -> dict[str, Any]:
    """Return a method's figures from its timings at one batch size; `full` is the unpruned prefill of the same batches."""
    # Milliseconds here and below, from seconds in the file.
    first = 1000 * (own["seconds_vision"] + own["seconds_prefill"])
    steps = own[own["steps"] > 0]  # an answer of one token has no further step
    # pandas divides by key, whatever the order; a batch that only one side has becomes NaN.
    ratios = (full / by_batch(own, "seconds_prefill")).dropna().tolist()
    ideal = own["ideal_speedup"].mean()
    speedup = median(ratios) if ratios else None
    facts = own.iloc[0]
    return {
        "kernel": facts["kernel"],
        "timings": len(own),
        "first_token_ms": first.median(),
        **dict(zip(("first_token_low", "first_token_high"), median_interval(first.tolist()), strict=True)),
        "tower_ms": 1000 * own["seconds_vision"].median(),
        "prefill_ms": 1000 * (own["seconds_prefill"] - own["seconds_scoring"]).median(),
        "scoring_ms": 1000 * own["seconds_scoring"].median(),
        "step_ms": 1000 * (steps["seconds_answer"] / steps["steps"]).median() if len(steps) else None,
        "answers_per_second": size / own["seconds_total"].median(),
        "image_tokens": own["image_tokens"].mean(),
        "tokens_per_layer": own["tokens_per_layer"].mean(),
        "cache_mb": own["cache_mb"].mean() / size,  # of one prompt
        "peak_mb": facts["peak_mb"],
        "tflops_formula": facts["tflops_formula"],
        "tflops_counted": facts["tflops_counted"],
        "ideal": ideal,
        "speedup": speedup,
        **dict(zip(("speedup_low", "speedup_high"), median_interval(ratios) if ratios else (None, None), strict=True)),
        # Nothing is promised where no token goes.
        "share_of_ideal": speedup / ideal if speedup is not None and ideal > 1 else None,
        "device": facts["device"],
    }


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return an interval of the median of so many values: at 95 % where six or more allow it, else their whole range."""
    # The k-th smallest and the k-th largest of n values enclose the median unless fewer than k of them lie on one side
    # of it, which is as likely as fewer than k heads in n tosses of a coin.
    ordered, n = sorted(values), len(values)
    below, cut = 0.0, 0  # how many values may lie outside on each side, and how likely fewer do not hold the median
    while cut < n // 2 and below + comb(n, cut) / 2**n <= TAIL:
        below += comb(n, cut) / 2**n
        cut += 1
    cut = max(cut, 1)
    return ordered[cut - 1], ordered[n - cut]


# ---- the forms that people read


def digits(value: Any, places: int = 3) -> str:
    """Return a number with so many digits that count, never in powers of ten; nothing for a missing one."""
    if is_missing(value):
        return ""
    if value == 0:
        return "0"
    decimals = max(0, places - len(str(int(abs(value)))) if abs(value) >= 1 else places)  # 12.3 and 1.23, but 0.123
    return f"{value:.{decimals}f}"


def between(low: Any, high: Any) -> str:
    """Return an interval."""
    return "" if is_missing(low) else f"{digits(low)} to {digits(high)}"


COLUMNS: dict[str, Callable[[Mapping[Any, Any]], str]] = {
    "method": lambda row: row["title"],
    "attention kernel": lambda row: row["kernel"],
    "batch": lambda row: str(int(row["batch_size"])),
    "first token, ms": lambda row: digits(row["first_token_ms"]),
    "its interval": lambda row: between(row["first_token_low"], row["first_token_high"]),
    "of it tower": lambda row: digits(row["tower_ms"]),
    "prefill": lambda row: digits(row["prefill_ms"]),
    "scoring": lambda row: digits(row["scoring_ms"]),
    "each further token, ms": lambda row: digits(row["step_ms"]),
    "answers per second": lambda row: digits(row["answers_per_second"]),
    "image tokens per layer": lambda row: digits(row["tokens_per_layer"]),
    "keys and values, MB": lambda row: digits(row["cache_mb"]),
    "peak memory, MB": lambda row: digits(row["peak_mb"]),
    "GFLOPs, formula": lambda row: digits(1000 * row["tflops_formula"]),
    "counted": lambda row: digits(1000 * row["tflops_counted"]),
    "prefill faster": lambda row: digits(row["speedup"]),
    "interval": lambda row: between(row["speedup_low"], row["speedup_high"]),
    "ideal": lambda row: digits(row["ideal"]),
    "of the ideal": lambda row: "" if is_missing(row["share_of_ideal"]) else f"{100 * row['share_of_ideal']:.0f} %",
}
WORDS = ("method", "attention kernel")  # columns that are no numbers


def groups(frame: pd.DataFrame) -> list[Group]:
    """Return the rows of each model on each benchmark, under what they were measured on."""
    found = []
    for (model, task), rows in frame.groupby(["model", "benchmark"], sort=False):
        place = task if model == RANDOM_WEIGHTS else benchmarks.get(str(task)).title
        devices = ", ".join(sorted(set(rows["device"].astype(str))))
        cells = [[text(row) for text in COLUMNS.values()] for row in rows.to_dict("records")]
        found.append((f"{model}, {place}, on {devices}", cells))
    return found


def notes(frame: pd.DataFrame) -> list[str]:
    """Return what a reader of the table must know."""
    sizes = frame.groupby("batch_size")["timings"].agg(["min", "max"])
    counts = [
        f"{low if low == high else f'{low} to {high}'} at batch size {size}"
        for size, (low, high) in zip(sizes.index, sizes.to_numpy(), strict=True)
    ]
    lines = [
        f"Medians over timed batches ({', '.join(counts)}) after a warm-up, methods in turns, by the process's monotonic clock with the "
        "device waited for at both ends; parts are medians of their own, so their sum may differ a little from the whole. An "
        "interval is that of the median at 95 %, or the whole range of fewer than six timings.",
        "First token: vision tower with projector, prefill of the decoder, and within it scoring and dropping image tokens. "
        "Keys and values are those of one prompt; peak memory is that of a whole batch beyond the loaded model.",
        "FLOPs of one prefill over the whole prompt: by formula (decoder layers alone), and as counted on a run (head and scoring "
        "included).",
        "Prefill faster: the unpruned model's time with its best kernel over this row's, scoring included, in the same round. "
        "Ideal: what it would be if time grew with tokens. Less than that is what pruning itself costs and what a small model "
        "spends on no token; attention shrinks faster than tokens, so more is possible.",
    ]
    if (frame["kernel"] == "eager").any():
        lines.append(
            "Kernels are those that torch took for this device and batch; eager writes out all weights of attention."
        )
    if (frame["model"] == RANDOM_WEIGHTS).any():
        lines.append(
            "Random weights: made from the seed for time alone, at a size where tokens are the cost; nothing is scored."
        )
    return lines


def as_markdown(frame: pd.DataFrame, title: str) -> str:
    """Return a Markdown page."""
    lines = [f"# {title}", ""]
    for name, rows in groups(frame):
        lines += [f"## {name}", "", "| " + " | ".join(COLUMNS) + " |"]
        lines.append("|" + "".join(" --- |" if column in WORDS else " ---: |" for column in COLUMNS))
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines + [f"- {note}" for note in notes(frame)]) + "\n"


def as_latex(frame: pd.DataFrame, title: str) -> str:
    """Return a LaTeX table; it is wide, so it asks for a landscape page or fewer columns."""
    lines = [
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\tiny", rf"\caption{{{latex(title)}}}",
        r"\label{tab:efficiency}", rf"\begin{{tabular}}{{@{{}}ll{'r' * (len(COLUMNS) - 2)}@{{}}}}", r"\toprule",
        " & ".join(map(latex, COLUMNS)) + r" \\",
    ]  # fmt: skip
    for name, rows in groups(frame):
        lines += [r"\midrule", rf"\multicolumn{{{len(COLUMNS)}}}{{l}}{{\textit{{{latex(name)}}}}} \\"]
        lines += [" & ".join(map(latex, row)) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\par\smallskip\raggedright\footnotesize"]
    return "\n".join([*lines, *(rf"{latex(note)}\par" for note in notes(frame)), r"\end{table}"]) + "\n"


def as_html(frame: pd.DataFrame, title: str) -> str:
    """Return a page that needs nothing else."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in COLUMNS)
    tables = []
    for name, rows in groups(frame):
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
            for row in rows
        )
        tables.append(
            f'<div class="scroll"><table><caption>{escape(name)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes(frame))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{''.join(tables)}<ul>{listed}</ul></body></html>\n"
    )


def forms(frame: pd.DataFrame, title: str) -> dict[str, str]:
    """Return the four forms by file ending."""
    return {
        "csv": as_csv(frame),
        "tex": as_latex(frame, title),
        "md": as_markdown(frame, title),
        "html": as_html(frame, title),
    }
