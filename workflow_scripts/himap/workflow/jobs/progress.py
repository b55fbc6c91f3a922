"""Progress of a job: a bar on a terminal, whole lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any


def progress(items: Iterable[Any], total: int | None, label: str, every: float = 10.0) -> Iterator[Any]:
    """Yield the items and show a bar on a terminal, or in a log file a whole line at the start, every ten seconds, and at the end."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, ncols=88)
        return
    begun = printed = time.monotonic()
    # At once, so that a log that stays empty means a job that has not begun its work.
    print(bar(0, total, 0.0, label), file=sys.stderr, flush=True)
    for done, item in enumerate(items, start=1):
        # Yielded first: an item counts as done when the loop comes back for the next one.
        yield item
        now = time.monotonic()
        if done == total or now - printed >= every:
            print(bar(done, total, now - begun, label), file=sys.stderr, flush=True)
            printed = now


def bar(done: int, total: int | None, seconds: float, label: str) -> str:
    """Return one line: [#####-----] 50/100 label, 0:01:40 so far, 0:01:40 to go."""
    if total is None:
        return f"{done} {label}, {span(seconds)} so far"
    filled = 20 * done // max(total, 1)
    text = f"[{'#' * filled}{'-' * (20 - filled)}] {done}/{total} {label}, {span(seconds)} so far"
    return text + (f", {span(seconds * (total - done) / done)} to go" if 0 < done < total else "")


def span(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
