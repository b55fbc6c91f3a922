"""One writer for each output, and results kept one by one beside it, so that a killed job loses none that were finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from himap.files import replacing


class Finished(Mapping[str, dict[str, Any]]):
    """The rows of a journal by sample id, read from its file when they are asked for: only their places are in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, int] = {}

    def __getitem__(self, sample_id: str) -> dict[str, Any]:
        with self.path.open("rb") as file:
            return _row_at(file, self.places[sample_id])

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Journal:
    """Lines of JSON after a header with the job's key. A torn or altered line, or a journal with another key, does not count.

    It belongs to its output's `sole_writer`. The file stays until `forget`, because Snakemake starts a job again if it was
    killed after it wrote its output but before Snakemake noted its end.
    """

    def __init__(self, output: str | Path, key: str):
        self.path = Path(f"{output}.journal")
        self.key = key
        self.done = Finished(self.path)
        self._rewrite()
        self.file = self.path.open("ab")

    def _good_lines(self) -> dict[str, int]:
        """Return where the lines that count begin, by sample id."""
        places: dict[str, int] = {}
        if self.path.is_file():
            with self.path.open("rb") as file:
                # Another key: the code, the model or the samples have changed, so no line counts.
                if _parsed(file.readline()) == {"key": self.key}:
                    place = file.tell()
                    for line in file:
                        row = _parsed(line)
                        if _whole(row):
                            # A later line of the same sample wins.
                            places[row["row"]["sample_id"]] = place
                        # In bytes, which `seek` takes; the file is therefore read as bytes.
                        place += len(line)
        return places

    def _rewrite(self) -> None:
        """Write the header and the good lines only, so that a new line is never appended to a torn one."""
        places = self._good_lines()
        # A kill while rewriting leaves the old journal whole.
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            file.write(json.dumps({"key": self.key}).encode() + b"\n")
            if places:
                with self.path.open("rb") as old:
                    for sample_id, place in places.items():
                        self.done.places[sample_id] = file.tell()
                        file.write(_line(_row_at(old, place)))

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one finished row and flush it to the system."""
        # Before the write: where the line begins. What is flushed the system keeps if this process is killed.
        self.done.places[row["sample_id"]] = self.file.tell()
        self.file.write(_line(row))
        self.file.flush()

    def close(self) -> None:
        """Close the file and leave it for the next start."""
        try:
            self.file.flush()
            # Once at the end and not per row: a killed process loses nothing that it flushed, only a machine that loses power does.
            os.fsync(self.file.fileno())
        finally:
            self.file.close()


def forget(output: str | Path) -> None:
    """Delete the journal of an output that a later job has read: Snakemake has noted that it is finished."""
    Path(f"{output}.journal").unlink(missing_ok=True)


def _row_at(file: BinaryIO, place: int) -> dict[str, Any]:
    file.seek(place)
    row: dict[str, Any] = json.loads(file.readline())["row"]
    return row


def _line(row: Mapping[str, Any]) -> bytes:
    body = json.dumps(row, ensure_ascii=False)
    return (json.dumps({"row": row, "check": _check(body)}, ensure_ascii=False) + "\n").encode()


def _check(body: str) -> str:
    import zlib

    # Against torn writes and bad disks, not against an adversary.
    return f"{zlib.crc32(body.encode()):08x}"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None


def _whole(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("row"), dict) or "sample_id" not in row["row"]:
        return False
    # A torn line is rarely valid JSON, but an altered one may be; the checksum tells both.
    return row.get("check") == _check(json.dumps(row["row"], ensure_ascii=False))
