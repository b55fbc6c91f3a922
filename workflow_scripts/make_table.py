"""Make one table from the scores and costs of its cells: CSV, LaTeX, Markdown and HTML."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from himap.files import write_text
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the records, and write the table in four formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="rows, columns and titles, as the plan gives them"
    )
    parser.add_argument("--results", required=True, metavar="DIR", help="folder of all results")
    parser.add_argument("--out", required=True, metavar="PATH", help="the table's path without a file extension")
    arguments = parser.parse_args(argv)
    settings = json.loads(arguments.settings)

    from himap.tables.forms import forms
    from himap.tables.records import records
    from himap.tables.rivals import with_measures

    frame = records(settings, arguments.results)
    # Only tables with budgets show equal answers, hard samples and kept evidence, for which all answers are read.
    if "budgets" in settings:
        frame = with_measures(frame, settings, arguments.results)
    for extension, text in forms(frame, settings).items():
        write_text(f"{arguments.out}.{extension}", text)


if __name__ == "__main__":
    run(main)
