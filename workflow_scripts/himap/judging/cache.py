"""Replies of a judge on disk, so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from himap.files import read_json, write_json


class Cache:
    """Readable replies on disk, one file per task, named by the hash of endpoint, run and the task's first request.

    A reply without a readable verdict is never kept, and one that an earlier version kept does not count: it may be the
    fault of an hour.
    """

    def __init__(self, folder: Path, base_url: str, parse: Callable[[str], Any]) -> None:
        self.folder, self.base_url, self.parse = folder, base_url, parse

    def make_private(self) -> None:
        """Make the folder, for this user alone; subfolders of an earlier version are closed to others too."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = list(self.folder.iterdir())
        # Subfolders are named by the first two digits of a hash.
        ours = [part for part in parts if re.fullmatch("[0-9a-f]{2}", part.name)]
        with suppress(PermissionError):  # another user's folder
            # A folder with other things in it, such as one given by mistake, keeps its permissions.
            for part in ours if len(ours) < len(parts) else [self.folder, *ours]:
                part.chmod(0o700)

    def path(self, request: dict[str, Any], run: int) -> Path:
        """Return where the reply to a task is kept, given the task's first request."""
        # The run is part of the name, so that each run gets its own reply to the same request: runs show how much the judge varies.
        whole = json.dumps([self.base_url, run, request], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(whole.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"

    def get(self, path: Path) -> dict[str, Any] | None:
        """Return the kept reply; a damaged or unreadable one counts as none."""
        try:
            kept = read_json(path)
        except (ValueError, FileNotFoundError):
            return None
        if not isinstance(kept, dict) or not isinstance(kept.get("content"), str):
            return None
        # The text is read again, since what an earlier version kept may be unreadable now.
        return kept if self.parse(kept["content"]) is not None else None

    def put(self, path: Path, request: dict[str, Any], run: int, reply: dict[str, Any]) -> None:
        """Keep a reply durably before anything is done with it."""
        write_json(path, {**reply, "run": run, "request": request}, private=True)
