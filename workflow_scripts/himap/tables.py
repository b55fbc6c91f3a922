"""Tables as data and in four forms: one record per cell, then CSV, LaTeX (booktabs), Markdown and self-contained HTML.

A record holds ours, the paper's value, the difference, n, the 95 % interval and, against the unpruned model on the same
samples, the paired difference with its p value. What the paper does not give says so; where model, data or protocol are
not the paper's, its value stands as a reference with the reason, without difference or verdict.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from himap import benchmarks
from himap.costs import prints, unexplained
from himap.files import read_json
from himap.published import has_method, inconsistencies, table_value, unlike

MAIN_TABLES = ("table1", "table2", "table3", "table4")
REFERENCE_ROW = "LLaVA-7B"  # shown beside models that the paper does not have
NOT_PUBLISHED, NOT_JUDGED, REFERENCE = "not published", "not judged", "reference only"
MINI, OTHER_MODEL = "the embedded world is not the paper's data", "the model is none of the paper's"
FEW = 0.001  # a test of few pictures, whose p value cannot come below this, says so
KINDS = {"qa": "questions", "caption": "captions", "open": "open answers"}
COLUMNS = (
    "model", "method", "title", "benchmark", "kind", "metric", "ours", "low", "high", "n", "pictures", "paper", "difference",
    "vs_vanilla", "vs_vanilla_low", "vs_vanilla_high", "p_value", "least_p", "test", "tflops", "ratio", "ratio_prompt",
    "ratio_measured", "paper_tflops", "paper_ratio", "paper_source", "status", "why", "unreadable", "verdicts",
)  # fmt: skip


def records(settings: dict[str, Any], results: str | Path) -> pd.DataFrame:
    """One row per model, method and benchmark of a table."""
    rows = []
    for model, facts in settings["models"].items():
        costs = {kind: pd.read_csv(Path(results) / "flops" / model / f"{kind}.csv") for kind in facts["kinds"]}
        for name in settings["benchmark_order"]:
            column = settings["benchmarks"][name]
            for method in settings["methods"]:
                folder = Path(results) / "evaluation" / model / name
                row = {"model": model, "method": method["name"], "title": method["title"], "benchmark": name}
                row["kind"] = column["kind"]
                row |= cost_of(costs[column["kind"]], method["name"])
                row |= paper_of(settings["name"], facts["published"], method["name"], name)
                row |= score_of(folder, method["name"], column["scored"], benchmarks.get(name))
                row["why"] = reason(facts["published"], name, column, row["n"])
                if not row["why"] and row["ours"] is not None and row["paper"] is not None:
                    row["difference"] = row["ours"] - row["paper"]
                row["status"] = row.get("status") or (REFERENCE if row["why"] else "compared")
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def reason(published: str | None, benchmark: str, column: dict[str, Any], n: int) -> str:
    """Return why a cell is not compared with the paper's; empty where it is."""
    if column["source"] == "mini":
        return MINI
    return unlike(benchmark, column["asked"], n) if published else OTHER_MODEL


def cost_of(costs: pd.DataFrame, method: str) -> dict[str, Any]:
    """TFLOPs in the paper's convention and the share of the unpruned cost under three conventions, in percent."""
    own = {row["convention"]: row for row in costs[costs["method"] == method].to_dict("records")}
    share = {name: 100 * float(own[name]["ratio"]) for name in ("paper", "prompt", "measured") if name in own}
    return {
        "tflops": float(own["paper"]["flops"]) / 1e12,
        "ratio": share["paper"],
        "ratio_prompt": share.get("prompt"),
        "ratio_measured": share.get("measured"),
    }


def paper_of(table: str, published: str | None, method: str, benchmark: str) -> dict[str, Any]:
    """The paper's values for a cell: from its own table, else from one of the main tables."""
    model = published or REFERENCE_ROW
    found: dict[str, Any] = {"paper": None, "paper_tflops": None, "paper_ratio": None, "paper_source": None}
    for source in dict.fromkeys((table, *MAIN_TABLES)):
        if (value := table_value(source, model, method, benchmark)) is not None:
            found["paper"] = value
            found["paper_tflops"] = table_value(source, model, method, "tflops")
            found["paper_ratio"] = table_value(source, model, method, "ratio")
            found["paper_source"] = source
            break
    return found


def score_of(folder: Path, method: str, scored: bool, benchmark: benchmarks.Benchmark) -> dict[str, Any]:
    """Score, interval, n, and the paired comparison with the unpruned model if that was run too."""
    row: dict[str, Any] = {"metric": benchmark.metric, "ours": None}
    if not scored:
        lines = (folder / method / "predictions.jsonl").read_text(encoding="utf-8").split("\n")
        count = len([line for line in lines if line])
        return row | {"n": count, "pictures": count, "status": NOT_JUDGED}
    score = read_json(folder / method / "score.json")
    row |= {"ours": score["headline"], "n": score["n"], "pictures": score["pictures"]}
    row |= dict(zip(("low", "high"), score["interval"], strict=True))
    if benchmark.judged:
        row |= {name: score["scores"].get(name) for name in ("unreadable", "verdicts")}
    reference = folder / "vanilla" / "per_sample.parquet"
    if method != "vanilla" and reference.is_file():
        pair = [pd.read_parquet(path) for path in (reference, folder / method / "per_sample.parquet")]
        against = benchmarks.compare(benchmark, *pair)
        row |= {"vs_vanilla": against.difference, "p_value": against.p_value, "least_p": against.least}
        row["test"] = against.test
        row |= dict(zip(("vs_vanilla_low", "vs_vanilla_high"), against.interval, strict=True))
    return row


# ---- the four forms


def digits(benchmark: str) -> int:
    """Decimal places of a benchmark's score."""
    return benchmarks.get(benchmark).digits


def number(value: Any, places: int = 1, sign: bool = False) -> str:
    """A number as a cell shows it; nothing for what is missing."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:+.{places}f}" if sign else f"{value:.{places}f}"


def ours(row: pd.Series) -> str:
    """Our value with its interval and n."""
    if row["status"] == NOT_JUDGED:
        return NOT_JUDGED
    places = digits(row["benchmark"])
    return f"{number(row['ours'], places)} [{number(row['low'], places)}, {number(row['high'], places)}]"


def paper(row: pd.Series) -> str:
    """Return the paper's value, with our difference where both ran alike; nothing for a method that is not the paper's."""
    if pd.isna(row["paper"]):
        return NOT_PUBLISHED if has_method(row["method"]) else ""
    places = digits(row["benchmark"])
    text = number(row["paper"], places)
    return text if pd.isna(row["difference"]) else f"{text} ({number(row['difference'], places, sign=True)})"


def against_vanilla(row: pd.Series) -> str:
    """The paired difference with its interval and p value."""
    if pd.isna(row["vs_vanilla"]):
        return ""
    places = digits(row["benchmark"])
    interval = ", ".join(number(row[key], places, sign=True) for key in ("vs_vanilla_low", "vs_vanilla_high"))
    return f"{number(row['vs_vanilla'], places, sign=True)} [{interval}], p {p_text(row['p_value'], row['least_p'])}"


def p_text(value: float, least: float = 0.0) -> str:
    """Return a p value with two digits that count, and the least that so few pictures can give."""
    shown = "< 0.001" if value < 0.001 else f"= {value:.2g}"
    if least == 1:
        return f"{shown} (no answer differs)"
    return f"{shown} (least possible {least:.2g})" if least >= FEW else shown


def size_text(row: pd.Series) -> str:
    """Return how many samples a cell rests on, and on how many pictures where several share one."""
    n, pictures = int(row["n"]), int(row["pictures"])
    return f"{n} ({pictures} picture{'s' * (pictures > 1)})" if pictures < n else str(n)


def flops_text(value: float) -> str:
    """TFLOPs; small models in GFLOPs, said so."""
    return f"{value:.2f}" if value >= 0.1 else f"{1000 * value:.2f} G"


def different_costs(cells: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """A method's costs beside its cells: one, or where its schedule differs with the kind of task one for each, named."""
    firsts = cells.drop_duplicates(["tflops", "ratio"])
    kinds = [
        cells[(cells["tflops"] == row["tflops"]) & (cells["ratio"] == row["ratio"])] for _, row in firsts.iterrows()
    ]
    named = [", ".join(KINDS.get(kind, kind) for kind in dict.fromkeys(own["kind"])) for own in kinds]
    return [(name if len(named) > 1 else "", with_printed(own)) for name, own in zip(named, kinds, strict=True)]


def with_printed(cells: pd.DataFrame) -> pd.Series:
    """Return the first of some cells of one cost, with the paper's cost from whichever cell has it."""
    row = cells.iloc[0].copy()
    for key in ("paper_tflops", "paper_ratio"):
        printed = cells[key].dropna()
        row[key] = printed.iloc[0] if len(printed) else float("nan")
    return row


def cost_texts(cells: pd.DataFrame) -> tuple[str, str]:
    """Return TFLOPs and ratio of a row, each with the paper's where it prints one."""
    flops, ratios = [], []
    for kind, row in different_costs(cells):
        flops.append(flops_text(row["tflops"]) + beside(kind, row["paper_tflops"], ""))
        ratios.append(f"{row['ratio']:.1f} %" + beside(kind, row["paper_ratio"], " %"))
    return "; ".join(flops), "; ".join(ratios)


def beside(kind: str, printed: float, unit: str) -> str:
    """Return what stands in brackets behind a cost: the kind of task where costs differ, and what the paper prints."""
    parts = [kind] if kind else []
    parts += [f"paper {printed:g}{unit}"] if pd.notna(printed) else []
    return f" ({', '.join(parts)})" if parts else ""


def notes(settings: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    lines = [
        "Ours with the 95 % interval, in which questions about one picture count as one draw; against vanilla: paired difference on the "
        "same samples, its interval and p value, with the least possible one where few pictures differ (docs/statistics.md).",
        "TFLOPs and ratio by the paper's formula on image tokens (multiply-accumulates); in the CSV also over the whole prompt and as "
        "counted on a real run. Layers count from 0.",
    ]
    if (frame["why"] == MINI).any() and "benchmarks" in settings:
        lines.insert(0, "Mini world: it shows the method at work, not the paper's numbers.")
    if frame["why"].isin([MINI, OTHER_MODEL]).any():
        lines.append(
            f"The data or model is not the paper's: its column (here {REFERENCE_ROW} where the model is not in the paper) "
            "stands as a reference, without difference or verdict."
        )
    lines += references(frame)
    if (frame["status"] == NOT_JUDGED).any():
        lines.append("Not judged: answers were generated, and no judge is configured.")
    lines += unreadable(frame)
    lines += borrowed(settings["name"], frame)
    lines += [f"In the paper: {what}." for what in inconsistencies(settings["name"])]
    return lines + unexplained_flops(settings["name"], frame)


def unreadable(frame: pd.DataFrame) -> list[str]:
    """Return a line on the verdicts of a judge that could not be read, if there are any."""
    if "unreadable" not in frame:  # a CSV of an earlier version
        return []
    cells = [
        f"{benchmarks.get(row['benchmark']).title}, {row['model']}, {row['title']}: {unreadable_text(row)}"
        for row in frame[pd.to_numeric(frame["unreadable"]) > 0].to_dict("records")
    ]
    return [f"Verdicts of the judge that could not be read are left out: {'; '.join(cells)}."] if cells else []


def unreadable_text(row: Any) -> str:
    """Return how many of a cell's verdicts could not be read, and of how many."""
    return f"{int(row['unreadable'])} of {int(row['verdicts'])}"


def references(frame: pd.DataFrame) -> list[str]:
    """Return per benchmark of the paper why its values stand as a reference only."""
    own = frame[frame["paper"].notna() & frame["why"].fillna("").ne("") & ~frame["why"].isin([MINI, OTHER_MODEL])]
    pairs = own[["benchmark", "why"]].drop_duplicates().itertuples(index=False, name=None)
    return [f"{benchmarks.get(task).title}: the paper's values are a reference only, as {why}." for task, why in pairs]


def borrowed(table: str, frame: pd.DataFrame) -> list[str]:
    """Which of the paper's values stand in another of its tables."""
    others = frame[frame["paper_source"].notna() & (frame["paper_source"] != table)]
    lines: dict[str, list[str]] = {}
    for source, titles in others.groupby("paper_source", sort=True)["title"].unique().items():
        lines.setdefault(", ".join(titles), []).append(str(source).replace("table", "Table "))
    return [
        f"The paper's values of {titles} are from its {' and '.join(sources)}." for titles, sources in lines.items()
    ]


def unexplained_flops(table: str, frame: pd.DataFrame) -> list[str]:
    """Per model of the paper: TFLOPs by its formula beside printed ones that do not follow from it."""
    lines = []
    compared = frame[~frame["why"].isin([MINI, OTHER_MODEL]) & frame["paper_tflops"].notna()]
    for model, own in compared.drop_duplicates(["model", "method"]).groupby("model", sort=False):
        pairs = []
        for row in own.to_dict("records"):
            if not prints(row["tflops"], row["paper_tflops"], 2):
                key = (table, row["method"], row["paper_tflops"])
                near = [one.nearest for one in unexplained() if (one.table, one.method, one.printed) == key]
                hint = f"; nearest setting: {near[0]}" if near else ""
                pairs.append(f"{row['title']} {row['tflops']:.2f} (printed {row['paper_tflops']:g}{hint})")
        if pairs:
            lines.append(f"{model}, TFLOPs by the formula that do not give the printed ones: {', '.join(pairs)}.")
    return lines


def view(frame: pd.DataFrame, settings: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Header, and per model the rows, of the forms that people read."""
    names = settings["benchmark_order"]
    titles = [benchmarks.get(name).title for name in names]
    header = ["method", "TFLOPs", "ratio"] + [
        f"{title} {part}" for title in titles for part in ("ours", "paper", "vs vanilla", "n")
    ]
    groups = []
    for model in settings["models"]:
        rows = []
        for method in settings["methods"]:
            cells = frame[(frame["model"] == model) & (frame["method"] == method["name"])].set_index(
                "benchmark", drop=False
            )
            if cells.empty:
                continue
            row = [method["title"], *cost_texts(cells)]
            for name in names:
                cell = cells.loc[name]
                row += [ours(cell), paper(cell), against_vanilla(cell), size_text(cell)]
            rows.append(row)
        groups.append((model, rows))
    return header, groups


def as_csv(frame: pd.DataFrame) -> str:
    """All records, full precision kept to six digits."""
    return frame.to_csv(index=False, float_format="%.6g")


def as_markdown(frame: pd.DataFrame, settings: dict[str, Any]) -> str:
    """A Markdown page."""
    header, groups = view(frame, settings)
    lines = [f"# {settings['title']}", ""]
    for model, rows in groups:
        lines += [f"## {model}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines + [f"- {note}" for note in notes(settings, frame)]) + "\n"


LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "<": "$<$", ">": "$>$"}


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    text = text.replace("\\", r"\textbackslash ")
    return "".join(LATEX.get(character, character) for character in text).replace("~", r"\textasciitilde ")


def as_latex(frame: pd.DataFrame, settings: dict[str, Any]) -> str:
    """A booktabs table: per benchmark ours, the paper's value and the paired difference."""
    names = settings["benchmark_order"]
    header, groups = view(frame, settings)
    titles = [benchmarks.get(name).title for name in names]
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex(settings['title'])}}}",
        f"\\label{{tab:{settings['name'].replace('_', '-')}}}",
        "\\resizebox{\\linewidth}{!}{%",
        "\\begin{tabular}{lrr" + "lllr" * len(names) + "}",
        "\\toprule",
        " & & " + "".join(f" & \\multicolumn{{4}}{{c}}{{{latex(title)}}}" for title in titles) + r" \\",
        "method & TFLOPs & ratio" + " & ours & paper & vs vanilla & $n$" * len(names) + r" \\",
    ]
    for model, rows in groups:
        lines += ["\\midrule", f"\\multicolumn{{{len(header)}}}{{l}}{{{latex(model)}}} \\\\"]
        lines += [" & ".join(latex(cell) for cell in row) + r" \\" for row in rows]
    lines += ["\\bottomrule", "\\end{tabular}}", "\\par\\smallskip\\footnotesize"]
    return "\n".join([*lines, *(f"{latex(note)}\\par" for note in notes(settings, frame)), "\\end{table}"]) + "\n"


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
    """A page that needs nothing else: one table per model."""
    names = settings["benchmark_order"]
    _, groups = view(frame, settings)
    top = "".join(f'<th colspan="4" scope="colgroup">{escape(benchmarks.get(name).title)}</th>' for name in names)
    below = "".join(f'<th scope="col">{part}</th>' for _ in names for part in ("ours", "paper", "vs vanilla", "n"))
    head = (
        '<thead><tr><th rowspan="2" scope="col">method</th><th rowspan="2" scope="col">TFLOPs</th>'
        f'<th rowspan="2" scope="col">ratio</th>{top}</tr><tr>{below}</tr></thead>'
    )
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
    """The four forms by file ending."""
    return {
        "csv": as_csv(frame),
        "tex": as_latex(frame, settings),
        "md": as_markdown(frame, settings),
        "html": as_html(frame, settings),
    }
