"""One writer for each output, and results kept one by one beside it, so that a killed job loses none that were finished."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from himap.files import write_text

RUN = "HIMAP_RUN"  # in the environment of a run's jobs: the file with the latest run's number, a colon, their own run's


class Journal:
    """Lines of JSON after a header with the job's key: another key, or a line that is torn or altered, does not count.

    It belongs to its output's `sole_writer`. The file stays until `forget`, because a job whose output is there but
    whose end nobody noted is started again.
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
        """Start from the header and the good lines only, so that a torn line never grows into the next one."""
        write_text(self.path, "".join([json.dumps({"key": self.key}) + "\n", *map(_line, self.done.values())]))

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep one finished row; it is on its way to disk when this returns."""
        self.done[row["sample_id"]] = dict(row)
        self.file.write(_line(row))
        self.file.flush()

    def close(self) -> None:
        """Stop here and leave the journal for the next start."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        finally:
            self.file.close()


def forget(output: str | Path) -> None:
    """Drop the journal of an output that was used: nobody will make it again."""
    Path(f"{output}.journal").unlink(missing_ok=True)


@contextmanager
def sole_writer(output: str | Path) -> Iterator[None]:
    """From a job's start to its end: a second job for an output waits, and one of a run that was killed and replaced gives up.

    Such an orphan may be at work on another node, or only just begin. While it is at work, the new run's job waits and
    so writes last; if it comes later, it writes nothing, and without an error, at which Snakemake would remove the output.
    """
    with held(output, f"{Path(output).name}: another job is at work on this output; waiting for it"):
        if is_replaced():
            if not Path(output).exists():
                raise ValueError(f"{output}: this job belongs to a run that a newer one replaced; nothing was done")
            print(f"{output}: left to the newer run that replaced this job's", file=sys.stderr, flush=True)
            raise SystemExit(0)
        yield


def is_replaced() -> bool:
    """Whether another run has begun here since the one that this process belongs to; where that cannot be read, none has."""
    latest, _, own = os.environ.get(RUN, "").rpartition(":")
    with suppress(OSError, ValueError):
        return bool(latest) and int(Path(latest).read_text(encoding="utf-8")) > int(own)
    return False


@contextmanager
def held(path: str | Path, waiting: str | None = None) -> Iterator[None]:
    """A lock beside a file, free again when the process ends in any way; `waiting` is said if another has it."""
    place = Path(f"{path}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = place.open("a", encoding="utf-8")
        try:
            if not try_lock(file):
                if waiting:
                    print(waiting, file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            with place.open() as present:  # opened, because a shared folder's list of names may be old
                if os.path.samestat(os.fstat(file.fileno()), os.fstat(present.fileno())):
                    break
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
        file.close()  # its last holder has removed it
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        file.close()


def try_lock(file: IO[Any] | int, *, shared: bool = False) -> bool:
    """Take a lock unless another process has it; a file system without locks is trusted to have one user."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


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
    return row.get("check") == _check(json.dumps(row["row"], ensure_ascii=False))
