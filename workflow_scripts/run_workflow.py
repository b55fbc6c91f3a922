"""What ./reproduce runs: Snakemake with this project's defaults, one run at a time, and a summary at the end.

    ./reproduce                          everything of config.yaml, then the report
    ./reproduce table1 figure4           these alone
    ./reproduce -n                       what is to be done
    ./reproduce report                   the report page from what is there
    ./reproduce estimate [--configfile]  jobs, GPU hours, downloads and disk, before anything runs
    ./reproduce status [--configfile]    what is done, waiting, failed

Any further words go to Snakemake, e.g. --configfile presets/paper.yaml --profile profiles/slurm.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".snakemake"
LOCK, MARK, LATEST = STATE / "reproduce.lock", STATE / "reproduce.running", STATE / "reproduce.latest"
WATCHING = {
    "-n", "--dry-run", "--dryrun", "-h", "--help", "-v", "--version", "--lint", "-l", "--list-rules", "--list", "--rulegraph", "--dag",
    "--filegraph", "--summary", "-S", "--detailed-summary", "-D", "--report", "--unlock", "--list-target-rules", "--lt",
    "--list-params-changes", "--list-code-changes", "--list-input-changes", "--list-untracked",
}  # fmt: skip
ORPHANS = """The run before this one was killed; jobs of it may still be queued. Look with `squeue --me`, end them with `scancel`.
Where one is at work on an output of this run, the new job waits for it."""
TOOLS = {"estimate": "estimate_costs.py", "status": "show_status.py"}


def main(argv: Sequence[str]) -> int:
    """Pass the words on to the right place."""
    words = list(argv)
    os.chdir(ROOT)
    if words in (["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0
    if words and words[0] in TOOLS:
        return subprocess.call([sys.executable, f"workflow_scripts/{TOOLS[words[0]]}", *words[1:]])
    if words and words[0] == "report" and not WATCHING & set(words):
        return subprocess.call([sys.executable, "workflow_scripts/render_report.py", *words[1:]])
    command = [sys.executable, "-m", "snakemake", *defaults(words), *words]
    if WATCHING & {word.split("=")[0] for word in words} or has_letter(words, "n"):
        return subprocess.call(command)
    return run_alone(command, words)


def defaults(words: Sequence[str]) -> list[str]:
    """The local profile with this machine's GPUs, unless another way of running is named."""
    if not is_local(words):
        return []
    gpus = 0 if option(words, "--resources", "--res") else gpu_count()
    profile = [] if option(words, "--profile") else ["--profile", "profiles/local"]
    return [*(["--resources", f"gpu={gpus}"] if gpus else []), *profile]


def is_local(words: Sequence[str]) -> bool:
    """Whether the jobs run on this machine by this project's own profile."""
    named = option(words, "--profile")
    return not option(words, "--executor", "-e") and (not named or Path(named[0]) == Path("profiles/local"))


def option(words: Sequence[str], *names: str) -> list[str]:
    """The words that follow an option on the command line, wherever it is given."""
    values, taking = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            taking = name in names and not equals
            values += [value] if name in names and equals else []
        elif taking:
            values.append(word)
    return values


def gpu_count() -> int:
    """GPUs that jobs on this machine may share out among themselves."""
    from himap.devices import VISIBLE, candidates

    visible = os.environ.get(VISIBLE)
    return len(candidates()) if visible is None else len([one for one in visible.split(",") if one.strip()])


def has_letter(words: Sequence[str], letter: str) -> bool:
    """Whether a bundle of short options (-np) holds a letter."""
    return any(re.fullmatch(rf"-[a-zA-Z]*{letter}[a-zA-Z]*", word) for word in words)


def run_alone(command: list[str], words: Sequence[str]) -> int:
    """Run Snakemake under a lock that the system frees however this ends; afterwards say what came out."""
    from himap.files import write_text
    from himap.journal import RUN

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
            subprocess.run(
                [*command, "--unlock", "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )
        if obstacle := unwritable(ROOT / results_folder(words)):
            print(obstacle, file=sys.stderr)
            return 1
        altered = set_altered_aside(words)
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
    from himap.integrity import distrust, lost
    from himap.status import missing

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
    from himap.integrity import ALWAYS_READ_MB, check

    try:
        bound = int(read_config(words)["execution"]["checksums_up_to_mb"])
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
    from himap.journal import try_lock

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
    if not is_local(words) or not hasattr(os, "pidfd_open"):
        yield dict(os.environ), []
        return
    with tempfile.TemporaryDirectory(prefix="himap-") as folder:
        place = f"{folder}/socket"
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "workflow_scripts/warm.py", "--serve", place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **single}) as server:
            assert server.stdin is not None
            yield {**os.environ, "HIMAP_WARM": f"{place}:{sys.prefix}"}, [server.stdin.fileno()]


def call(command: list[str], held: list[int], environment: dict[str, str]) -> int:
    """Run Snakemake; it holds the lock too, so that a second start is refused even if only this process dies."""
    stops: list[int] = []
    with subprocess.Popen(command, pass_fds=held, env=environment) as process:

        def stop(number: int, _: object) -> None:
            stops.append(number)
            if number == signal.SIGTERM:  # a terminal sends an interrupt to both
                process.send_signal(number)

        signal.signal(signal.SIGINT, stop)  # not SIG_IGN, which the next process would inherit
        signal.signal(signal.SIGTERM, stop)
        status = process.wait()
    return 128 + stops[0] if stops and status else status


def after(status: int, started: float, words: Sequence[str]) -> int:
    """The last lines: where the report is, or which jobs failed, why, and what to do next."""
    if status == 0:
        report = ROOT / results_folder(words) / "report.html"
        fresh = report.is_file() and report.stat().st_mtime >= started
        if fresh:
            archive = report.with_suffix(".zip")
            snakemakes_own_report(archive, words)
            print(f"\nSnakemake's own report, with code and run times, is at {archive}", file=sys.stderr)
        if report.is_file():
            print(f"The report is at {report}{'' if fresh else ' (written by an earlier run)'}", file=sys.stderr)
        return 0
    from himap.status import failures, latest_log, logs, summary

    again = shlex.join(["./reproduce", *words])
    if failed := failures(latest_log(STATE, started - 1)):
        print("\n" + summary(failed, ROOT, again), file=sys.stderr)
    else:
        said = next(iter(logs(STATE, started - 1)), "above")
        print(
            f"\nThe run ended early, and not at a job; the reason: {said}\nMend it and start again:\n  {again}",
            file=sys.stderr,
        )
    return status


def snakemakes_own_report(archive: Path, words: Sequence[str]) -> None:
    """All figures and tables with captions, labels, code, parameters and run times, as Snakemake collects them."""
    command = [sys.executable, "-m", "snakemake", *words, "--report", str(archive.relative_to(ROOT)), "--quiet"]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"Snakemake could not write its own report:\n{done.stdout[-2000:]}", file=sys.stderr)


def results_folder(words: Sequence[str]) -> str:
    """The output folder that was named, in the words or in their config."""
    said = [
        value
        for name, equals, value in (word.partition("=") for word in option(words, "--config", "-C"))
        if name == "output"
    ]
    if said:
        return said[-1]
    try:
        return str(read_config(words).get("output", "results"))
    except (OSError, ValueError):
        return "results"


def read_config(words: Sequence[str]) -> dict[str, Any]:
    """The config files named on the command line, laid over each other as Snakemake does, or config.yaml."""
    import yaml

    merged: dict[str, Any] = {}
    for file in option(words, "--configfile", "--configfiles") or ["config.yaml"]:
        lay_over(merged, yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {})
    return merged


def lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Put one mapping over another, key by key."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            lay_over(below[key], value)
        else:
            below[key] = value


if __name__ == "__main__":
    from himap.scripting import run

    run(lambda _: main(sys.argv[1:]))
