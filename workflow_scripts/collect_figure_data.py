"""Collect the numbers of one figure from the results into one CSV."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from himap.files import write_text
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Call the figure's function and write the table that it returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="figure3 ... figure8, frontier, ablations")
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="models, benchmarks and titles, as the plan gives them"
    )
    parser.add_argument("--results", required=True, metavar="DIR", help="folder of all results")
    parser.add_argument("--out", required=True, metavar="FILE", help="the CSV")
    arguments = parser.parse_args(argv)
    settings = json.loads(arguments.settings)

    from himap import figure_data

    frame = getattr(figure_data, arguments.figure)(settings, arguments.results)
    write_text(arguments.out, frame.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    run(main)
