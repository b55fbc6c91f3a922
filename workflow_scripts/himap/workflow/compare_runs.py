"""Compare two runs: cells with a paired test where the samples are the same, verdicts, settings, code, libraries, revisions.

    ./reproduce compare results ../other/results
    ./reproduce compare before.zip after.zip --fail-on-change

A run is a results folder, or an archive that `./reproduce pack` wrote. The comparison is printed, and written as a page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from himap.files import write_text
from himap.workflow.command_line import typed_path
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> int:
    """Open both runs, print and write what differs; return 1 if a result changed and that was asked for."""
    parser = argparse.ArgumentParser(
        prog="./reproduce compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs=2, metavar="RUN", help="a results folder or an archive; the second minus the first"
    )
    parser.add_argument("--out", default="comparison.html", metavar="FILE", help="the page (%(default)s)")
    parser.add_argument(
        "--fail-on-change", action="store_true", help="exit with 1 if an answer, a score, a cost or a verdict changed"
    )
    arguments = parser.parse_args(argv)
    from himap.comparison import page
    from himap.comparison.differences import differences
    from himap.comparison.runs import opened
    from himap.comparison.texts import as_text

    # Paths as seen from the user's folder to open, and as typed to name the runs on the page.
    (first, second), (a, b) = map(typed_path, arguments.runs), arguments.runs
    with opened(first, a) as before, opened(second, b) as after:
        changes = differences(before, after)
    out = typed_path(arguments.out)
    write_text(out, page.render(changes))
    print(f"{as_text(changes)}\n\n{out} written")
    # Other libraries or another commit are listed, but are no change of a result.
    return int(arguments.fail_on_change and changes.is_changed)


if __name__ == "__main__":
    run(main)
