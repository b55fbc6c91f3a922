"""A run to compare: a results folder, or an archive of one, with all that it says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from himap.comparison.archive import unpack
from himap.files import read_json
from himap.report.provenance import sidecar_rows
from himap.results import Results

Cell = tuple[str, str, str]  # model, benchmark, method
RECORD = "report.html.provenance.json"  # what a run says about itself
FORMAT = 1  # of that record
# What of an archive is unpacked. `fnmatch` lets * go over slashes, so that "evaluation/*" is everything below it.
NEEDED = (
    RECORD, "evaluation/*", "models/*/manifest.json", "benchmarks/*/manifest.json", "flops/*", "*.provenance.json",
)  # fmt: skip
UNTOLD = f"not known (no {RECORD})"


@dataclass(frozen=True)
class Run:
    """A run on disk. `about` is its record, empty for a folder whose report has not been written."""

    name: str
    folder: Path
    about: dict[str, Any]

    @cached_property
    def results(self) -> Results:
        """Return the readers of its files."""
        return Results(self.folder, self.about.get("facts", {}))

    @cached_property
    def cells(self) -> list[Cell]:
        """Return its evaluations that have answers."""
        # By files and not by the plan: a run that was stopped is compared as far as it came.
        files = sorted(self.folder.glob("evaluation/*/*/*/predictions.jsonl"))
        return [(path.parts[-4], path.parts[-3], path.parts[-2]) for path in files]

    @cached_property
    def settings(self) -> dict[str, str]:
        """Return the config as flat keys with their values as text; defaults are left out."""
        config = yaml.safe_load(self.about.get("facts", {}).get("config", "")) or {}
        # Where the results lie decides nothing.
        return dict(flat({key: value for key, value in config.items() if key != "output"}))

    @cached_property
    def code(self) -> dict[str, str]:
        """Return which code it was made by, as far as that is known."""
        if not self.about:
            return dict.fromkeys(("version", "commit", "files"), UNTOLD)
        code = self.about["code"]
        commit = (code["commit"] or "no git checkout") + (", with changes" if code["changed"] else "")
        return {"version": self.about["project"], "commit": commit, "files": code["files"]}

    @cached_property
    def surroundings(self) -> dict[str, str]:
        """Return libraries, devices, precisions and batch sizes, as the results' sidecars name them."""
        return {key: ", ".join(values) for key, values in sidecar_rows(self.results).items()}

    @cached_property
    def revisions(self) -> dict[str, str]:
        """Return what models and data it read: revisions and checksums."""
        found = {}
        for path in sorted(self.folder.glob("models/*/manifest.json")):
            manifest = read_json(path)
            found[f"model {path.parent.name}, revision"] = str(manifest.get("revision") or "none")
            for file in manifest.get("files", []):
                found[f"model {path.parent.name}, {file['name']}"] = file["sha256"][:16]
        for path in sorted(self.folder.glob("benchmarks/*/manifest.json")):
            manifest = read_json(path)
            found[f"benchmark {path.parent.name}, revision"] = str(manifest.get("revision") or "none")
            found[f"benchmark {path.parent.name}, samples"] = f"{manifest.get('rows')}, {self.sum_of(path.parent.name)}"
        return found

    def sum_of(self, benchmark: str) -> str:
        """Return the checksum of a benchmark's samples, an empty text if it is not known."""
        path = Path(self.results.paths.benchmark_manifest(benchmark))
        return str(read_json(path).get("sha256", ""))[:16] if path.is_file() else ""


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested settings with their paths; a list of plain values is a leaf."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from flat(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from flat(item, f"{path}[{number}]")
    else:
        # As YAML on one line, so that "1" and 1 differ as they do in a config; PyYAML ends a bare value with "...".
        yield path, yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix("\n...\n").strip()


@contextmanager
def opened(path: Path, name: str) -> Iterator[Run]:
    """Yield a run from its folder or archive under a name; what is unpacked is deleted at the end."""
    if path.is_dir():
        yield read(name, path)
    elif path.is_file():
        with TemporaryDirectory(prefix="himap-compare-") as folder:
            unpack(path, Path(folder), lambda name: any(fnmatch(name, pattern) for pattern in NEEDED))
            yield read(name, Path(folder), where=path)
    else:
        raise ValueError(f"{path}: no such folder or archive; give a results folder, or what `./reproduce pack` wrote")


def read(name: str, folder: Path, where: Path | None = None) -> Run:
    """Return the run in a folder. Raise ValueError if there is none, or one of a newer version."""
    where = where or folder  # for messages: an archive's folder is a temporary one
    about = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    # A record of this format or an older one can be read.
    if about.get("format", FORMAT) > FORMAT:
        raise ValueError(
            f"{where}: written by a newer version of this project ({about.get('project')}, format {about['format']}; "
            f"this one reads {FORMAT}); update this project"
        )
    run = Run(name, folder, about)
    if not run.cells:
        raise ValueError(
            f"{where}: no answers in it (evaluation/…/predictions.jsonl); give the results folder of a run"
        )
    return run
