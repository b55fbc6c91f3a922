"""Find results that are not what their jobs wrote, by checksum at a run's start and end; set them aside and make them again.

A job notes the checksums of its outputs before it ends (`himap.notes`). A file without such a note is accepted as it is.

A file that is remade with the same content gets its old time back, because what was made from it is still valid. Snakemake
plans all jobs of a run at its start and so cannot notice this. Therefore missing results whose downstream files exist are
remade in a run of their own before the others.

Snakemake does not rebuild a missing file while its downstream files exist. If such a remake fails, we therefore mark the
downstream files as incomplete, so that Snakemake rebuilds both.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from himap.files import read_json, sha256
from himap.notes import (
    INCOMPLETE,
    METADATA,
    Checksum,
    is_being_made,
    note_path,
    notes,
    read_checksum,
    write_checksum,
)
from himap.workflow.jobs.model_script import library_versions

ALWAYS_READ_MB = 64  # see `execution.checksums_up_to_mb` in the config


@dataclass(frozen=True)
class Made:
    """Snakemake's note of an output: when the last attempt at it began and ended, from what it was made, the job's log."""

    begun: float  # seconds since 1970
    ended: float
    inputs: tuple[str, ...]
    logs: tuple[str, ...]


def check(root: Path, always_read_mb: int = ALWAYS_READ_MB) -> list[str]:
    """Set aside every output that is not what its job wrote; return these."""
    state, always_read = root / ".snakemake", always_read_mb * 1_000_000
    altered = []
    for output, made in finished(root).items():
        path = root / output
        if not path.is_file() or is_being_made(output, state):  # an unfinished file is made again anyway
            continue
        known = read_checksum(output, state)
        # A file without a checksum counts as intact, and gets one for the next start.
        if known is None:
            write_checksum(output, Checksum(*size_and_time(path), sha256(path)), state)
        elif is_as_written(path, known, always_read):
            settle(root, output, known, made, always_read)
        else:
            altered.append(output)
            aside = set_aside_path(root, output)
            # Moved, not deleted: nothing that somebody wrote into it by hand is lost.
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside)
    return altered


def set_aside_path(root: Path, output: str) -> Path:
    """Return where an altered output is kept; one outside the project keeps its whole path."""
    return root / ".snakemake" / "altered" / output.lstrip("/")


def is_as_written(path: Path, known: Checksum, always_read: int) -> bool:
    """Return whether a file is what its job wrote. Above `always_read` bytes, equal size and time are enough."""
    size, time = size_and_time(path)
    if size != known.size:  # no need to read it
        return False
    return (size > always_read and time == known.time) or sha256(path) == known.sha256


def settle(root: Path, output: str, known: Checksum, made: Made, always_read: int) -> None:
    """Give a file that was remade with the same content its old time back, and note the time that it has now."""
    path = root / output
    # Its old time must not be older than its inputs have now, else Snakemake would take it for outdated.
    if known.since and known.since >= newest(root / name for name in made.inputs):
        os.utime(path, ns=(known.since, known.since))
    time = path.stat().st_mtime_ns
    # Snakemake touches an output after its job, so a large file's noted time is renewed here, else it would be read at
    # every start.
    if known.since or (known.size > always_read and time != known.time):
        write_checksum(output, replace(known, time=time, since=None), root / ".snakemake")


def newest(paths: Iterable[Path]) -> int:
    """Return the latest time of those files that exist."""
    return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)


def size_and_time(path: Path) -> tuple[int, int]:
    """Return a file's size and its time in nanoseconds."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def lost(root: Path) -> list[str]:
    """Return the missing outputs from which, or from others of whose job, an existing file was made."""
    made = finished(root)
    # Of a job with several outputs, a missing one counts also where only its sibling was read: both come from one run.
    needed = {name for output, product in made.items() if (root / output).exists() for name in product.inputs}
    jobs = {made[name].logs for name in needed if name in made}  # a job is known by its log
    return sorted(output for output, note in made.items() if note.logs in jobs and not (root / output).exists())


def distrust(root: Path, altered: Iterable[str] = ()) -> None:
    """Mark as incomplete the existing files that were made from a missing file that was altered or had to be remade."""
    made = finished(root)
    state = root / ".snakemake"
    set_aside = set(altered)
    gone = {output for output in made if not (root / output).exists()}

    def is_outdated(output: str, product: Made) -> bool:
        source = made[output]
        if output in set_aside or is_being_made(output, state) or source.begun > product.ended:
            return True  # a later attempt did not finish
        # Inputs that no job makes (a config, a template) have no note and cannot be outdated in this sense.
        names = [name for name in source.inputs if name in made]
        # Missing inputs are followed upward; of an existing one it counts whether it was remade after it was read.
        return any(is_outdated(name, source) if name in gone else made[name].begun > source.ended for name in names)

    for output, product in made.items():
        if output not in gone and any(is_outdated(name, product) for name in product.inputs if name in gone):
            mark_unfinished(state, output)


def mark_unfinished(state: Path, output: str) -> None:
    """Mark an output as incomplete, so that Snakemake makes it again."""
    mark = note_path(state / INCOMPLETE, output)
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        # Snakemake keeps JSON in its marks; that the mark exists is what counts.
        mark.write_text("{}", encoding="utf-8")


def finished(root: Path) -> dict[str, Made]:
    """Return every output that a job finished, from Snakemake's notes."""
    made = {}
    for output, path in notes(root / ".snakemake" / METADATA):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            ended = float(note["endtime"])
            # Without a log an output is a job of its own, known by its name.
            begun = float(note.get("starttime") or ended)
            made[output] = Made(begun, ended, tuple(note.get("input") or ()), tuple(note.get("log") or (output,)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return made


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
        " installed versions: ./reproduce --forceall",
        file=sys.stderr,
        flush=True,
    )


def other_versions(results: Path) -> Counter[tuple[str, str, str]]:
    """Count the results that were computed with another version of a library: (library, their version, today's)."""
    found: Counter[tuple[str, str, str]] = Counter()
    installed = {name: public(version) for name, version in library_versions().items()}
    # One file per result of a model, beside it; results without a model name no versions.
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
