"""Snakemake's notes of each output, which lie in its folder under coded names, and a checksum that we add to them.

Snakemake keeps a note in `incomplete` while a job for an output is at work, and one in `metadata` once it has finished.
The job itself adds one in `checksums`: size, time and SHA-256 of what it wrote. It is on disk before the job ends, so
whatever happens to an output afterwards, even if the run is killed or the power fails, shows at the next start.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from himap.atomic import renamed

STATE = Path(".snakemake")  # jobs run in the folder in which Snakemake runs
METADATA, INCOMPLETE, CHECKSUMS = "metadata", "incomplete", "checksums"
NAME_LENGTH = 254  # Snakemake cuts longer names into folders


@dataclass(frozen=True)
class Checksum:
    """What a job wrote; `since` is the time of the file that had the same content before."""

    size: int
    time: int  # in nanoseconds
    sha256: str
    since: int | None = None


def note_path(folder: Path, output: str | Path) -> Path:
    """Return the place of an output's note in a folder of notes."""
    coded = base64.urlsafe_b64encode(str(output).encode()).decode()
    parts = [coded[start : start + NAME_LENGTH] for start in range(0, len(coded), NAME_LENGTH)]
    return folder.joinpath(*[f"@{part}" for part in parts[:-1]], parts[-1])


def notes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the outputs that have a note in a folder, and the notes."""
    for path in sorted(folder.glob("**/*")):
        if path.is_file() and not path.name.endswith(".tmp"):
            coded = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            try:
                yield base64.urlsafe_b64decode(coded).decode(), path
            except ValueError:
                continue


def is_being_made(output: str | Path, state: Path = STATE) -> bool:
    """Return whether Snakemake has begun an output and not finished it."""
    return note_path(state / INCOMPLETE, output).exists()


def read_checksum(output: str | Path, state: Path = STATE) -> Checksum | None:
    """Return what is noted of an output; a missing or damaged note is None."""
    try:
        fields = json.loads(note_path(state / CHECKSUMS, output).read_text(encoding="utf-8"))
        return Checksum(**fields)
    except (OSError, ValueError, TypeError):
        return None


def write_checksum(output: str | Path, checksum: Checksum, state: Path = STATE) -> None:
    """Note what an output is."""
    with renamed(note_path(state / CHECKSUMS, output)) as temporary:
        temporary.write_text(json.dumps(asdict(checksum)), encoding="utf-8")


def note_written(output: Path, sha256: str) -> None:
    """Note what a job has just written, and since when this content is there."""
    before, facts = read_checksum(output), os.stat(output)
    is_same = before is not None and before.sha256 == sha256
    since = (before.since or before.time) if before and is_same else None
    write_checksum(output, Checksum(facts.st_size, facts.st_mtime_ns, sha256, since))
