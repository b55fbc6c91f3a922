"""What the sides of a divergence give in scores: methods, protocols, precisions. Each function returns lines of text."""

from __future__ import annotations

import pandas as pd

from himap import benchmarks, numbers
from himap.results import Results, records_of


def difference_lines(
    results: Results,
    methods: list[str],
    table: str = "divergence",
    tasks: list[str] | None = None,
    models: list[str] | None = None,
) -> list[str]:
    """Return the second method minus the first on the same samples, per model and column of a table."""
    frame = results.table(table)
    if frame is None:
        return []
    first, second = methods
    lines = []
    # The table's own cells, in its order; the test looks at the answers behind them.
    for model, task in frame[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None):
        if (tasks is not None and task not in tasks) or (models is not None and model not in models):
            continue
        against = results.compare(model, task, first, second)
        if against is not None:
            benchmark = benchmarks.get(task)
            edges = numbers.interval(*against.interval, benchmark.digits, sign=True)
            change = numbers.number(against.difference, benchmark.digits, sign=True)
            lines.append(
                f"{model}, {benchmark.title}: {change} [{edges}], {numbers.p_value(against.p_value, against.least)}, "
                f"{numbers.size(against.n, against.pictures)}"
            )
    return lines


def scored_lines(
    results: Results, methods: list[str], table: str = "divergence", model: str | None = None
) -> list[str]:
    """Return the methods' cells of a table, of one model or of all, one method after the other."""
    frame = results.table(table)
    if frame is None:
        return []
    lines = []
    # `True` keeps all rows: pandas broadcasts it.
    scored = frame[frame["ours"].notna() & (True if model is None else frame["model"] == model)]
    # In the order of `methods`, not of the table, since a side names its methods in a sentence.
    for row in (row for method in methods for row in records_of(scored[scored["method"] == method])):
        benchmark = benchmarks.get(row.benchmark)
        edges = numbers.interval(row.low, row.high, benchmark.digits)
        line = f"{row.model}, {row.title}, {benchmark.title}: {numbers.number(row.ours, benchmark.digits)} [{edges}]"
        if pd.notna(row.vs_vanilla):
            line += f"; against unpruned {numbers.number(row.vs_vanilla, benchmark.digits, sign=True)}, "
            line += numbers.p_value(row.p_value, row.least_p)
        lines.append(line)
    return lines


def asked_methods(results: Results, option: str, value: str) -> dict[str, str]:
    """Return, per benchmark whose contested option this is, the run of the unpruned model in which it had this value."""
    return {
        task: "vanilla" if facts["asked"][option] == value else "asked_otherwise"
        for task, facts in results.facts["benchmarks"].items()
        if (benchmarks.get(task).contested or "corpus") == option and option in facts["asked"]
    }


def asked_lines(results: Results, option: str, value: str) -> list[str]:
    """Return the unpruned model's scores with a protocol option at one value."""
    lines = []
    for model in results.facts["models"]:
        for task, method in asked_methods(results, option, value).items():
            score = results.score(model, task, method)
            if score is None:
                continue
            benchmark = benchmarks.get(task)
            headline = numbers.number(score["headline"], benchmark.digits)
            low, high = score["interval"]
            edges = numbers.interval(low, high, benchmark.digits)
            line = f"{model}, {benchmark.title}: {headline} [{edges}], {numbers.size(score['n'], score['pictures'])}"
            if value == "llava" and "as_llava_f1" in score["scores"]:
                # The other version has other questions too, so on the same samples only the typo differs; this adds the questions.
                line += f"; of LLaVA's questions {numbers.number(score['scores']['as_llava_f1'], benchmark.digits)}"
            lines.append(line)
    return lines


def asked_difference_lines(results: Results, option: str, value: str) -> list[str]:
    """Return the second value of a protocol option minus the first, on the same samples."""
    lines = []
    for task, first in asked_methods(results, option, value).items():
        # Which side the plain run is on depends on the config: the presets ask differently from the defaults.
        second = "asked_otherwise" if first == "vanilla" else "vanilla"
        lines += difference_lines(results, [first, second], "protocols", tasks=[task])
    return lines


def precision_methods(results: Results, model: str) -> tuple[str, str]:
    """Return the runs of the unpruned model in float16 and in bfloat16; the model's own precision needs no second run."""
    own = results.facts["models"][model]["dtype"]
    first, second = ("vanilla" if own == dtype else f"in_{dtype}" for dtype in ("float16", "bfloat16"))
    return first, second


def precision_lines(results: Results, dtype: str) -> list[str]:
    """Return the unpruned model's scores in one precision."""
    lines = []
    for model in results.facts["models"]:
        # A Boolean as an index: the pair is (float16, bfloat16).
        method = precision_methods(results, model)[dtype == "bfloat16"]
        lines += scored_lines(results, [method], "protocols", model)
    return lines


def precision_difference_lines(results: Results) -> list[str]:
    """Return bfloat16 minus float16 on the same samples."""
    lines = []
    for model in results.facts["models"]:
        lines += difference_lines(results, [*precision_methods(results, model)], "protocols", models=[model])
    return lines
