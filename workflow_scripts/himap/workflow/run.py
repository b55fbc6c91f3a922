"""What ./reproduce runs: Snakemake with this project's defaults, one run at a time, and a summary at the end.

    ./reproduce                          everything of config.yaml, then the report
    ./reproduce table1 figure4           only these
    ./reproduce -n                       what would be done, and why
    ./reproduce report                   the report page from the results that exist
    ./reproduce estimate [--configfile]  jobs, GPU hours, downloads and disk, before anything runs
    ./reproduce status [--configfile]    what is done, waiting, failed
    ./reproduce inspect PICTURE QUESTION one page about one prompt: heat maps, flows, answers, cuts
    ./reproduce compare RUN_A RUN_B      what differs between two results folders or packed runs
    ./reproduce pack [--configfile]      a run as one archive that others can compare with theirs
    ./reproduce check [--configfile] [--profile] [--try]   whether sources, disk, memory, cluster and judge are ready
    ./reproduce --version                this project's version and Snakemake's

All other words go to Snakemake, e.g. --configfile presets/paper.yaml --profile profiles/slurm. Targets may come before
or after options. A config file is looked for in the current folder, then in the project.
-v (--verbose) shows Snakemake's own output in place of one line for each finished job.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from himap.project import ROOT
from himap.workflow.command_line import (
    CALLED_FROM,
    OWN_WORDS,
    TARGETS,
    TOOLS,
    arranged,
    check,
    has_letter,
    is_local,
    option,
    targets,
    versions,
)
from himap.workflow.snakemake_process import environment

LOOKING = {  # options with which Snakemake runs no job
    "-n", "--dry-run", "--dryrun", "-h", "--help", "--version", "--lint", "-l", "--list-rules", "--list", "--rulegraph", "--dag",
    "--filegraph", "--summary", "-S", "--detailed-summary", "-D", "--report", "--unlock", "--list-target-rules", "--lt",
    "--list-params-changes", "--list-code-changes", "--list-input-changes", "--list-untracked",
}  # fmt: skip
DRY = {"-n", "--dry-run", "--dryrun"}
VERBOSE = ("-v", "--verbose")


def main(argv: Sequence[str]) -> int:
    """Pass the words of the command line on to the right program and return its status."""
    here = Path(os.environ.pop(CALLED_FROM, os.getcwd()))  # ./reproduce has changed the folder by now
    os.chdir(ROOT)
    if argv and argv[0] in OWN_WORDS:  # their words are no targets, and their paths are seen from the user's folder
        return subprocess.call(
            [sys.executable, "-m", TOOLS[argv[0]], *argv[1:]], env={**os.environ, CALLED_FROM: str(here)}
        )
    words = arranged([word for word in argv if word not in VERBOSE], here)
    if words in (["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0
    if "--version" in words:
        print(versions())
        return 0
    if words and words[0] in TOOLS:
        return subprocess.call([sys.executable, "-m", TOOLS[words[0]], *words[1:]])
    looking = bool(LOOKING & {word.split("=")[0] for word in words})
    # Not the rule `report`, which would first make everything that the page shows.
    if words and words[0] == "report" and not looking:
        return subprocess.call([sys.executable, "workflow_scripts/render_report.py", *words[1:]])
    return snakemake(words, looking, verbose=bool(set(VERBOSE) & set(argv)))


def snakemake(words: Sequence[str], looking: bool, verbose: bool) -> int:
    """Call Snakemake: at once if it only looks, else under the lock of a run."""
    if not {"-h", "--help"} & set(words):
        check(words)
    command = [sys.executable, "-m", "snakemake", *words, *defaults(words)]
    os.environ[TARGETS] = shlex.join(targets(words))
    # `-n` may be one letter of a bundle, as -np.
    dry = bool(DRY & set(words)) or has_letter(words, "n")
    quiet = any(word.partition("=")[0] in ("--logger", "--quiet", "-q") for word in words)
    # A dry run is explained by our view too; lists such as --summary are Snakemake's own output.
    if not verbose and not quiet and (dry or not looking):
        command += ["--logger", "himap"]
    if looking or dry:
        return subprocess.call(command, env=environment())
    from himap.workflow.exclusive_run import run_alone  # reads half of the house, which looking does not need

    return run_alone(command, words)


def defaults(words: Sequence[str]) -> list[str]:
    """Return the local profile with this machine's GPUs, unless the words name another way of running."""
    if not is_local(words):
        return []
    from himap.workflow.jobs.gpus import visible_count

    # Jobs ask for the resource `gpu`; without a limit Snakemake would start any number of them at once.
    gpus = 0 if option(words, "--resources", "--res") else visible_count()
    profile = [] if option(words, "--profile") else ["--profile", "profiles/local"]
    return [*(["--resources", f"gpu={gpus}"] if gpus else []), *profile]


if __name__ == "__main__":
    from himap.workflow.jobs.script import run

    run(lambda _: main(sys.argv[1:]))
