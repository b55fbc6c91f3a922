"""Write the report page from the results folder, its provenance beside it; parts whose results are missing say so."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap.files import write_json, write_text
from himap.notes import STATE, is_being_made
from himap.workflow.checksums import mark_unfinished
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Take the facts of the run from the command line or from the config, and fill the template."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", metavar="JSON", help="the facts of the run, as the workflow gives them (default: from the config)"
    )
    parser.add_argument(
        "--configfile", "--configfiles", nargs="+", default=["config.yaml"], metavar="FILE", help="config of the run"
    )
    parser.add_argument("--results", metavar="DIR", help="folder of all results (default: the config's)")
    parser.add_argument("--out", metavar="FILE", help="the page (default: report.html in that folder)")
    arguments = parser.parse_args(argv)
    # The rule passes the facts that it was compared by; by hand they are worked out from the config.
    if arguments.settings is not None:
        facts, folder = json.loads(arguments.settings), arguments.results or "results"
    else:
        facts, folder = facts_of(arguments.configfile)
        folder = arguments.results or folder
    from himap.report.page import render_page
    from himap.report.verdicts.claims import verdict_groups
    from himap.results import Results
    from himap.workflow.jobs.provenance import provenance_file
    from himap.workflow.run_record import run_record

    out = arguments.out or f"{folder}/report.html"
    results = Results(folder, facts)
    groups = verdict_groups(results)
    write_text(out, render_page(results, groups))
    write_json(provenance_file(out), run_record(facts, groups))
    is_by_hand = arguments.settings is None and arguments.out is None and not is_being_made(out)
    if is_by_hand:  # it may be of a part of the results, so the next run of the workflow has to write it again
        mark_unfinished(STATE, str(Path(out)))
    print(f"{out} written")


def facts_of(files: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the facts of the run that config files describe, and its folder of results."""
    from himap.workflow.config.load import load
    from himap.workflow.plan.plan import Plan
    from himap.workflow.plan.report_settings import report_facts
    from himap.yaml_files import read_config

    plan = Plan(load(read_config(files), ", ".join(files)))
    return report_facts(plan), plan.out


if __name__ == "__main__":
    run(main)
