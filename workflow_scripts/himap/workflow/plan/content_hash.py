"""Hashes of plain data, files and folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from himap.project import ROOT


def as_json(value: Any) -> str:
    """Return one line of JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def digest(value: Any) -> str:
    """Return a short hash of plain data."""
    return hashlib.sha256(as_json(value).encode()).hexdigest()[:16]


def origin(path: str | None, hub_id: str | None, revision: str | None) -> dict[str, str]:
    """Return what identifies a checkpoint: its id and revision, or the contents of its folder."""
    if path is not None:
        return {"path": path, "contents": folder_digest(ROOT / path)}
    return {"id": str(hub_id), "revision": str(revision)}


def folder_digest(folder: Path) -> str:
    """Hash the names and contents of a checkpoint's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".tiktoken"):
            # Only what a loader reads: a README beside the weights makes nothing stale.
            digest.update(path.name.encode() + b"\0" + content_digest(path))
    return digest.hexdigest()[:16]


def content_digest(path: Path) -> bytes:
    """Hash a file. Of a large one, hash its size and samples all over it, because every start looks at checkpoints of many GB."""
    size, step = path.stat().st_size, 1 << 20
    # Beyond 64 MB only 64 places of 1 MB are read: a swapped checkpoint differs nearly everywhere, and a start must not take minutes.
    if size <= 64 * step:
        return hashlib.sha256(path.read_bytes()).digest()
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        # The first place is the beginning, the last the end: part / 63 of the way.
        for part in range(64):
            file.seek((size - step) * part // 63)
            digest.update(file.read(step))
    return digest.digest()
