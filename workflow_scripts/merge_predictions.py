"""Merge the shards of an evaluation in the order of the samples, and delete their journals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from himap.files import write_jsonl
from himap.workflow.jobs.journal import forget
from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Read all shards, check that each sample is in one of them, write the merged file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", required=True, metavar="FILE", help="samples.parquet, whose order the rows get")
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("shards", nargs="+", metavar="SHARD")
    arguments = parser.parse_args(argv)
    from himap.benchmarks.samples.files import read_samples

    ids = (sample.sample_id for sample in read_samples(arguments.samples, ["sample_id"]))
    write_jsonl(arguments.out, merged(ids, [read(Path(shard)) for shard in arguments.shards], arguments.out))
    # The merged file has what the journals were kept for.
    for shard in arguments.shards:
        forget(shard)


def merged(ids: Iterable[str], shards: Sequence[Iterator[dict[str, Any]]], out: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of all shards in the order of the samples, one row of each in memory at a time.

    Raise ValueError for a sample that no shard has or several have.
    """
    # The next row of each shard by its sample. Every shard is in the order of the samples, so the next one wanted is
    # always a head.
    heads: dict[str, tuple[dict[str, Any], Iterator[dict[str, Any]]]] = {}

    def advance(shard: Iterator[dict[str, Any]]) -> None:
        if (row := next(shard, None)) is not None:
            if row["sample_id"] in heads:
                raise ValueError(f"{out}: sample {row['sample_id']!r} is in two shards; make the shards again")
            heads[row["sample_id"]] = (row, shard)

    for shard in shards:
        advance(shard)
    for name in ids:
        if name not in heads:
            raise ValueError(f"{out}: no shard has sample {name!r} where it belongs; make the shards again")
        row, shard = heads.pop(name)
        yield row
        advance(shard)
    if heads:
        raise ValueError(
            f"{out}: sample {next(iter(heads))!r} is in two shards or is no sample of the file; make the shards again"
        )


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard. Raise ValueError with the line that is not JSON."""
    # Only at line feeds: an answer may hold other characters that end a line.
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not valid JSON ({error}); delete the file and make it again"
                ) from error


if __name__ == "__main__":
    run(main)
