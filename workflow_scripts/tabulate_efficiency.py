"""Make the table of measured time and memory: CSV, LaTeX, Markdown and HTML."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from himap.files import write_text
from himap.workflow.jobs.model_script import parse_json
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the records, and write the table in four formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="models, benchmarks and methods, as the plan gives them"
    )
    parser.add_argument("--results", required=True, metavar="DIR", help="folder of all results")
    parser.add_argument("--out", required=True, metavar="PATH", help="the table's path without a file extension")
    arguments = parser.parse_args(argv)
    settings = parse_json("settings", arguments.settings)

    from himap.tables.efficiency import forms, records

    for extension, text in forms(records(settings, arguments.results), settings["title"]).items():
        write_text(f"{arguments.out}.{extension}", text)


if __name__ == "__main__":
    run(main)
