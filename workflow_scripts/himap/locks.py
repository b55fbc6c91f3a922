"""File locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


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
