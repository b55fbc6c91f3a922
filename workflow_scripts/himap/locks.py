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
def locked(path: str | Path, waiting: str | None = None) -> Iterator[None]:
    """Hold a lock beside a file for the length of a block; print `waiting` if another process has it.

    The system frees the lock however the process ends.
    """
    place = Path(f"{path}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = place.open("a", encoding="utf-8")
        try:
            # First without waiting, only to know whether there is something to say.
            if not try_lock(file):
                if waiting:
                    print(waiting, file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            # The process that had the lock removes the file. We may have locked the removed one while a third process
            # made a new one, so only a lock on the file that is there now counts. Opening it, unlike asking for its
            # status, does not rely on a shared folder's list of names, which may be out of date.
            with place.open() as present:
                if os.path.samestat(os.fstat(file.fileno()), os.fstat(present.fileno())):
                    break
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
        file.close()  # removed meanwhile: try again with a new one
    try:
        yield
    finally:
        # Before `close`, which frees the lock: otherwise another process could take it on a file that is then deleted.
        place.unlink(missing_ok=True)
        file.close()


def try_lock(file: IO[Any] | int, *, shared: bool = False) -> bool:
    """Take a lock and return True, or return False if another process has it.

    On a file system without locks this returns True: there, nothing but the user keeps two processes apart.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True
