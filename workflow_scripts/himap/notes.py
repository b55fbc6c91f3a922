"""Notes about each output in Snakemake's state folder, under encoded names; we add one with the output's checksum.

Snakemake keeps a note in `incomplete` while a job is making an output, and one in `metadata` once the job has finished.
The job itself adds one in `checksums`: size, time and SHA-256 of the file that it wrote. It is on disk before the job
ends, so the next start notices any later change of the output, even after a kill or a power failure.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from himap.atomic import replace_atomically

STATE = Path(".snakemake")  # jobs run in the folder in which Snakemake runs
METADATA, INCOMPLETE, CHECKSUMS = "metadata", "incomplete", "checksums"
NAME_LENGTH = 254  # file systems allow 255 bytes, so Snakemake splits longer names into folders


@dataclass(frozen=True)
class Checksum:
    """Size, time and checksum of a file that a job wrote."""

    size: int
    time: int  # in nanoseconds
    sha256: str
    since: int | None = None  # time of the earlier file with the same content, if a rerun wrote it once more


def note_path(folder: Path, output: str | Path) -> Path:
    """Return the path of an output's note in a folder of notes."""
    # As Snakemake encodes it: "results/report.html" in base64 for addresses, so that a slash makes no folder.
    name = base64.urlsafe_b64encode(str(output).encode()).decode()
    parts = [name[start : start + NAME_LENGTH] for start in range(0, len(name), NAME_LENGTH)]
    return folder.joinpath(*[f"@{part}" for part in parts[:-1]], parts[-1])


def notes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each output that has a note in a folder, and the note's path."""
    for path in sorted(folder.glob("**/*")):
        # .tmp: a note that another job is writing just now (`atomic`).
        if path.is_file() and not path.name.endswith(".tmp"):
            name = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            try:
                yield base64.urlsafe_b64decode(name).decode(), path
            except ValueError:  # a file of another kind
                continue


def is_being_made(output: str | Path, state: Path = STATE) -> bool:
    """Return whether Snakemake has begun an output and not yet finished it."""
    return note_path(state / INCOMPLETE, output).exists()


def read_checksum(output: str | Path, state: Path = STATE) -> Checksum | None:
    """Return the recorded checksum of an output, None if the note is missing or damaged."""
    try:
        fields = json.loads(note_path(state / CHECKSUMS, output).read_text(encoding="utf-8"))
        return Checksum(**fields)
    except (OSError, ValueError, TypeError):
        return None


def write_checksum(output: str | Path, checksum: Checksum, state: Path = STATE) -> None:
    """Record the checksum of an output."""
    with replace_atomically(note_path(state / CHECKSUMS, output)) as temporary:
        temporary.write_text(json.dumps(asdict(checksum)), encoding="utf-8")


def note_written(output: Path, sha256: str) -> None:
    """Record the checksum of a file that a job has just written, and since when the file has this content."""
    before, status = read_checksum(output), os.stat(output)
    # The same content again keeps the time of the first file that had it.
    is_same = before is not None and before.sha256 == sha256
    since = (before.since or before.time) if before and is_same else None
    write_checksum(output, Checksum(status.st_size, status.st_mtime_ns, sha256, since))
