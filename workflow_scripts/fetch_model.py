"""Check a checkpoint in a local folder, or download a pinned revision from the hub, and write a manifest of its files."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap.files import read_json, sha256, write_json
from himap.models.checkpoints import weight_files
from himap.models.sizes import read_config
from himap.workflow.jobs.script import run

KINDS = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".tiktoken")


def main(argv: Sequence[str] | None = None) -> None:
    """Find or download the checkpoint, check it, write its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", metavar="DIR", help="folder of a checkpoint")
    source.add_argument("--id", metavar="OWNER/NAME", help="hub id")
    parser.add_argument("--revision", help="commit of the hub repository")
    parser.add_argument(
        "--text-tower", metavar="PLACE", help="CLIP whose text tower methods use: a folder, or OWNER/NAME@COMMIT"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="folder for downloads (default: the hub library's)")
    parser.add_argument("--out", required=True, metavar="FILE", help="manifest to write")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.path) if arguments.path else download(arguments)
    if arguments.text_tower:
        weight_files(text_tower(arguments))  # here, so that no job on a machine without network has to look for it
    write_json(arguments.out, manifest(directory, arguments))


def text_tower(arguments: argparse.Namespace) -> Path:
    """Return the folder of the CLIP whose text tower is used."""
    if Path(arguments.text_tower).is_dir():
        return Path(arguments.text_tower)
    hub_id, _, revision = arguments.text_tower.partition("@")
    return download(argparse.Namespace(id=hub_id, revision=revision, cache_dir=arguments.cache_dir))


def download(arguments: argparse.Namespace) -> Path:
    """Return the folder of a snapshot at a revision; with a lock, since two jobs may need the same one."""
    from filelock import FileLock
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RevisionNotFoundError,
    )

    if not arguments.revision:
        raise ValueError(f"--revision: missing; give the commit of {arguments.id} to which the model is pinned")
    cache = Path(arguments.cache_dir or Path.home() / ".cache" / "himap")
    cache.mkdir(parents=True, exist_ok=True)
    # Data only: code that a repository brings along is neither downloaded nor run.
    patterns = [f"*{kind}" for kind in KINDS]
    try:
        with FileLock(cache / f"{arguments.id.replace('/', '--')}.lock"):
            folder = snapshot_download(
                arguments.id, revision=arguments.revision, cache_dir=arguments.cache_dir, allow_patterns=patterns
            )
    except GatedRepoError as error:
        raise ValueError(f"{arguments.id} is gated: accept its terms on the hub and log in (HF_TOKEN)") from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{arguments.id}: the hub knows no revision {arguments.revision!r} of it") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{arguments.id} at {arguments.revision} could not be downloaded from the hub ({type(error).__name__}); check "
            "id, revision and network, or put the checkpoint into a folder and give it as the model's path"
        ) from error
    return Path(folder)


def manifest(directory: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return every file of the checkpoint with its size and checksum.

    Raise ValueError if a checksum is not the one published on the hub or written at conversion, where either is known.
    """
    config = read_config(directory)
    # Missing files are reported here, before any job waits for a machine. The tensors in them are checked when the model
    # is loaded: only then are its layers and the number format known, and every value is read anyway.
    weight_files(directory)
    files = sorted(path for path in directory.iterdir() if path.suffix in KINDS)
    recorded, entries = checksums_of_conversion(directory), []
    for path in files:
        print(f"checksum of {path.name}", file=sys.stderr)
        checksum, blob = sha256(path), path.resolve()
        # In the hub's cache a large file is a link to a blob whose name is the published SHA-256.
        hub = blob.name if blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name) else None
        # Without a known checksum the file's own is recorded.
        if checksum != (expected := hub or recorded.get(path.name, checksum)):
            where = f"on the hub; delete {blob}" if hub else f"when it was converted; delete {directory}"
            raise ValueError(f"{path}: has the checksum {checksum}, not {expected} as {where} and start again")
        entries.append({"name": path.name, "bytes": path.stat().st_size, "sha256": checksum})
    return {
        "directory": str(directory),
        "id": arguments.id,
        "revision": arguments.revision,
        "model_type": config.get("model_type"),
        "architectures": config.get("architectures"),
        "files": entries,
    }


def checksums_of_conversion(directory: Path) -> dict[str, str]:
    """Return the checksums in the manifest of convert_checkpoint.py; empty for any other folder."""
    content = read_json(directory / "manifest.json") if (directory / "manifest.json").is_file() else {}
    files = content.get("files", []) if isinstance(content, dict) and "layout" in content else []
    return {entry["name"]: entry["sha256"] for entry in files}


if __name__ == "__main__":
    run(main)
