"""Draw one figure from its numbers: SVG, PDF and PNG."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the CSV, ask the figure for its panels, draw them in three forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="a file of himap/figures, as figure3")
    parser.add_argument("--data", required=True, metavar="FILE", help="the figure's CSV")
    parser.add_argument(
        "--style", default="{}", metavar="JSON", help="width, height, columns, palette, style, dpi, note"
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="the figure's path without its ending")
    arguments = parser.parse_args(argv)

    import pandas as pd
    from himap import figures
    from himap.figures._matplotlib import draw

    # The CSV alone, so that a new style or drawing needs no result again.
    panels = figures.get(arguments.figure).panels(pd.read_csv(arguments.data))
    draw(panels, json.loads(arguments.style), arguments.out)


if __name__ == "__main__":
    run(main)
