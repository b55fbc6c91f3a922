"""Read and write files. Every write is atomic, and the checksum of a Snakemake job's output is recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from himap.atomic import replace_atomically
from himap.notes import is_being_made, note_written


@contextmanager
def replacing(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an error it is flushed and renamed onto `path`.

    A private file can be read by this user only. If this process is a Snakemake job and `path` is its output, the file's
    checksum is recorded.
    """
    path = Path(path)
    with replace_atomically(path, private) as temporary:
        yield temporary
        digest = sha256(temporary) if is_being_made(path) else None  # before the rename: nobody can change it yet
    if digest is not None:
        note_written(path, digest)


def write_text(path: str | Path, text: str, private: bool = False) -> None:
    """Write text atomically; create the folder if it does not exist."""
    with replacing(path, private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, private: bool = False) -> None:
    """Write indented JSON with a final newline, keys in the order given."""
    # allow_nan: NaN is no JSON, and other readers would refuse the file long after the job that wrote it.
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", private)


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, as they come."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_parquet(path: str | Path, table: Any) -> None:
    """Write a pandas DataFrame or a pyarrow Table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # The index of a frame is a count of rows here and would become a column.
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file. Raise ValueError with the file's name if it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and make it again") from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
