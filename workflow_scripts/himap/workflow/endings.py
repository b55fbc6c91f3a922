"""How a job ended, from what its shell, its log file and its scheduler left behind."""

from __future__ import annotations

import re
import signal
import tempfile
from pathlib import Path

PROGRESS = re.compile(r"^\[[#-]+\] \d+/\d+ |, \d+:\d\d:\d\d so far\b|\d+%\|.*\|")  # our bar's lines, and tqdm's
# What Python's CalledProcessError says after the command: a status (from a shell also 128 + signal), or a signal.
SHELL_ERROR = re.compile(r"returned non-zero exit status (\d+)|died with <Signals\.\w+: (\d+)>")
# Words by which a line of a scheduler's log is taken for the error itself.
TROUBLE = re.compile(r"error|not found|no such|denied|no space|cannot|could not|no module|unable|failed", re.IGNORECASE)
SCAFFOLD = re.compile(  # what Snakemake and srun say around the error itself
    r"exited with exit code|force terminated|^error in (?:rule|group)|error details|exit(?:ed|ing) (?:with|because)"
    r"|^workflowerror|at least one job|^(?:rule)?exception|calledprocesserror|^command '|^\s*(?:message|log|shell|output|input): ",
    re.IGNORECASE,
)
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")


def is_progress(line: str) -> bool:
    """Return whether a line of a log only says how far the job is."""
    return bool(PROGRESS.search(line))


def last_lines(path: Path, count: int = 3) -> list[str]:
    """Return the last lines of a log that are not empty. Of a bar that rewrites its line, the last state counts."""
    if not path.is_file():
        return []
    # The end is enough: tqdm's bars alone can make a log many megabytes long.
    text = path.read_text(encoding="utf-8", errors="replace")[-20_000:]
    lines = [line.split("\r")[-1].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def last_words(path: Path, begun: float = 0.0) -> str | None:
    """Return the last line of a job's log that is no progress bar, or None if the log is older than the job, which then wrote none."""
    # An older log is that of an earlier attempt, whose last line would be the wrong reason.
    if not path.is_file() or path.stat().st_mtime < begun:
        return None
    lines = [line for line in last_lines(path, 200) if not is_progress(line)]
    return lines[-1].strip() if lines else None


def signal_behind(text: str, command: str) -> int | None:
    """Return the signal that ended a shell command, from Snakemake's last message about it."""
    # The last mention, because a job that is tried again has failed with the same command before.
    place = text.rfind(f"{command}' ")
    ended = SHELL_ERROR.match(text, place + len(command) + 2) if command and place >= 0 else None
    if ended is None:
        return None
    number = int(ended[2] or 0) or int(ended[1]) - 128  # a shell reports a killed child as 128 + signal
    return number if number in set(signal.Signals) else None


def killed(number: int) -> str:
    """Return what a signal means for a job."""
    name = signal.Signals(number).name
    if name == "SIGKILL":
        return (
            "killed by signal 9 (SIGKILL), as the system does when memory runs out (`dmesg` tells);"
            " run fewer jobs at a time (--cores), or lower `execution.batch_size`"
        )
    if name in CRASHES:
        return f"crashed with signal {number} ({name})"
    return f"ended from outside by signal {number} ({name})"


def scheduler_words(log: Path) -> str | None:
    """Return the last error in a scheduler's own log, for a job whose log is empty."""
    lines = [line.strip() for line in last_lines(log, 400)]
    troubles = [line for line in lines if TROUBLE.search(line) and not SCAFFOLD.search(line)]
    return troubles[-1] if troubles else None


def silence(log: Path, begun: float = 0.0) -> str:
    """Return why a job's log may hold no error: it could not be opened, or the job ended without a message."""
    if log.is_file() and log.stat().st_mtime >= begun:
        bars = [line for line in last_lines(log, 1) if is_progress(line)]
        return "it ended without a message" + (f"; last progress: {bars[0].strip()}" if bars else "")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=log.parent) as file:
            file.write(b"\0" * 65536)  # an empty file can be made on a full disk too
            file.flush()
    except OSError as error:
        return f"its log could not be written ({error.strerror}); free some space, or set `output` to another folder"
    return "it never opened its log (was the disk full, or the folder read-only?); run again"
