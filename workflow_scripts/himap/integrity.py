"""Results that were altered after they were made: noticed by checksum at the next start, set aside, and so made again.

One ledger in the workflow's own folder: for each output the end of the job that made it, its size, time and SHA-256. A
job that ran since the last look has another end, and its output is taken into the ledger as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from himap.files import sha256, write_text
from himap.status import noted

ALWAYS_READ = 64_000_000  # bytes; larger files are read again only if size or time differ


def check(root: Path) -> list[str]:
    """Set aside every output that is not what its job wrote, bring the ledger up to date; returns what was set aside."""
    ledger_file = root / ".snakemake" / "checksums.json"
    ledger = read_ledger(ledger_file)
    now: dict[str, list[Any]] = {}
    altered = []
    for output, ended in finished(root / ".snakemake" / "metadata"):
        path = root / output
        if not path.is_file():
            continue
        known = ledger.get(output)
        if known is None or known[0] != ended:
            now[output] = [ended, *facts(path), sha256(path)]
        elif is_as_written(path, known):
            now[output] = known
        else:
            altered.append(output)
            aside = root / ".snakemake" / "altered" / output
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside)
    if now != ledger:
        write_text(ledger_file, json.dumps(now))
    return altered


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


def finished(metadata: Path) -> Iterator[tuple[str, float]]:
    """Every output that a job finished, and when, from Snakemake's notes."""
    for output, path in noted(metadata):
        try:
            yield output, float(json.loads(path.read_text(encoding="utf-8"))["endtime"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
