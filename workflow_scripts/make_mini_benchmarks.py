"""Draw the small counterparts of the benchmarks as Parquet files with the columns of the published sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from himap.mini import benchmarks
from himap.workflow.jobs import script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder for all files, or FILE.parquet for one benchmark"
    )
    parser.add_argument(
        "--benchmarks", "--benchmark", default=",".join(benchmarks.names()), help="names, separated by commas"
    )
    parser.add_argument("--split", choices=("test", "validation", "train"), default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--samples", "--limit", type=int, help="rows (images for MME) per benchmark instead of the usual number"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write one file per benchmark."""
    args = parse(argv)
    names = [name for name in args.benchmarks.split(",") if name]
    if args.out.suffix == ".parquet" and len(names) != 1:
        raise ValueError(f"--out {args.out} is one file but {len(names)} benchmarks were asked for; name a folder")
    for name in names:
        # FILE.parquet is what the workflow asks for, a folder is for use by hand.
        path = args.out if args.out.suffix == ".parquet" else args.out / f"{name}.parquet"
        rows = benchmarks.write(name, path, args.split, args.seed, args.samples)
        print(f"{path}: {rows} rows")
    return 0


if __name__ == "__main__":
    script.run(main)
