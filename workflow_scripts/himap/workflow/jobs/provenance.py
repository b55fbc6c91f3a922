"""What made a result, written beside it."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import sha256, write_json
from himap.project import ROOT
from himap.workflow.jobs.model_script import KINDS, library_versions

if TYPE_CHECKING:
    from himap.models.model import Model


def job_key(arguments: argparse.Namespace, *scripts: str, ignore: Iterable[str] = ("device",)) -> str:
    """Hash all that decides a job's results: arguments, the samples' bytes, the model's files, the code. `ignore` names the others."""
    from himap.workflow.plan.code_hash import code_version

    # `out` is where the result goes, not what it is.
    stated = {key: value for key, value in vars(arguments).items() if key not in (*ignore, "out")}
    model = Path(arguments.model)
    files = sorted(p for p in model.iterdir() if p.suffix in KINDS) if model.is_dir() else []
    # A file of 16 MB and more is known by size and time: hashing weights of many GB at each start would take minutes.
    prints = [
        (p.name, sha256(p) if p.stat().st_size < 1 << 24 else [p.stat().st_size, p.stat().st_mtime_ns]) for p in files
    ]
    families = [
        f"himap.models.families.{path.stem}"
        for path in sorted((ROOT / "workflow_scripts/himap/models/families").glob("[!_]*.py"))
    ]
    # All families, since no script names the one that loads; an edit of another only costs the answers of a killed job.
    whole = [stated, prints, sha256(arguments.samples), code_version(*scripts, *families)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def provenance_file(out: str | Path) -> Path:
    """Return where a result's provenance lies."""
    return Path(f"{out}.provenance.json")


def write_provenance(out: str | Path, model: Model, arguments: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Write what made a result beside it, as <out>.provenance.json."""
    import torch

    cuda = model.device.type == "cuda"
    write_json(
        provenance_file(out),
        {
            "script": Path(sys.argv[0]).name,
            "model": {
                "name": model.name,
                # The job that times random weights has neither a checkpoint nor samples.
                "source": getattr(arguments, "model", "random weights"),
                "revision": model.revision,
            },
            "samples": getattr(arguments, "samples", None),
            "settings": dict(settings),
            "gpus_visible": torch.cuda.device_count(),
            "device": torch.cuda.get_device_name(model.device) if cuda else f"cpu ({platform.machine()})",
            "versions": {"python": platform.python_version(), **library_versions()},
        },
    )
