"""Convert a published checkpoint of LLaVA-v1.5, InternVL-Chat-V1.0 or Qwen-VL-Chat to safetensors; none of its code runs.

The source is a folder or a hub id. So is the vision tower of the Vicuna models, by default the one that the checkpoint's
config names. After a kill, run it again with the same arguments: it continues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from himap.workflow.jobs.script import run


def main(argv: Sequence[str] | None = None) -> None:
    """Find the checkpoint and its tower, convert them, and print the manifest's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", required=True, metavar="DIR|ID", help="the checkpoint: a folder, or a hub id owner/name"
    )
    parser.add_argument("--revision", help="commit of the source's hub repository")
    parser.add_argument("--tower", metavar="DIR|ID", help="the vision tower (default: the one that the config names)")
    parser.add_argument("--tower-revision", help="commit of the tower's hub repository")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; it appears once it is complete")
    arguments = parser.parse_args(argv)

    from himap.models.checkpoints import snapshot
    from himap.models.conversion.convert import convert
    from himap.models.conversion.layout import carries_tower, default_tower

    directory = snapshot(arguments.source, arguments.revision)
    named = arguments.tower or default_tower(directory)
    # None where the family has its tower among the checkpoint's own weights (Qwen-VL-Chat).
    tower = fetch_tower(named, arguments.tower_revision, carried=carries_tower(directory)) if named else None
    origin = {
        "source": arguments.source, "revision": arguments.revision,
        "tower": named, "tower_revision": arguments.tower_revision,
    }  # fmt: skip
    print(convert(directory, tower, Path(arguments.out), origin=origin))


def fetch_tower(named: str, revision: str | None, *, carried: bool) -> Path:
    """Return the folder of the named vision tower, without weights if only the checkpoint has them."""
    from himap.models.checkpoints import snapshot

    try:
        return snapshot(named, revision)
    except ValueError as error:
        # Without the tower's weights anywhere there is nothing to convert.
        if not carried:
            raise
        print(f"{error}; using the vision tower among the checkpoint's own weights instead", file=sys.stderr)
        return snapshot(named, revision, weights=False)


if __name__ == "__main__":
    run(main)
