"""Results that were altered after they were made: noticed by checksum at the next start, set aside, and so made again.

One ledger in the workflow's own folder: for each output the end of the job that made it, its size, time and SHA-256. A
job that ran since the last look has another end, and its output is taken into the ledger as it is.

Snakemake does not miss a file whose products are there. So where a job that had to be done anew lost its old output and
came to no end, or its output was set aside here, what was made from the old output gets Snakemake's mark of an
unfinished file: it is made again, and for it the lost file.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himap.files import read_json, sha256, write_text
from himap.jobs import library_versions
from himap.status import noted

ALWAYS_READ = 64_000_000  # bytes; larger files are read again only if size or time differ


@dataclass(frozen=True)
class Made:
    """Snakemake's note of an output: when the last attempt at it began and ended, from what, and where the note stands."""

    begun: float
    ended: float
    inputs: tuple[str, ...]
    note: Path


def check(root: Path) -> list[str]:
    """Set aside every output that is not what its job wrote, bring the ledger up to date; returns what was set aside."""
    made = finished(root / ".snakemake" / "metadata")
    ledger_file = root / ".snakemake" / "checksums.json"
    ledger = read_ledger(ledger_file)
    now: dict[str, list[Any]] = {}
    altered = []
    for output, one in made.items():
        path = root / output
        if not path.is_file():
            continue
        known = ledger.get(output)
        if known is None or known[0] != one.ended:
            now[output] = [one.ended, *facts(path), sha256(path)]
        elif is_as_written(path, known):
            now[output] = known
        else:
            altered.append(output)
            aside = root / ".snakemake" / "altered" / output
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside)
    if now != ledger:
        write_text(ledger_file, json.dumps(now))
    distrust(root, made, altered)
    return altered


def distrust(root: Path, made: dict[str, Made], altered: Collection[str] = ()) -> None:
    """Mark as unfinished what is there and was made from a lost file that was altered or had to be made anew."""
    marks = root / ".snakemake" / "incomplete"
    lost = {output for output in made if not (root / output).exists()}

    def is_outdated(output: str, product: Made) -> bool:
        one = made[output]
        if output in altered or (marks / note_name(root, one)).exists() or one.begun > product.ended:
            return True  # a later attempt came to no end
        sources = [name for name in one.inputs if name in made]
        return any(is_outdated(name, one) if name in lost else made[name].begun > one.ended for name in sources)

    for output, one in made.items():
        mark = marks / note_name(root, one)
        if output in lost or mark.exists():
            continue
        if any(is_outdated(name, one) for name in one.inputs if name in lost):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("{}")


def note_name(root: Path, one: Made) -> Path:
    """The name under which Snakemake keeps all notes of an output."""
    return one.note.relative_to(root / ".snakemake" / "metadata")


def is_as_written(path: Path, known: list[Any]) -> bool:
    """Whether a file is still what the ledger says."""
    _, size, time, digest = known
    if path.stat().st_size != size:
        return False
    return (size > ALWAYS_READ and path.stat().st_mtime_ns == time) or sha256(path) == digest


def facts(path: Path) -> list[int]:
    """Size and time."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def read_ledger(path: Path) -> dict[str, list[Any]]:
    """The ledger; a damaged one is begun anew."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(held, dict) and all(isinstance(row, list) and len(row) == 4 for row in held.values())
    return held if whole else {}


def finished(metadata: Path) -> dict[str, Made]:
    """Every output that a job finished, from Snakemake's notes."""
    found = {}
    for output, path in noted(metadata):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            ended = float(note["endtime"])
            found[output] = Made(float(note.get("starttime") or ended), ended, tuple(note.get("input") or ()), path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def warn_of_other_versions(results: Path) -> None:
    """Say on standard error which results were computed with other library versions than those installed now."""
    others = other_versions(results)
    if not others:
        return
    print(f"Results in {results} were computed with other library versions than those installed now:", file=sys.stderr)
    for (library, version, installed), count in sorted(others.items()):
        print(f"  {library} {version} ({count} result{'s' * (count > 1)}), now {installed}", file=sys.stderr)
    print(
        "They are kept, since versions do not make a result stale (docs/workflow.md). To compute all of them with the"
        " versions of today: ./reproduce --forceall",
        file=sys.stderr,
        flush=True,
    )


def other_versions(results: Path) -> Counter[tuple[str, str, str]]:
    """Count the results that were computed with another version of a library: (library, their version, today's)."""
    found: Counter[tuple[str, str, str]] = Counter()
    installed = {name: public(version) for name, version in library_versions().items()}
    for path in results.rglob("*.provenance.json"):
        try:
            recorded = read_json(path)["versions"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not readable: no reason to stop a run
        for name, version in recorded.items():
            if name in installed and public(str(version)) != installed[name]:
                found[name, public(str(version)), installed[name]] += 1
    return found


def public(version: str) -> str:
    """Return a version without its local part: torch 2.13.0+cpu and 2.13.0+cu130 are one version."""
    return version.partition("+")[0]
