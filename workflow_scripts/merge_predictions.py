"""Merge the shards of an evaluation in the order of the samples, and delete their journals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from himap.files import write_jsonl
from himap.workflow.jobs.journal import forget
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Read all shards, check that no sample is in two of them, write the merged file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="in their order, 0 first")
    arguments = parser.parse_args(argv)
    parts = [read(Path(shard)) for shard in arguments.shards]
    # Samples were dealt to the shards in turns, so taking one row from each in turns restores their order.
    rows = [row for turn in zip_longest(*parts) for row in turn if row is not None]
    seen: set[str] = set()
    for row in rows:
        if row["sample_id"] in seen:
            raise ValueError(f"{arguments.out}: sample {row['sample_id']!r} is in two shards; make the shards again")
        seen.add(row["sample_id"])
    write_jsonl(arguments.out, rows)
    for shard in arguments.shards:
        forget(shard)


def read(path: Path) -> list[dict]:
    """Return the rows of a shard. Raise ValueError with the line that is not JSON."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not valid JSON ({error}); delete the file and make it again"
            ) from error
    return rows


if __name__ == "__main__":
    run(main)
