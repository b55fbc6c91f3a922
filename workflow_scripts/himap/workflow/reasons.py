"""Why jobs are to be run, for `./reproduce -n`: which setting, which module, which input changed, and how, step by step.

Snakemake compares texts and hashes and shows both whole. Here two JSON texts become the keys that differ, and two hashes
of code become the modules that differ: `note_code` keeps, at the start of each run, what each hash was made of.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import write_text

if TYPE_CHECKING:
    from himap.workflow.progress_view import Job

LEDGER = Path(".snakemake") / "code.json"
VERSIONS_KEPT = 400
CHANGES_SHOWN = 4  # of one job; and jobs named of one cause
VALUE_SHOWN = 60  # characters
HASH = re.compile(r"[0-9a-f]{16}")
PARAMS = re.compile(
    r"Params have changed since last execution: Union of exclusive params before and now across all output: "
    r"before: (?P<both>.*?) ?(?:; Software environment.*)?$",
    re.DOTALL,
)
UPSTREAM = re.compile(r"Input files updated by another job: ([^;]+)")
PLAIN = (  # what Snakemake says, and what is said here
    (r"Missing output files", "not made yet"),
    (r"Incomplete output files", "begun but not finished, or made from a file that was lost or altered since"),
    (r"Set of input files has changed", "it reads other files than last time"),
    (r"Code has changed", "the rule's command in rules/*.smk changed"),
    (r"Software environment", "the environment in envs/ changed"),
    (r"Forced execution", "asked for on the command line"),
)
MODEL_KEYS = ("dtype", "attention", "template", "image_mode")
BENCHMARK_KEYS = ("protocol", "max_new_tokens")
SECTIONS = {  # where in the config the rest of a step's settings is
    "fetch_model": "models.{model}",
    "convert_checkpoint": "models.{model}",
    "download_benchmark": "benchmarks.{benchmark}",
    "draw_mini_benchmark": "benchmarks.{benchmark}",
    "extract_saliency": "saliency",
    "disrupt_attention": "disruption",
    "explore_grid": "grid",
    "count_flops": "flops",
    "measure_latency": "latency",
    "judge_answers": "judge",
    "make_table": "tables.{table}",
    "draw_figure": "figures.{figure}",
}


@dataclass(frozen=True)
class Planned:
    """A job that is to run, and Snakemake's reason."""

    job: Job
    outputs: list[str]
    reason: str


# ---- the report


def explain(planned: Sequence[Planned], root: Path) -> str:
    """How many jobs of each step are to run, and why."""
    jobs = [one for one in planned if one.outputs]
    makers = {file: one.job.step for one in jobs for file in one.outputs}
    steps: dict[str, list[Planned]] = {}
    for one in jobs:
        steps.setdefault(one.job.step, []).append(one)
    lines = [f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} to run:"]
    width = max((len(step) for step in steps), default=0)
    for step, members in steps.items():
        subjects: dict[str, list[str]] = {}
        for one in members:
            for cause in causes(one, makers, root):
                subjects.setdefault(cause, []).append(one.job.what)
        head = f"{len(members):>5}  {step:<{width}}"
        for cause, whose in subjects.items():
            lines.append(f"{head}  {cause}{jobs_named(whose, len(members))}")
            head = " " * len(head)
    lines += ["", "Nothing was run. Snakemake's own list, job by job: ./reproduce -n -v"]
    return "\n".join(lines)


def jobs_named(subjects: Sequence[str], members: int) -> str:
    """Which jobs of a step have a cause: nothing if all do."""
    if len(subjects) == members:
        return ""
    more = len(subjects) - CHANGES_SHOWN
    return f"   [{', '.join(subjects[:CHANGES_SHOWN])}{f' and {more} more' if more > 0 else ''}]"


def causes(one: Planned, makers: Mapping[str, str], root: Path) -> list[str]:
    """Why one job is to run; that its input is made anew counts only where there is no other cause."""
    params = PARAMS.search(one.reason)
    rest = one.reason[: params.start()] if params else one.reason
    found = [words for sign, words in PLAIN if re.search(sign, rest)]
    if updated := re.search(r"Updated input files: ([^;]+)", rest):
        found.append(f"changed input: {some(sorted(updated[1].split(', ')))}")
    if params:
        found = [words for words in found if words != PLAIN[0][1]]  # a temporary file is never there
        found += setting_changes(one.job, *before_and_now(params["both"]), root)
    if not found and (upstream := UPSTREAM.search(rest)):
        steps = sorted({makers.get(file, file) for file in upstream[1].strip().split(", ")})
        found.append(f"made from new results of: {some(steps)}")
    return found or [one.reason]


def some(values: Sequence[str]) -> str:
    """The first few of many."""
    more = len(values) - CHANGES_SHOWN
    return ", ".join(values[:CHANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def before_and_now(text: str) -> tuple[list[Any], list[Any]]:
    """Old and new parameters; the words between them may also occur within a text, and then one side is no literal."""
    sides = re.finditer(" now: ", text)
    pairs = ((literals(text[: side.start()]), literals(text[side.end() :])) for side in sides)
    return next(((old, new) for old, new in pairs if old is not None and new is not None), ([], []))


def literals(text: str) -> list[Any] | None:
    """The values that Snakemake shows as Python literals with commas between them, or None if they are none."""
    if text.strip() == "<nothing exclusive>":
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):
        return None


# ---- settings


def setting_changes(job: Job, before: Sequence[Any], now: Sequence[Any], root: Path) -> list[str]:
    """The keys that differ between two sets of a job's parameters, and the modules that differ between two versions of its code."""
    codes = [[value for value in values if is_hash(value)] for values in (before, now)]
    found = [code_change(old, new, root) for old, new in zip(*codes, strict=False)]
    parsed = [[value for value in map(parsed_json, values) if value is not None] for values in (before, now)]
    keys = [
        f"{config_key(job, path)}: {change}"
        for old, new in nearest_pairs(*parsed)
        for path, change in differences(old, new, start_of(new))
    ]
    found += keys[:CHANGES_SHOWN] + ([f"and {len(keys) - CHANGES_SHOWN} more settings"] if keys[CHANGES_SHOWN:] else [])
    if not found:  # words of a command line, which mostly say again what a settings text says
        old, new = ([value for value in values if not is_hash(value)] for values in (before, now))
        found.append(f"arguments: {shown(words(old))} → {shown(words(new))}")
    return found


def is_hash(value: Any) -> bool:
    """Whether a parameter is a version of code."""
    return isinstance(value, str) and bool(HASH.fullmatch(value))


def parsed_json(value: Any) -> Any:
    """The object or list in a JSON text, or None."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return None
    return None


def words(values: Iterable[Any]) -> str:
    """Parameters as they stand on a command line."""
    return " ".join(str(part) for value in values for part in (value if isinstance(value, list) else [value]))


def nearest_pairs(before: Sequence[Any], now: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each new JSON value with the old one that has most keys in common; they come in no order."""
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
    """Where the keys of a resolved method, or of several, begin in the config."""
    if isinstance(value, dict) and "stages" in value and "name" in value:
        return ("methods", str(value["name"]))
    if isinstance(value, dict) and value and all(isinstance(one, dict) and "stages" in one for one in value.values()):
        return ("methods",)
    return ()


def config_key(job: Job, path: tuple[str, ...]) -> str:
    """A key of a job's slice as it is written in the config."""
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
    elif first == "batch_size":
        place = "execution"
    elif first in ("seed", "methods"):
        place = ""
    head = re.sub(r"\{(\w+)\}", lambda name: job.wildcards.get(name[1], name[1]), place)
    return ".".join([*([head] if head else []), *path]).replace(".[", "[")


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and change of every leaf in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                yield from differences(old.get(key, ...), new.get(key, ...), (*path, str(key)))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            if left != right:
                yield from differences(left, right, (*path, f"[{number}]"))
    elif is_hash(old) and is_hash(new):
        yield path, "its contents changed"
    else:
        yield path, f"{shown(old)} → {shown(new)}"


def shown(value: Any) -> str:
    """A value in one short piece; `...` stands for a key that is not there."""
    if value is ...:
        return "(nothing)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_SHOWN else f"{text[: VALUE_SHOWN - 1]}…"


# ---- code


def code_change(old: str, new: str, root: Path) -> str:
    """The modules in which two versions of a job's code differ."""
    from himap.workflow.plan.code_hash import parts

    before, now = read_ledger(root).get(old), parts.get(new)
    if before is None or now is None:
        return "its code changed (in which module is not known: it was made before this project kept note)"
    named = {path: "" for path in now if path in before and now[path] != before[path]}
    named |= {path: " (new)" for path in now if path not in before}
    named |= {path: " (no longer used)" for path in before if path not in now}
    return f"changed code: {some([f'workflow_scripts/{path}{mark}' for path, mark in sorted(named.items())])}"


def note_code(root: Path) -> None:
    """Keep what the versions of code that this process computed were made of; the oldest are dropped."""
    from himap.workflow.plan.code_hash import parts

    known = read_ledger(root)
    kept = {version: known[version] for version in known if version not in parts} | parts
    if kept != known:
        write_text(root / LEDGER, json.dumps(dict(list(kept.items())[-VERSIONS_KEPT:])))


def read_ledger(root: Path) -> dict[str, dict[str, str]]:
    """Modules and their hashes behind each version of code; a damaged ledger counts as empty."""
    try:
        ledger = json.loads((root / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(ledger, dict) and all(isinstance(modules, dict) for modules in ledger.values())
    return ledger if whole else {}
