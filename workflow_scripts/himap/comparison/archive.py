"""One run as one file: written by `./reproduce pack`, read by `./reproduce compare`.

An archive is a ZIP whose first member, pack.json, lists every other member with its size and checksum. An archive may come
from a stranger: nothing is written outside the folder that is asked for, nothing beyond the sizes that pack.json states and
the bounds below, and no link is followed or made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from himap.files import replacing, sha256

FORMAT = 1  # a reader refuses archives with a higher number
CONTENTS = "pack.json"
PACKED = (  # what a run is compared and read by; samples and their pictures have licenses of their own and stay
    "report.html",  "tables/*", "figures/*", "figures/data/*.csv",
    "evaluation/*/*/*/predictions.jsonl", "evaluation/*/*/*/judgements.jsonl", "evaluation/*/*/*/score.json",
    "evaluation/*/*/*/per_sample.parquet", "**/*.provenance.json", "models/*/manifest.json", "benchmarks/*/manifest.json",
    "flops/**/*.csv", "latency/**/*.csv", "random-weights/*.csv", "grid/*/*/scores.csv", "timings/**/*.tsv",
)  # fmt: skip
MOST_FILES, MOST_BYTES, MOST_CONTENTS = 200_000, 8 << 30, 64 << 20  # of an archive, of its files, of pack.json
PIECE = 1 << 20  # bytes in memory at a time
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that the same run gives the same bytes


def pack(folder: Path, out: Path, about: dict[str, Any], texts: dict[str, str]) -> list[str]:
    """Write a run's folder and some further texts as an archive; return the names of its members."""
    files = {str(path.relative_to(folder)): path for pattern in PACKED for path in folder.glob(pattern)}
    # Sorted, since the order of `glob` depends on the file system. A link could name anything on this machine.
    files = {name: path for name, path in sorted(files.items()) if path.is_file() and not path.is_symlink()}
    listed = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
    for name, text in texts.items():
        data = text.encode()
        listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    contents = json.dumps({"format": FORMAT, **about, "files": listed}, indent=1)
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        # The first member, as this module's docstring promises.
        archive.writestr(member(CONTENTS), contents)
        for name, text in texts.items():
            archive.writestr(member(name), text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(member(name), "w") as target:
                shutil.copyfileobj(source, target, PIECE)
    return list(listed)


def member(name: str) -> zipfile.ZipInfo:
    """Return a member's head: compressed, readable by all, without a date of its own."""
    head = zipfile.ZipInfo(name, EPOCH)
    # The upper half of the attributes is the mode on Unix.
    head.compress_type, head.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o644) << 16
    return head


def unpack(path: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Write an archive's wanted members below a folder. Raise ValueError if it is cut short, altered, unsafe or too new."""
    try:
        with zipfile.ZipFile(path) as archive:
            listed = contents_of(archive, path)
            heads = checked_heads(archive, path, listed)
            chosen = [name for name in listed if wanted(name)]  # `compare` needs no figures, for example
            # Asked before anything is written. All members were checked, also those that are not wanted.
            room, needed = shutil.disk_usage(folder).free, sum(listed[name]["bytes"] for name in chosen)
            if needed > room:
                raise ValueError(f"{path}: needs {needed / 1e9:.1f} GB in {folder}, which has {room / 1e9:.1f} GB left")
            for name in chosen:
                extract(archive, heads[name], folder / name, listed[name], path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a whole archive ({error}): it is cut short, or `./reproduce pack` did not write it; "
            "copy it again, or pack the run again"
        ) from error


def contents_of(archive: zipfile.ZipFile, path: Path) -> dict[str, dict[str, Any]]:
    """Return the list of an archive's files from its pack.json."""
    head = next((head for head in archive.infolist() if head.filename == CONTENTS), None)
    if head is None:
        raise ValueError(f"{path}: no {CONTENTS} inside, so `./reproduce pack` did not write it; give a packed run")
    with archive.open(head) as source:
        # A few kilobytes of archive may unpack to gigabytes, so no more is read than is accepted.
        data = source.read(MOST_CONTENTS + 1)
    try:
        if len(data) > MOST_CONTENTS:
            raise ValueError("too long")
        contents = json.loads(data)
        version, listed = contents["format"], contents["files"]
        # For each file, whether its size and its checksum are usable; a comparison with a text raises TypeError.
        sizes = [(entry["bytes"] >= 0, len(entry["sha256"]) == 64) for entry in listed.values()]
        if not isinstance(version, int) or not all(map(all, sizes)):
            raise TypeError("no format, size or checksum")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path}: its {CONTENTS} cannot be read; pack the run again") from None
    if version > FORMAT:
        raise ValueError(
            f"{path}: packed by a newer version of this project (format {version}; this one reads {FORMAT}); update this project"
        )
    return dict(listed)


def checked_heads(
    archive: zipfile.ZipFile, path: Path, listed: dict[str, dict[str, Any]]
) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's members by name, after their names, kinds, sizes and number were checked."""
    members = [head for head in archive.infolist() if head.filename != CONTENTS]
    heads = {head.filename: head for head in members}
    # A name that is there twice could be checked in one form and unpacked in the other.
    if set(heads) != set(listed) or len(heads) != len(members):
        odd = sorted(set(heads) ^ set(listed)) or ["a name that is there twice"]
        raise ValueError(
            f"{path}: its files are not those that its {CONTENTS} lists (first {odd[0]!r}); pack the run again"
        )
    total = sum(entry["bytes"] for entry in listed.values())
    if len(heads) > MOST_FILES or total > MOST_BYTES:
        raise ValueError(
            f"{path}: {len(heads)} files of {total / 1e9:.1f} GB; at most {MOST_FILES} files and {MOST_BYTES / 1e9:.0f} GB are read"
        )
    for name, head in heads.items():
        if why := unsafe(name, head):
            raise ValueError(f"{path}: {name!r} {why}; nothing was unpacked: do not trust this archive")
        if head.file_size != listed[name]["bytes"]:
            raise ValueError(f"{path}: {name} has another size than its {CONTENTS} states; pack the run again")
    return heads


def unsafe(name: str, head: zipfile.ZipInfo) -> str:
    """Return why a member must not be unpacked, or an empty text."""
    parts = PurePosixPath(name).parts
    # Backslashes and colons are harmless here, but separate folders and drives on Windows.
    if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or not parts or ".." in parts:
        return "leads out of the archive's folder"
    # 0: written on a system without modes. Anything else but a plain file may be a link or a device.
    if head.is_dir() or stat.S_IFMT(head.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is not a plain file"
    return ""


def extract(archive: zipfile.ZipFile, head: zipfile.ZipInfo, out: Path, entry: dict[str, Any], path: Path) -> None:
    """Write one member, never more of it than its stated size, and check its sum."""
    out.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), int(entry["bytes"])
    with archive.open(head) as source, out.open("xb") as target:  # x: never over a file that is there
        for piece in pieces(source):
            # Before it is written: the stated size may be a lie, too.
            left -= len(piece)
            if left < 0:
                raise ValueError(f"{path}: {head.filename} is longer than it states; do not trust this archive")
            digest.update(piece)
            target.write(piece)
    if left or digest.hexdigest() != entry["sha256"]:
        raise ValueError(f"{path}: {head.filename} is damaged (its checksum differs); copy the archive again")


def pieces(source: Any) -> Iterator[bytes]:
    """Yield what is left of a stream, a piece at a time."""
    while piece := source.read(PIECE):
        yield piece
