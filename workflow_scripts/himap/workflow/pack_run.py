"""Pack a run into one archive that others can read and compare with theirs: report, tables, figures, answers, scores,
provenance and config. Samples and models stay where they are; their checksums go along.

    ./reproduce pack
    ./reproduce pack --configfile presets/paper.yaml --out paper-run.zip
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from himap.workflow.command_line import DEFAULT_CONFIG, plan_of, typed_path
from himap.workflow.jobs.script import run

NAME = "himap-run.zip"


def main(argv: Sequence[str] | None = None) -> None:
    """Find the config's results, write the archive, say what is in it and what is missing."""
    parser = argparse.ArgumentParser(
        prog="./reproduce pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[DEFAULT_CONFIG], metavar="FILE")
    parser.add_argument("--out", default=NAME, metavar="FILE", help="the archive (%(default)s)")
    arguments = parser.parse_args(argv)
    from himap.comparison.archive import pack
    from himap.comparison.runs import RECORD
    from himap.files import read_json
    from himap.report.provenance import missing
    from himap.results import Results

    plan = plan_of(arguments.configfile)
    folder, out = Path(plan.out).absolute(), typed_path(arguments.out)
    # Both are written by the report: the page to read, and the record by which two archives are compared.
    for name in ("report.html", RECORD):
        if not (folder / name).is_file():
            named = "".join(
                f" --configfile {' '.join(arguments.configfile)}" if arguments.configfile != [DEFAULT_CONFIG] else ""
            )
            raise ValueError(f"{folder / name} is missing; write it with: ./reproduce report{named}")
    record = read_json(folder / RECORD)
    about = {key: record[key] for key in ("project", "code")}
    # The config as the report saw it, not as the file is now.
    names = pack(folder, out, about, {"config.yaml": record["facts"]["config"]})
    answers = sum(name.endswith("predictions.jsonl") for name in names)
    print(f"{out} written: {len(names)} files, {answers} evaluations, {out.stat().st_size / 1e6:.1f} MB")
    if absent := missing(Results(folder, record["facts"])):
        print(f"Not in it: {len(absent)} evaluations that the config asks for and that are not there yet.")


if __name__ == "__main__":
    run(main)
