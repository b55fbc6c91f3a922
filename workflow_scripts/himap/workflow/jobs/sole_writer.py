"""One writer for each output, across processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from himap.locks import locked

RUN = "HIMAP_RUN"  # in the environment of a run's jobs: the file with the latest run's number, a colon, their own run's


@contextmanager
def sole_writer(*outputs: str | Path) -> Iterator[None]:
    """Hold a job's outputs from its start to its end: a second job waits, and one of a run that was killed and replaced gives up.

    Such an orphan may be running on another node, or only just starting. While it runs, the new run's job waits and
    so writes last. If it comes later, it writes nothing and exits with 0, because Snakemake deletes the output of a failed job.
    """
    with ExitStack() as stack:
        for output in sorted(map(str, outputs)):  # one order, so that no two jobs block each other
            stack.enter_context(_held(output))
        yield


@contextmanager
def _held(output: str) -> Iterator[None]:
    with locked(output, f"{Path(output).name}: another job is writing this output; waiting for it"):
        # Asked under the lock: the newer run may have started while this job waited.
        if is_replaced():
            # Without an output there is nothing for Snakemake to note, so the orphan has to fail.
            if not Path(output).exists():
                raise ValueError(f"{output}: this job belongs to a run that a newer one replaced; nothing was done")
            print(f"{output}: left to the newer run that replaced this job's", file=sys.stderr, flush=True)
            raise SystemExit(0)
        yield


def is_replaced() -> bool:
    """Return whether another run has started here since the one that this process belongs to; False if that cannot be read."""
    # From the right, since a path may hold a colon too.
    latest, _, own = os.environ.get(RUN, "").rpartition(":")
    with suppress(OSError, ValueError):
        return bool(latest) and int(Path(latest).read_text(encoding="utf-8")) > int(own)
    return False
