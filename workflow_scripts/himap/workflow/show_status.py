"""Show what is done, running, failed and waiting: ./reproduce status [--configfile FILE …]."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from himap.project import ROOT
from himap.workflow.jobs.script import run

STATE = ROOT / ".snakemake"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask Snakemake what is up to date, read its notes, print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", nargs="+", metavar="FILE", default=[], help="as given to ./reproduce")
    arguments = parser.parse_args(argv)
    from himap.notes import INCOMPLETE, notes
    from himap.workflow.command_line import DEFAULT_CONFIG
    from himap.workflow.config.load import load
    from himap.workflow.plan.history import History
    from himap.workflow.plan.plan import Plan
    from himap.workflow.plan.targets import jobs, products
    from himap.workflow.status import is_held, report, standing
    from himap.yaml_files import read_config

    named = ["--configfile", *arguments.configfile] if arguments.configfile else []
    files = arguments.configfile or [DEFAULT_CONFIG]
    # While a run is under way its own passes count, as for its jobs; else they are worked out as for the next run.
    history = History(STATE, in_run=is_held(STATE / "reproduce.lock"))
    plan = Plan(load(read_config(files), ", ".join(files)), history)
    known = {*products(plan, jobs(plan)), plan.paths.report}
    marked = [output for output, _ in notes(STATE / INCOMPLETE)]  # which a summary would count as done
    unfinished = [output for output in marked if output in known]  # others are of another config
    # --summary ignores the marks of unfinished files, so these are named to it.
    again = ["--forcerun", *unfinished] if unfinished else []
    command = [sys.executable, "-m", "snakemake", "--summary", "--nolock", *again, *named]
    # --nolock, since the question may be asked while a run holds the lock.
    summary = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if summary.returncode:
        raise ValueError(f"Snakemake cannot read the workflow: {summary.stderr.strip()[-800:]}")
    print(report(plan, ROOT, standing(ROOT, summary.stdout)))


if __name__ == "__main__":
    run(main)
