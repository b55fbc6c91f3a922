"""One writer for each output, and results kept one by one beside it, so that a killed job loses none that were finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from himap.files import write_text


class Journal:
    """Lines of JSON after a header with the job's key. A torn or altered line, or a journal with another key, does not count.

    It belongs to its output's `sole_writer`. The file stays until `forget`, because Snakemake starts a job again if it was
    killed after it wrote its output but before Snakemake noted its end.
    """

    def __init__(self, output: str | Path, key: str):
        self.path = Path(f"{output}.journal")
        self.key = key
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.done = self._read()
        self._rewrite()
        self.file = self.path.open("a", encoding="utf-8")

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        if not lines or _parsed(lines[0]) != {"key": self.key}:
            return {}
        rows = (_parsed(line) for line in lines[1:])
        return {row["row"]["sample_id"]: row["row"] for row in rows if _whole(row)}

    def _rewrite(self) -> None:
        """Write the header and the good lines only, so that a new line is never appended to a torn one."""
        write_text(self.path, "".join([json.dumps({"key": self.key}) + "\n", *map(_line, self.done.values())]))

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one finished row and flush it to the system."""
        self.done[row["sample_id"]] = dict(row)
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


def _line(row: Mapping[str, Any]) -> str:
    body = json.dumps(row, ensure_ascii=False)
    return json.dumps({"row": row, "check": _check(body)}, ensure_ascii=False) + "\n"


def _check(body: str) -> str:
    import zlib

    return f"{zlib.crc32(body.encode()):08x}"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _whole(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("row"), dict) or "sample_id" not in row["row"]:
        return False
    # A torn line is rarely valid JSON, but an altered one may be; the checksum tells both.
    return row.get("check") == _check(json.dumps(row["row"], ensure_ascii=False))
