"""What ./reproduce runs: Snakemake with this project's defaults, one run at a time, and a summary at the end.

    ./reproduce                          everything of config.yaml, then the report
    ./reproduce table1 figure4           these alone
    ./reproduce -n                       what is to be done
    ./reproduce report                   the report page from what is there
    ./reproduce estimate [--configfile]  jobs, GPU hours, downloads and disk, before anything runs
    ./reproduce status [--configfile]    what is done, waiting, failed
    ./reproduce --version                this project's version and Snakemake's

Any further words go to Snakemake, e.g. --configfile presets/paper.yaml --profile profiles/slurm. Targets may come before
or after options. A config file is looked for where you are, then in the project.
-v (--verbose) shows Snakemake's own words in place of one line for each finished job.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from himap.project import ROOT
from himap.workflow.command_line import (
    TOOLS,
    arranged,
    check,
    has_letter,
    is_local,
    option,
    results_folder,
    settings,
    versions,
)

STATE = ROOT / ".snakemake"
SOCKET = ".snakemake/reproduce.socket"  # relative to ROOT, as the system allows a socket's path 107 bytes only
LOCK, MARK, LATEST = STATE / "reproduce.lock", STATE / "reproduce.running", STATE / "reproduce.latest"
WATCHING = {
    "-n", "--dry-run", "--dryrun", "-h", "--help", "--version", "--lint", "-l", "--list-rules", "--list", "--rulegraph", "--dag",
    "--filegraph", "--summary", "-S", "--detailed-summary", "-D", "--report", "--unlock", "--list-target-rules", "--lt",
    "--list-params-changes", "--list-code-changes", "--list-input-changes", "--list-untracked",
}  # fmt: skip
DRY = {"-n", "--dry-run", "--dryrun"}
VERBOSE = ("-v", "--verbose")
ORPHANS = """The run before this one was killed; jobs of it may still be queued. Look with `squeue --me`, end them with `scancel`.
Where one is at work on an output of this run, the new job waits for it."""
INTERRUPTS: list[tuple[int, float]] = []  # signals that asked this run to stop, and when


def main(argv: Sequence[str]) -> int:
    """Pass the words on to the right place."""
    here = Path(os.environ.pop("HIMAP_CALLED_FROM", os.getcwd()))  # where the user is; ./reproduce has left it
    words = [word for word in argv if word not in VERBOSE]
    own_words = len(words) < len(argv)
    os.chdir(ROOT)
    words = arranged(words, here)
    if words in (["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0
    if "--version" in words:
        print(versions())
        return 0
    if words and words[0] in TOOLS:
        return subprocess.call([sys.executable, "-m", TOOLS[words[0]], *words[1:]])
    if words and words[0] == "report" and not WATCHING & set(words):
        return subprocess.call([sys.executable, "workflow_scripts/render_report.py", *words[1:]])
    if not {"-h", "--help"} & set(words):
        check(words)
    command = [sys.executable, "-m", "snakemake", *words, *defaults(words)]
    dry = DRY & set(words) or has_letter(words, "n")
    looking = WATCHING & {word.split("=")[0] for word in words}
    if not own_words and not option_given(words, "--logger", "--quiet", "-q") and (dry or not looking):
        command += ["--logger", "himap"]
    if looking or dry:
        return subprocess.call(command, env=child_environment())
    return run_alone(command, words)


def child_environment() -> dict[str, str]:
    """This process's environment, with the scripts' folder on the module path, where Snakemake finds the logger plugin."""
    paths = [str(ROOT / "workflow_scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def option_given(words: Sequence[str], *names: str) -> bool:
    """Whether an option is on the command line, with or without a value."""
    return any(word.partition("=")[0] in names for word in words)


def defaults(words: Sequence[str]) -> list[str]:
    """The local profile with this machine's GPUs, unless another way of running is named."""
    if not is_local(words):
        return []
    from himap.workflow.jobs.gpus import visible_count

    gpus = 0 if option(words, "--resources", "--res") else visible_count()
    profile = [] if option(words, "--profile") else ["--profile", "profiles/local"]
    return [*(["--resources", f"gpu={gpus}"] if gpus else []), *profile]


def run_alone(command: list[str], words: Sequence[str]) -> int:
    """Run Snakemake under a lock that the system frees however this ends; afterwards say what came out."""
    from himap.files import write_text
    from himap.workflow.checksums import warn_of_other_versions
    from himap.workflow.jobs.gpus import warn_without_gpu
    from himap.workflow.jobs.sole_writer import RUN

    if obstacle := unwritable(STATE, "Make room, or mend it"):
        print(obstacle, file=sys.stderr)
        return 1
    with LOCK.open("a+") as lock:
        if not taken(lock):
            lock.seek(0)
            print(
                f"Another run is at work in {ROOT} ({lock.read().strip() or 'just starting'}).\n"
                "Nothing was changed. Wait for it, or look at it with: ./reproduce status",
                file=sys.stderr,
            )
            return 1
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        lock.flush()
        if MARK.exists():  # an earlier run of ours was killed: what it locked is nobody's now
            if not is_local(shlex.split(MARK.read_text(encoding="utf-8"))):
                print(ORPHANS, file=sys.stderr, flush=True)
            unlock = [*command, "--unlock", "--quiet"]
            subprocess.run(unlock, env=child_environment(), capture_output=True, check=False)
        if obstacle := unwritable(ROOT / results_folder(words)):
            print(obstacle, file=sys.stderr)
            return 1
        if is_local(words):
            warn_without_gpu(settings(words))
        altered = set_altered_aside(words)
        warn_of_other_versions(ROOT / results_folder(words))
        number = time.time_ns()
        write_text(LATEST, str(number))
        write_text(MARK, shlex.join(words))
        started = time.time()
        status = 1
        try:
            with warm_server(words) as (environment, held):
                handed_on = [lock.fileno(), *held], {**environment, RUN: f"{LATEST}:{number}"}
                if not (stopped := make_lost(command, words, altered, *handed_on)):
                    status = call(command, *handed_on)
                status = stopped or status
            MARK.unlink(missing_ok=True)
            set_altered_aside(words)
        finally:
            status = after(status, started, words)
    return status


def make_lost(
    command: list[str], words: Sequence[str], altered: list[str], held: list[int], environment: dict[str, str]
) -> int:
    """Make the results first that are gone although their products are there; return a status if this was stopped.

    Those that come out the same get their old times, so that Snakemake then leaves their products alone.
    """
    from himap.workflow.checksums import distrust, lost
    from himap.workflow.status import missing

    if gone := set(lost(ROOT)):
        asked = subprocess.run([*command, "--summary"], text=True, capture_output=True, check=False)
        if files := sorted(gone & missing(asked.stdout)):
            print(f"{len(files)} results that others were made from are missing; they are made first", file=sys.stderr)
            status = call([*command, "--until", *files], held, environment)
            if status > 128:
                return status
            altered = [*altered, *set_altered_aside(words)]
        distrust(ROOT, altered)
    return 0


def set_altered_aside(words: Sequence[str]) -> list[str]:
    """Look at all results' checksums; those that are not what their jobs wrote are set aside, and returned."""
    from himap.workflow.checksums import ALWAYS_READ_MB, check

    try:
        bound = int(settings(words)["execution"]["checksums_up_to_mb"])
    except (OSError, ValueError, KeyError, TypeError):  # a wrong config is Snakemake's to refuse
        bound = ALWAYS_READ_MB
    altered = check(ROOT, bound)
    for output in altered:
        print(
            f"{output}: not what its job wrote (checksum), altered or written by another job since;"
            " now in .snakemake/altered, to be made again",
            file=sys.stderr,
            flush=True,
        )
    return altered


def unwritable(folder: Path, advice: str = "Make room, mend it, or set `output` to another folder") -> str | None:
    """Why nothing can be written to a folder and what helps, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as file:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror}); nothing was run. {advice}"
    return None


def taken(lock: IO[str], patience: float = 2.0) -> bool:
    """Take the lock if it is free; a run that was just killed may still be on its way out."""
    from himap.locks import try_lock

    until = time.monotonic() + patience
    while True:
        if try_lock(lock):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


@contextmanager
def warm_server(words: Sequence[str]) -> Iterator[tuple[dict[str, str], list[int]]]:
    """On this machine alone: a process from which jobs are forked with the large libraries already imported.

    Yields the environment that tells jobs of it, and the files that Snakemake holds open so that it lives as long.
    """
    if not is_local(words) or not can_preload():
        yield child_environment(), []
        return
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "workflow_scripts/preloaded.py", "--serve", SOCKET]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **single}) as server:
        assert server.stdin is not None
        yield {**child_environment(), "HIMAP_WARM": f"{SOCKET}:{sys.prefix}"}, [server.stdin.fileno()]


def can_preload() -> bool:
    """Return whether jobs may be forked from a process that has imported torch."""
    # macOS: its frameworks start threads at import, and a child forked after that may crash or hang.
    return sys.platform != "darwin" and hasattr(os, "pidfd_open")


def call(command: list[str], held: list[int], environment: dict[str, str]) -> int:
    """Run Snakemake; it holds the lock too, so that a second start is refused even if only this process dies.

    A run that a signal ended has the status 128 + signal, as a shell would say it, whatever Snakemake makes of it.
    """
    INTERRUPTS.clear()
    with subprocess.Popen(command, pass_fds=held, env=environment) as process:

        def note(number: int, _: object) -> None:
            INTERRUPTS.append((number, time.time()))
            if number == signal.SIGTERM:  # a terminal sends an interrupt to both
                process.send_signal(number)

        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGTERM, note)
        status = process.wait()
    return 128 + INTERRUPTS[0][0] if status and INTERRUPTS else status


def after(status: int, started: float, words: Sequence[str]) -> int:
    """The last lines: where the files are, how to go on, or which jobs failed and why."""
    from himap.workflow import last_words

    again = last_words.again(words)
    if status == 0:
        tell_places(words, started)
    elif INTERRUPTS:
        print("\n" + last_words.interruption(*INTERRUPTS[0], STATE, started, ROOT, again), file=sys.stderr)
    else:
        print("\n" + last_words.failure(STATE, started, ROOT, again), file=sys.stderr)
    return status


def tell_places(words: Sequence[str], started: float) -> None:
    """Where the files of the named targets are, and the report."""
    from himap.workflow.last_words import places

    lines = places(words, targets(words), ROOT, started)
    report = ROOT / results_folder(words) / "report.html"
    fresh = report.is_file() and report.stat().st_mtime >= started
    if fresh:
        archive = report.with_suffix(".zip")
        snakemakes_own_report(archive, words)
        lines.append(f"Snakemake's own report, with code and run times, is at {archive}")
    if report.is_file() and (fresh or not lines):
        lines.append(f"The report is at {report}{'' if fresh else ' (written by an earlier run)'}")
    if lines:
        print("\n" + "\n".join(lines), file=sys.stderr)


def targets(words: Sequence[str]) -> dict[str, list[str]]:
    """The files of each table, figure and group of them under the config on the command line."""
    from himap.workflow.config.load import load
    from himap.workflow.plan import targets as named
    from himap.workflow.plan.plan import Plan

    try:
        return named.targets(Plan(load(settings(words))))
    except (OSError, ValueError):  # the run went well: at most the names stay without their files
        return {}


def snakemakes_own_report(archive: Path, words: Sequence[str]) -> None:
    """All figures and tables with captions, labels, code, parameters and run times, as Snakemake collects them."""
    command = [sys.executable, "-m", "snakemake", *words, "--report", str(archive.relative_to(ROOT)), "--quiet"]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"Snakemake could not write its own report:\n{done.stdout[-2000:]}", file=sys.stderr)


if __name__ == "__main__":
    from himap.workflow.jobs.script import run

    run(lambda _: main(sys.argv[1:]))
