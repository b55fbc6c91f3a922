"""Atomic writing: a reader sees the old file or the whole new one, never half of it, also after a power failure."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from himap.notes import is_being_made, note_written


@contextmanager
def replacing(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`; when the block ends well it is flushed to disk and renamed onto `path`.

    A private file is for this user alone. If `path` is an output of the Snakemake job that this process is, its checksum
    is noted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o600 if private else 0o666 & ~mask)
        digest = sha256(temporary) if is_being_made(path) else None
        temporary.replace(path)
        flush_folder(path.parent)
        if digest is not None:
            note_written(path, digest)
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk, without which a renamed file may be gone after a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some shared file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, private: bool = False) -> None:
    """Write text atomically, with the folder made if need be."""
    with replacing(path, private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, private: bool = False) -> None:
    """Write readable JSON with a final newline, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", private)


def write_jsonl(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_parquet(path: str | Path, table: Any) -> None:
    """Write a pandas DataFrame or a pyarrow Table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_json(path: str | Path) -> Any:
    """Read JSON; a broken file is named in the error."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and make it again") from error


def sha256(path: str | Path) -> str:
    """Checksum of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
