"""Pin what is installed: write requirements*.txt and the conda counterpart from the .in files and this interpreter's packages.

Run with the environment's own Python: `.venv/bin/python envs/lock.py` (add `--check` to only compare).
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
HEADER = "# Written by envs/lock.py from {source}: every package with its exact version, transitive ones too.\n"


def wanted(path: Path) -> list[Requirement]:
    """The requirements of an .in file, comments dropped."""
    lines = (re.sub(r"\s*#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def closure(roots: list[Requirement]) -> dict[str, str]:
    """Name to version of the roots and of all that they need on this platform; a local part such as +cpu is dropped."""
    pinned: dict[str, str] = {}
    queue = [(root, "") for root in roots]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is wanted but not installed here: pip install it first") from None
        if requirement.specifier and not requirement.specifier.contains(installed.version, prereleases=True):
            raise SystemExit(f"{name} {installed.version} is installed, but {requirement} is wanted")
        pinned[name] = installed.version.split("+")[0]
        for wanted_extra in ["", *sorted(requirement.extras)]:
            if (name, wanted_extra) not in seen:
                seen.add((name, wanted_extra))
                queue += [(Requirement(text), wanted_extra) for text in installed.requires or []]
    return pinned


def pins(packages: dict[str, str]) -> str:
    """One `name==version` a line, sorted."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def files() -> dict[Path, str]:
    """The text that each generated file must have."""
    runtime = closure(wanted(HERE / "requirements.in"))
    everything = closure(wanted(HERE / "requirements.in") + wanted(HERE / "requirements-dev.in"))
    extra = {name: version for name, version in everything.items() if name not in runtime}
    conda = (
        HEADER.format(source="requirements.in")
        + "# The same environment for `snakemake --sdm conda`: Python from conda-forge, the packages from the same pins.\n"
        + "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python =3.11\n  - pip =26.*\n  - pip:\n"
        + "".join(f"      - {line}\n" for line in pins(runtime).splitlines())
    )
    return {
        HERE / "requirements.txt": HEADER.format(source="requirements.in") + pins(runtime),
        HERE / "requirements-dev.txt": HEADER.format(source="requirements-dev.in")
        + "-r requirements.txt\n"
        + pins(extra),
        HERE / "himap.yaml": conda,
    }


def main() -> int:
    """Write the files, or with --check say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.name} is out of date: run envs/lock.py", file=sys.stderr)
        else:
            path.write_text(files()[path], encoding="utf-8")
            print(f"wrote {path.name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
