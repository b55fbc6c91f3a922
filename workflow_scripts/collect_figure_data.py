"""Collect the numbers of one figure from the results, as one CSV."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from himap.files import write_text
from himap.paths import Paths
from himap.workflow.jobs.journal import forget
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Call the figure's `numbers` and write what it returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="a file of himap/figures, as figure3")
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="what the plan tells the figure: models, benchmarks, titles"
    )
    parser.add_argument("--results", required=True, metavar="DIR", help="folder of all results")
    parser.add_argument("--out", required=True, metavar="FILE", help="the CSV")
    arguments = parser.parse_args(argv)
    settings = json.loads(arguments.settings)

    # After the command line, so that --help does not import pandas.
    from himap import figures

    frame = figures.get(arguments.figure).numbers(settings, arguments.results)
    write_text(arguments.out, frame.to_csv(index=False, float_format="%.6g"))
    for model, task in settings.get("cells", []):  # of an open question, whose jobs Snakemake has noted as finished
        forget(Paths(arguments.results).question(model, task, arguments.figure))


if __name__ == "__main__":
    run(main)
