"""Start Snakemake as a child: its environment, the process that its jobs are forked from, and signals passed on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from himap.project import ROOT

SOCKET = ".snakemake/reproduce.socket"  # relative to ROOT, because a socket's path may have at most 107 bytes
INTERRUPTS: list[tuple[int, float]] = []  # signals that asked this run to stop, and when


def environment() -> dict[str, str]:
    """Return this process's environment, with the scripts' folder on the module path, where Snakemake finds the logger plugin."""
    paths = [str(ROOT / "workflow_scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def preloaded(wanted: bool) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Run a process that has the large libraries imported and forks a worker for each job.

    Yield the environment that tells jobs of it, and the files that Snakemake keeps open so that it lives as long. A server
    that the environment names already serves this run, too.
    """
    if not wanted or not can_preload() or os.environ.get("HIMAP_WARM"):
        yield environment(), []
        return
    # A fork copies only the calling thread, so libraries must not have started threads of their own in the server.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "workflow_scripts/preloaded.py", "--serve", SOCKET]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **single}) as server:
        assert server.stdin is not None
        # If this process is killed, the server ends when its standard input is closed by all who hold it: Snakemake too.
        yield {**environment(), "HIMAP_WARM": f"{SOCKET}:{sys.prefix}"}, [server.stdin.fileno()]
        # A run with nothing to do ends before the server has imported its libraries, and must not wait for that.
        server.terminate()
    Path(SOCKET).unlink(missing_ok=True)  # relative to ROOT, where ./reproduce runs


def can_preload() -> bool:
    """Return whether jobs may be forked from a process that has imported torch."""
    # macOS: its frameworks start threads at import, and a child forked after that may crash or hang.
    return sys.platform != "darwin" and hasattr(os, "pidfd_open")


def call(command: Sequence[str], files: Sequence[int], variables: dict[str, str]) -> int:
    """Run Snakemake and return its status, or 128 + the signal that ended the run, as a shell would.

    Snakemake keeps `files` open, the lock among them, so that a second start is refused even if only this process dies.
    """
    INTERRUPTS.clear()
    with subprocess.Popen(command, pass_fds=files, env=variables) as process:

        def note(number: int, _: object) -> None:
            INTERRUPTS.append((number, time.time()))
            if number == signal.SIGTERM:  # a terminal sends SIGINT to both processes, but SIGTERM goes to one
                process.send_signal(number)

        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # ignored in a background job of a shell
            signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGTERM, note)
        status = process.wait()
    # A run that finished in spite of a signal keeps its status 0.
    return 128 + INTERRUPTS[0][0] if status and INTERRUPTS else status
