"""Draw one figure from its numbers: SVG, PDF and PNG."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the CSV, draw the figure, save it in three formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="figure3 ... figure8, frontier, ablations")
    parser.add_argument("--data", required=True, metavar="FILE", help="the figure's CSV")
    parser.add_argument("--style", default="{}", metavar="JSON", help="width, height, palette, style, dpi, note")
    parser.add_argument("--out", required=True, metavar="PATH", help="the figure's path without a file extension")
    arguments = parser.parse_args(argv)

    import pandas as pd
    from himap import plots
    from himap.drawing import saved, styled

    style = json.loads(arguments.style)
    with styled(style) as look:
        saved(getattr(plots, arguments.figure)(pd.read_csv(arguments.data), look), arguments.out, look)


if __name__ == "__main__":
    run(main)
