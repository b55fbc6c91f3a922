"""Reading and writing files; what is written is written whole, and noted if it is the output of a job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from himap.atomic import renamed
from himap.notes import is_being_made, note_written


@contextmanager
def replacing(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`; when the block ends well it is flushed to disk and renamed onto `path`.

    A private file is for this user alone. If `path` is an output of the Snakemake job that this process is, its checksum
    is noted.
    """
    path = Path(path)
    with renamed(path, private) as temporary:
        yield temporary
        digest = sha256(temporary) if is_being_made(path) else None
    if digest is not None:
        note_written(path, digest)


def write_text(path: str | Path, text: str, private: bool = False) -> None:
    """Write text atomically, with the folder made if need be."""
    with replacing(path, private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, private: bool = False) -> None:
    """Write readable JSON with a final newline, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", private)


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
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
