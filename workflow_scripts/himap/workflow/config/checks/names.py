"""Checks of names and addresses: benchmarks, tables and analyses name what exists, and no text can do harm."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.benchmarks import names as benchmark_names
from himap.experiments.questions import registry as open_questions
from himap.figures import names as figure_names
from himap.judging.endpoint import address_problem
from himap.project import ROOT
from himap.pruning.criteria import get as criterion_named
from himap.registry import hint
from himap.workflow.config.checks._raw import Problem, items, section, unknown_names

# The commands beside the targets; their table is in `command_line`, which reads configs itself and so cannot be imported here.
COMMANDS = ("estimate", "status", "inspect", "compare", "pack", "check")


def check_benchmarks(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield unknown benchmarks, sources that do not exist, and protocol options that a benchmark does not have."""
    benchmarks = section(raw, "benchmarks")
    if "benchmarks" in raw and isinstance(raw["benchmarks"], Mapping) and not benchmarks:
        yield "benchmarks", "at least one benchmark is needed"
    for name in benchmarks:
        entry, at = section(benchmarks, name), f"benchmarks.{name}"
        if name not in benchmark_names():
            yield at, "unknown benchmark" + hint(name, benchmark_names())
            continue
        source = entry.get("source", "hub")
        if isinstance(source, str) and source not in ("hub", "mini") and not (ROOT / source).exists():
            yield f"{at}.source", f"{source!r} is neither `hub` nor `mini` nor a file or folder that exists"
        # Benchmarks that only this project draws have no published data.
        if source == "hub" and not benchmark_named(name).source.hub_id:
            yield f"{at}.source", f"{name!r} exists in the embedded world alone; write `source: mini`"
        # The file is looked for and not imported: reading a config takes no numpy.
        mini = Path("workflow_scripts/himap/mini/benchmarks") / f"{name}.py"
        if source == "mini" and not (ROOT / mini).is_file():
            yield f"{at}.source", f"the embedded world has no benchmark {name!r}; add {mini} or choose another source"
        if isinstance(entry.get("protocol"), Mapping):
            try:
                benchmark_named(name).protocol(entry["protocol"])
            except ValueError as error:
                yield f"{at}.protocol", str(error)


def check_references(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the methods, models and benchmarks that tables and analyses name and that do not exist."""
    methods = section(raw, "methods")
    for name in section(raw, "tables"):
        table, at = section(raw, "tables", name), f"tables.{name}"
        if name in taken_names():
            yield at, "is the name of another target; choose a different one"
        yield from unknown_names(table, at, "methods", methods)
        yield from unknown_names(table, at, "models", section(raw, "models"))
        # Tables ask no open question, so a model with `only` is in none.
        yield from check_left_out(raw, table, at)
        yield from unknown_names(table, at, "benchmarks", benchmark_names())
    for key in ("saliency", "disruption", "latency", "grid"):
        yield from unknown_names(section(raw, key), key, "benchmarks", benchmark_names())
    yield from unknown_names(section(raw, "grid"), "grid", "models", section(raw, "models"))
    for name, question in open_questions().items():
        entry, at = section(section(raw, "questions"), name), f"questions.{name}"
        yield from unknown_names(entry, at, "benchmarks", benchmark_names())
        yield from unknown_names(entry, at, "models", section(raw, "models"))
        yield from check_left_out(raw, entry, at, name)
        for key in section(entry, "settings"):
            if key not in question.settings:
                yield f"{at}.settings.{key}", "unknown setting" + hint(key, question.settings)
        try:
            # A question's own file knows which criteria its settings name.
            for criterion in question.criteria({**question.settings, **section(entry, "settings")}):
                criterion_named(criterion)
        except (TypeError, ValueError) as error:
            yield f"{at}.settings", str(error)
    yield from unknown_names(section(raw, "latency"), "latency", "methods", methods)
    verified = section(raw, "verification").get("benchmark")
    if isinstance(verified, str) and verified not in benchmark_names():
        yield "verification.benchmark", f"unknown benchmark {verified!r}" + hint(verified, benchmark_names())


def check_left_out(
    raw: Mapping[str, Any], entry: Mapping[str, Any], at: str, question: str | None = None
) -> Iterator[Problem]:
    """Yield the models that a table or an open question names although their `only` leaves it out."""
    for index, model in items(entry.get("models")):
        only = section(raw, "models", str(model)).get("only")
        if isinstance(only, list) and question not in only:
            yield (
                f"{at}.models[{index}]",
                f"{model!r} is for {', '.join(map(str, only))} only; leave it out here, or change `models.{model}.only`",
            )


@cache
def taken_names() -> frozenset[str]:
    """Return what cannot be a table's name: the rules, the figures, and what `./reproduce` does itself."""
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    # Snakemake cannot be asked here: it reads the config first.
    rules = [name for file in files for name in re.findall(r"^rule (\w+):", file.read_text("utf-8"), re.MULTILINE)]
    return frozenset({*rules, *figure_names(), *COMMANDS, "open_questions", "efficiency"})


def check_judge(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the judge's address is none of an endpoint, or holds a secret: addresses appear in logs and notes."""
    address = section(raw, "judge").get("base_url")
    # https://user:password@host/v1?key=...: neither part belongs into a config that is packed and published.
    if isinstance(address, str) and ("@" in address or "?" in address):
        line = "an address without user, password or query is needed; the key comes from HIMAP_JUDGE_API_KEY or OPENAI_API_KEY"
        yield "judge.base_url", line
    elif isinstance(address, str) and (problem := address_problem(address)):
        yield "judge.base_url", problem


def check_scripts(value: Any, at: str) -> Iterator[Problem]:
    """Yield each text, key or value, that could run as a script where Snakemake's own report copies the settings in."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{at}.{key}" if at else str(key)
            yield from check_scripts(key, place)
            yield from check_scripts(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from check_scripts(item, f"{at}[{number}]")
    # Snakemake's report puts the settings of each job into a script of its page as they are.
    elif isinstance(value, str) and (tag := re.search(r"</?script|<!--", value, re.IGNORECASE)):
        yield at, f"{tag[0]!r} is not allowed in a config: Snakemake's own report would run it; use other words"
