"""Bring one benchmark from the hub, or from a local copy, into samples.parquet and a manifest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from himap import benchmarks
from himap.workflow.jobs import script


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--benchmark", required=True, choices=benchmarks.names())
    place = options.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--from-hub",
        action="store_true",
        help="fetch from the Hugging Face hub (HF_HUB_OFFLINE=1: from its cache alone)",
    )
    place.add_argument(
        "--from-path", type=Path, help="a Parquet file, a folder of them, one made by save_to_disk, or a hub cache"
    )
    options.add_argument("--id", help="dataset id on the hub, if not the declared one")
    options.add_argument("--config", help="dataset config, if not the declared one")
    options.add_argument("--split", help="split, if not the declared one")
    options.add_argument("--revision", help="commit, tag or branch, if not the declared one")
    options.add_argument(
        "--limit", type=int, help="take this many samples (images for MME, questions for MMBench), by --seed"
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--protocol", default="{}", metavar="JSON", help='options that decide the rows, e.g. {"version": "llava"}'
    )
    options.add_argument("--out", type=Path, required=True, help="samples.parquet")
    options.add_argument("--manifest", type=Path, required=True, help="manifest.json")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Find the files, check and convert their rows, write both outputs."""
    arguments = parser().parse_args(argv)
    from himap.benchmarks.samples.prepare import prepare
    from himap.benchmarks.samples.source import from_hub, from_path

    benchmark = benchmarks.get(arguments.benchmark)
    given = {
        "hub_id": arguments.id,
        "config": arguments.config,
        "split": arguments.split,
        "revision": arguments.revision,
    }
    protocol = json.loads(arguments.protocol)
    # What the config names replaces the declared place; columns stay as declared.
    source = replace(
        benchmark.source_of(protocol), **{name: value for name, value in given.items() if value is not None}
    )
    # Where the files lie; a download is only made for the hub.
    found = from_hub(source) if arguments.from_hub else from_path(arguments.from_path, source)
    facts = prepare(
        benchmark, source, found, arguments.out, arguments.manifest, arguments.limit, arguments.seed, protocol
    )
    print(
        f"{benchmark.name}: {facts['rows']} of {facts['subset']['n_total']} samples "
        f"with {facts['images']} images in {arguments.out}"
    )


if __name__ == "__main__":
    script.run(main)
