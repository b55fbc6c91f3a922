"""Why jobs would run, for `./reproduce -n`: which setting, which module, which input changed, and how, step by step.

Snakemake compares texts and hashes and shows both whole. Here two JSON texts become the keys that differ, and two hashes
of code become the modules that differ (`code_ledger`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.workflow.code_ledger import changed_modules
from himap.workflow.plan.history import History
from himap.workflow.plan.passes import RULES, noted_and_wanted

if TYPE_CHECKING:
    from himap.workflow.progress_view import Job

CHANGES_SHOWN = 4  # of one job; and jobs named of one cause
VALUE_SHOWN = 60  # characters
HASH = re.compile(r"[0-9a-f]{16}")
# One line of Snakemake's reason. Both sides are Python literals: … before: '{"keep": 0.5}' now: '{"keep": 0.25}'
PARAMS = re.compile(
    r"Params have changed since last execution: Union of exclusive params before and now across all output: "
    r"before: (?P<both>.*?) ?(?:; Software environment.*)?$",
    re.DOTALL,
)
UPSTREAM = re.compile(r"Input files updated by another job: ([^;]+)")
PLAIN = (  # what Snakemake says, and how we put it
    (r"Missing output files", "not made yet"),
    (r"Incomplete output files", "not finished, or made from a file that was lost or altered since"),
    (r"Set of input files has changed", "it reads other files than last time"),
    (r"Code has changed", "the rule's command in rules/*.smk changed"),
    (r"Software environment", "the environment in envs/ changed"),
    (r"Forced execution", "asked for on the command line"),
)
MODEL_KEYS = ("dtype", "attention", "template", "image_mode", "text_tower")
BENCHMARK_KEYS = ("protocol", "max_new_tokens")
SECTIONS = {  # the section of the config that the rest of a step's settings comes from
    "fetch_model": "models.{model}",
    "convert_checkpoint": "models.{model}",
    "download_benchmark": "benchmarks.{benchmark}",
    "draw_mini_benchmark": "benchmarks.{benchmark}",
    "extract_saliency": "saliency",
    "disrupt_attention": "disruption",
    "explore_grid": "grid",
    "ask_question": "questions.{question}",
    "count_flops": "flops",
    "measure_latency": "latency",
    "time_random_weights": "latency.random_weights",
    "tabulate_efficiency": "latency",
    "judge_answers": "judge",
    "make_table": "tables.{table}",
    "draw_figure": "figures.{figure}",
}


@dataclass(frozen=True)
class Planned:
    """A job that would run, and Snakemake's reason."""

    job: Job
    outputs: list[str]
    reason: str


# ---- the report


def explain(planned: Sequence[Planned], root: Path) -> str:
    """Return how many jobs of each step would run, and why."""
    # A target such as `all` makes no files and is no job to a reader.
    jobs = [entry for entry in planned if entry.outputs]
    makers = {file: entry.job.step for entry in jobs for file in entry.outputs}
    steps: dict[str, list[Planned]] = {}
    for entry in jobs:
        steps.setdefault(entry.job.step, []).append(entry)
    lines = [f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} to run:"]
    width = max((len(step) for step in steps), default=0)
    for step, members in steps.items():
        subjects: dict[str, list[str]] = {}
        for entry in members:
            for cause in causes(entry, makers, root):
                subjects.setdefault(cause, []).append(entry.job.what)
        head = f"{len(members):>5}  {step:<{width}}"
        for cause, whose in subjects.items():
            lines.append(f"{head}  {cause}{jobs_named(whose, len(members))}")
            head = " " * len(head)
    lines += ["", "Nothing was run. Snakemake's own list, job by job: ./reproduce -n -v"]
    return "\n".join(lines)


def jobs_named(subjects: Sequence[str], members: int) -> str:
    """Return which jobs of a step have a cause, or nothing if all do."""
    if len(subjects) == members:
        return ""
    more = len(subjects) - CHANGES_SHOWN
    return f"   [{', '.join(subjects[:CHANGES_SHOWN])}{f' and {more} more' if more > 0 else ''}]"


def causes(entry: Planned, makers: Mapping[str, str], root: Path) -> list[str]:
    """Return why a job would run. That its input is remade counts only where there is no other cause."""
    params = PARAMS.search(entry.reason)
    # Settings may hold any words, so signs are searched only in front of them.
    rest = entry.reason[: params.start()] if params else entry.reason
    listed = [words for sign, words in PLAIN if re.search(sign, rest)]
    if updated := re.search(r"Updated input files: ([^;]+)", rest):
        listed.append(f"changed input: {first_few(sorted(updated[1].split(', ')))}")
    # In a pass, `missing` may be true of one method out of many; `pass_causes` says of which.
    if entry.job.rule in RULES:
        listed = [cause for cause in listed if cause != PLAIN[0][1]] + pass_causes(entry, rest, root)
    elif params:
        listed = [words for words in listed if words != PLAIN[0][1]]  # a temporary file is always missing
        listed += setting_changes(entry.job, *before_and_now(params["both"]), root)
    if not listed and (upstream := UPSTREAM.search(rest)):
        steps = sorted({makers.get(file, file) for file in upstream[1].strip().split(", ")})
        listed.append(f"made from new results of: {first_few(steps)}")
    return listed or [entry.reason]


def first_few(values: Sequence[str]) -> str:
    """Return the first few of many values."""
    more = len(values) - CHANGES_SHOWN
    return ", ".join(values[:CHANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def before_and_now(text: str) -> tuple[list[Any], list[Any]]:
    """Return old and new parameters. Where the words between them also occur within a text, only one split gives literals."""
    sides = re.finditer(" now: ", text)
    pairs = ((literals(text[: side.start()]), literals(text[side.end() :])) for side in sides)
    return next(((old, new) for old, new in pairs if old is not None and new is not None), ([], []))


def literals(text: str) -> list[Any] | None:
    """Return the values that Snakemake shows as Python literals with commas between them, or None if they are not literals."""
    if text.strip() == "<nothing exclusive>":
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):
        return None


# ---- settings


def setting_changes(job: Job, before: Sequence[Any], now: Sequence[Any], root: Path) -> list[str]:
    """Return the keys that differ between two sets of a job's parameters, and the modules that differ between two versions of its code."""
    codes = [[value for value in values if is_hash(value)] for values in (before, now)]
    changes = [code_change(old, new, root) for old, new in zip(*codes, strict=False)]
    parsed = [[value for value in map(parsed_json, values) if value is not None] for values in (before, now)]
    keys = [
        f"{config_key(job, path)}: {change}"
        for old, new in nearest_pairs(*parsed)
        for path, change in differences(old, new, start_of(new))
    ]
    changes += keys[:CHANGES_SHOWN]
    changes += [f"and {len(keys) - CHANGES_SHOWN} more settings"] if keys[CHANGES_SHOWN:] else []
    if not changes:  # the words of a command line mostly repeat a settings text, so they count only alone
        old, new = ([value for value in values if not is_hash(value)] for values in (before, now))
        changes.append(f"arguments: {shortened(words(old))} → {shortened(words(new))}")
    return changes


def pass_causes(entry: Planned, reason: str, root: Path) -> list[str]:
    """Return why a pass would run again: which methods have no output yet, and what changed for the others.

    Snakemake names no setting where an output is missing, so both are read from its notes.
    """
    history, changes, unmade = History(root / ".snakemake"), dict[str, None](), []
    missing = re.search(r"Missing output files: ([^;]+)", reason)
    lacking = set(missing[1].strip().split(", ")) if missing else set()
    for output in entry.outputs:
        method, old, new = noted_and_wanted(history, output)
        if old is not None and new is not None and old != new:
            changes |= dict.fromkeys(entry_changes(entry.job, method, old, new, root))
        elif output in lacking:
            unmade.append(method)
    # Each change once, in order: methods of one pass mostly share it.
    listed = list(changes)
    causes = listed[:CHANGES_SHOWN] + ([f"and {len(listed) - CHANGES_SHOWN} more"] if listed[CHANGES_SHOWN:] else [])
    if unmade:
        causes.append(PLAIN[0][1] + (f": {first_few(unmade)}" if len(unmade) < len(entry.outputs) else ""))
    return causes


def entry_changes(job: Job, method: str, old: Any, new: Any, root: Path) -> list[str]:
    """Return what differs between two entries of a method in what its pass is made with."""
    changes = [code_change(old["code"], new["code"], root)] if old["code"] != new["code"] else []
    # Where each part of an entry is written in the config.
    starts = {"settings": (), "method": ("methods", method), "model": ("models", job.wildcards["model"])}
    # The code was compared above, by module; that answers change is said where they are made.
    for key in [key for key in new if key not in ("code", "answers") and old.get(key) != new[key]]:
        found = differences(old.get(key), new[key], starts.get(key, (key,)))
        changes += [f"{config_key(job, path)}: {change}" for path, change in found]
    return changes


def code_change(old: str, new: str, root: Path) -> str:
    """Return the modules in which two versions of a job's code differ, as a cause."""
    modules = changed_modules(old, new, root)
    if modules is None:
        return "its code changed (the module is not known, because the run that made it left no note)"
    return f"changed code: {first_few(modules)}"


def is_hash(value: Any) -> bool:
    """Return whether a parameter is a hash of code."""
    return isinstance(value, str) and bool(HASH.fullmatch(value))


def parsed_json(value: Any) -> Any:
    """Return the object or list in a JSON text, or None."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return None
    return None


def words(values: Iterable[Any]) -> str:
    """Return parameters as on a command line."""
    return " ".join(str(part) for value in values for part in (value if isinstance(value, list) else [value]))


def nearest_pairs(before: Sequence[Any], now: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each new JSON value with the old one that shares most keys, since Snakemake lists them in no order."""
    left = list(before)
    for new in now:
        if left:
            old = max(
                left,
                key=lambda value: (
                    len(set(value) & set(new)) if isinstance(value, dict) and isinstance(new, dict) else -1
                ),
            )
            left.remove(old)
            yield old, new


def start_of(value: Any) -> tuple[str, ...]:
    """Return where the keys of a resolved method, or of several, begin in the config."""
    if isinstance(value, dict) and "stages" in value and "name" in value:
        return ("methods", str(value["name"]))
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(entry, dict) and "stages" in entry for entry in value.values())
    ):
        return ("methods",)
    return ()


def config_key(job: Job, path: tuple[str, ...]) -> str:
    """Return a key of a job's slice as it is written in the config."""
    if (
        path[:1] == ("schedules",) and path[2:3] == ("stages",) and len(path) > 4
    ):  # a figure that shows schedules: model, kind, method
        path = ("methods", path[4], "stages", *path[5:])
    first = path[0] if path else ""
    place: str = SECTIONS.get(job.rule, "")
    if first in MODEL_KEYS:
        place = "models.{model}"
    elif first in BENCHMARK_KEYS:
        place = "benchmarks.{benchmark}"
    elif first in ("seed", "methods", "models"):
        place = ""
    head = re.sub(r"\{(\w+)\}", lambda name: job.wildcards.get(name[1], name[1]), place)
    # stages.[1].keep is written stages[1].keep.
    return ".".join([*([head] if head else []), *path]).replace(".[", "[")


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield path and change of every leaf in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            # A key with the value null differs from no key.
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                yield from differences(old.get(key, ...), new.get(key, ...), (*path, str(key)))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            if left != right:
                yield from differences(left, right, (*path, f"[{number}]"))
    # A hash of published values or of a folder says nothing by its digits.
    elif is_hash(old) and is_hash(new):
        yield path, "its contents changed"
    else:
        yield path, f"{shortened(old)} → {shortened(new)}"


def shortened(value: Any) -> str:
    """Return a value as one short text; `...` stands for a missing key."""
    if value is ...:
        return "(nothing)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_SHOWN else f"{text[: VALUE_SHOWN - 1]}…"
