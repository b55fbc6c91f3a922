r"""A table as LaTeX for a paper: booktabs, our scores alone, and on demand a row of intervals or of the paper's values below each.

    \begin{tabular}{lrrrr}
    method & GFLOPs & \% & VQAv2 & POPE \\

Needs `\usepackage{booktabs}` alone. A star marks a paired difference to the unpruned model with p < 0.05, uncorrected.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from himap import benchmarks
from himap.figures._labels import metric_label
from himap.numbers import SMALL, plain_number, plain_size
from himap.tables import rival_texts
from himap.tables.notes import notes
from himap.tables.records import NOT_JUDGED, different_costs

LEVEL = 0.05  # of a star, uncorrected, as the legend says
# By character and in one pass: replacing one after another would escape the backslashes of earlier replacements.
SPECIAL = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "<": "$<$", ">": "$>$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "|": "$|$",
    "−": "$-$", "–": "--", "—": "---", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "·": r"$\cdot$",
    "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\dots{}", "\u00a0": "~",
}  # fmt: skip


def latex(text: str) -> str:
    """Return text in which nothing is a command; what pdflatex may have no sign for becomes a question mark."""
    # Titles come from a config: none of them may become a command in somebody's paper.
    plain = "".join(SPECIAL.get(character, character) for character in text)
    return plain.encode("ascii", "replace").decode()


def as_latex(frame: pd.DataFrame, settings: dict[str, Any]) -> str:
    """Return the table; `latex_rows` in its settings asks for rows of intervals and of the paper's values."""
    names, extra = settings["benchmark_order"], settings.get("latex_rows", [])
    # One unit for the whole table, or rows could not be compared at a glance.
    tera, first = frame["tflops"].max() >= SMALL, leading(settings)
    blocks = []
    for model in settings["models"]:
        rows = model_rows(frame[frame["model"] == model], settings, tera, extra)
        blocks += [
            r"\midrule",
            rf"\multicolumn{{{len(names) + len(first)}}}{{l}}{{\textit{{{latex(model)}}}}} \\",
            *rows,
        ]
    titles = [latex(benchmarks.get(name).title) for name in names]
    units = [rf"\footnotesize {latex(metric_label(benchmarks.get(name)))}" for name in names]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(settings['title'])}}}",
        rf"\label{{tab:{settings['name'].replace('_', '-')}}}",
        # @{} takes the space beside the outer columns away.
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(names) + len(first) - 1)}@{{}}}}",
        r"\toprule",
        " & ".join([*first, *titles]) + r" \\",
        " & ".join([*below_leading(settings, tera), *units]) + r" \\",
        *blocks,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    # That note explains the other forms; the legend says it for this one, which has no interval unless asked.
    below = [*legend(frame, extra), *(note for note in notes(settings, frame) if not note.startswith("Ours with"))]
    lines += [r"", r"\par\smallskip\raggedright\footnotesize"]
    for note in below:  # what is only about the paper's values is for the author where they are not shown
        aside = "paper" not in extra and is_about_the_paper(note)
        lines.append(f"% {note}" if aside else rf"{latex(note)}\par")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def is_about_the_paper(note: str) -> bool:
    """Return whether a note explains the paper's values."""
    # By their first words, which `notes.py` writes: notes are plain texts.
    starts = ("The data or model", "The paper's values", "In the paper:")
    return note.startswith(starts) or "the paper's values are a reference" in note or "do not give the printed" in note


def leading(settings: dict[str, Any]) -> list[str]:
    """Return the columns before the scores."""
    return ["method", *(["mean tokens", "of unpruned"] if "budgets" in settings else []), "cost", "share"]


def below_leading(settings: dict[str, Any], tera: bool) -> list[str]:
    """Return the units of the columns before the scores."""
    budgeted = ["", r"\footnotesize \%"] if "budgets" in settings else []
    return ["", *budgeted, rf"\footnotesize {'TFLOPs' if tera else 'GFLOPs'}", r"\footnotesize \%"]


def model_rows(frame: pd.DataFrame, settings: dict[str, Any], tera: bool, extra: list[str]) -> list[str]:
    """Return the rows of one model."""
    lines = []
    for method in settings["methods"]:
        cells = frame[frame["method"] == method["name"]].set_index("benchmark", drop=False)
        if cells.empty:
            continue
        ordered = [cells.loc[name] for name in settings["benchmark_order"]]
        spent = [text.removesuffix(" %") for text in rival_texts.lead(cells.iloc[0])] if "budgets" in settings else []
        blank = [""] * len(spent)  # under the columns of a table with budgets
        lines.append(row([latex(method["title"]), *spent, *costs(cells, tera), *map(score, ordered)]))
        if "interval" in extra:
            lines.append(small_row(["", *blank, "", "", *map(edges, ordered)]))
        if "paper" in extra:
            value = rival_texts.printed_text if "budgets" in settings else printed
            lines.append(small_row([r"\quad paper", *blank, *printed_costs(cells), *map(latex, map(value, ordered))]))
        if "budgets" in settings:
            for title, text in (
                ("same answers", rival_texts.same_text),
                ("hard samples", rival_texts.hard_text),
                ("evidence kept", rival_texts.evidence_text),
            ):
                # A line without a single value is left out, such as evidence outside the embedded world.
                if any(texts := [latex(text(cell)) for cell in ordered]):
                    lines.append(small_row([rf"\quad {title}", *blank, "", "", *texts]))
    return lines


def row(cells: list[str]) -> str:
    """Return a line of the table."""
    return " & ".join(cells) + r" \\"


def small_row(cells: list[str]) -> str:
    """Return a line in small type."""
    return row([rf"\scriptsize {cell}" if cell else "" for cell in cells])


def costs(cells: pd.DataFrame, tera: bool) -> list[str]:
    """Return cost and share of a method; those of further kinds of task, where they differ, behind a slash."""
    rows = [part for _, part in different_costs(cells)]
    # Records are in TFLOPs.
    cost = [plain_number(part["tflops"] * (1 if tera else 1000), 2) for part in rows]
    return [" / ".join(cost), " / ".join(plain_number(part["ratio"]) for part in rows)]


def printed_costs(cells: pd.DataFrame) -> list[str]:
    """Return the paper's TFLOPs and share, where it prints them."""
    part = different_costs(cells)[0][1]
    return [plain_number(part["paper_tflops"], 2), plain_number(part["paper_ratio"], 0)]


def score(cell: pd.Series) -> str:
    """Return our score, starred where its paired difference to the unpruned model is beyond chance."""
    if cell["status"] == NOT_JUDGED:
        return NOT_JUDGED
    text = plain_number(cell["ours"], benchmarks.get(cell["benchmark"]).digits) or "--"
    return f"{text}$^{{*}}$" if cell["p_value"] < LEVEL else text  # NaN, as of the unpruned model, is not


def edges(cell: pd.Series) -> str:
    """Return the 95 % interval of a score."""
    if cell["status"] == NOT_JUDGED or pd.isna(cell["low"]):
        return ""
    digits = benchmarks.get(cell["benchmark"]).digits
    return f"[{plain_number(cell['low'], digits)}, {plain_number(cell['high'], digits)}]"


def printed(cell: pd.Series) -> str:
    """Return the paper's value, with our difference where both ran alike."""
    digits = benchmarks.get(cell["benchmark"]).digits
    if pd.isna(cell["paper"]):
        return "--"
    text = plain_number(cell["paper"], digits)
    return text if pd.isna(cell["difference"]) else f"{text} ({plain_number(cell['difference'], digits, sign=True)})"


def legend(frame: pd.DataFrame, extra: list[str]) -> list[str]:
    """Return what the signs mean, and how many samples each column has."""
    sizes = []
    for task, cells in frame.groupby("benchmark", sort=False):
        # Methods mostly have the same samples; `dict.fromkeys` drops repeats and keeps the order.
        shown = list(
            dict.fromkeys(plain_size(n, pictures) for n, pictures in zip(cells["n"], cells["pictures"], strict=True))
        )
        sizes.append(f"{benchmarks.get(str(task)).title} {' or '.join(shown)}")
    lines = [
        f"Samples: {', '.join(sizes)}.",
        "* p < 0.05 against the unpruned model (paired on the same samples, uncorrected).",
    ]
    kinds = {name: None for _, cells in frame.groupby("method") for name, _ in different_costs(cells) if name}
    lines += [f"Cost and share: {' / '.join(kinds)}."] if kinds else []
    lines += ["In brackets the 95 % interval."] if "interval" in extra else []
    return lines + (["In brackets behind the paper's value: ours minus the paper's."] if "paper" in extra else [])
