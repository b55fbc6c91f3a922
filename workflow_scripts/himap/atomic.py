"""Atomic writing: a reader sees the old file or the whole new one, never half of it, also after a power failure."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_atomically(path: Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an error it is flushed and renamed onto `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic only within one file system; hidden, and ending in .tmp, so that no
    # pattern of results finds it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:  # opened again: the block wrote through handles of its own
            os.fsync(file.fileno())
        mask = os.umask(0)  # the mask can only be read by setting one
        os.umask(mask)
        temporary.chmod(0o600 if private else 0o666 & ~mask)  # mkstemp gives permissions to this user only
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk. Without it, a renamed file may be gone after a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some shared file systems cannot flush a folder
            os.fsync(handle)
    finally:
        os.close(handle)
