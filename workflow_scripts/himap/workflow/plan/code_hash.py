"""A hash of the code that a script really runs: its syntax tree and those of all first-party modules it imports.

Comments, docstrings and layout do not count, so editing them makes nothing stale. Nothing is imported; imports inside
functions are followed, those under `if TYPE_CHECKING:` are not. What a registry imports by name must be named as a
further root (a benchmark's file, a criterion's file).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from himap.project import ROOT
from himap.workflow.plan.code_file import read_code

SCRIPTS = ROOT / "workflow_scripts"
parts: dict[str, dict[str, str]] = {}  # the modules behind each computed version, to tell later which one changed


@cache
def code_version(
    *roots: str, without: tuple[str, ...] = (), unused: tuple[str, ...] = (), folder: Path = SCRIPTS
) -> str:
    """Hash the roots (`evaluate_method.py`, `himap.benchmarks.pope`) and all that they import, as 16 hex digits.

    `without` names modules that are imported but not run by this job. `unused` names the parts of a declaration (the
    keywords of the one call that a registry's file ends with) that this job does not look at, and with them the
    functions and imports that only they need.
    """
    digest = hashlib.sha256()
    # Of a module to leave out only its own file, the last: the packages around it stay.
    skipped = {file for module in without for file in module_files(module, folder)[-1:]}
    modules = {}
    for file, fingerprint in sorted(files_behind(roots, skipped, unused, folder).items(), key=in_order):
        # Short ones suffice to see which module differs, and keep the ledger small.
        modules[file] = fingerprint[:8]
        digest.update(f"{file}\0{fingerprint}\0".encode())
    version = digest.hexdigest()[:16]
    parts[version] = modules
    return version


def in_order(item: tuple[str, str]) -> list[str]:
    """Order files folder by folder."""
    return item[0].split("/")


def files_behind(roots: tuple[str, ...], skipped: set[str], unused: tuple[str, ...], folder: Path) -> dict[str, str]:
    """Return the fingerprints of the files behind the roots and all their first-party imports, transitively."""
    # `unused` applies to the declarations named as roots alone: an imported module counts as a whole.
    modules = {root_files(root, folder)[-1] for root in roots if not root.endswith(".py")}
    queue = [file for root in roots for file in root_files(root, folder)]
    found: dict[str, str] = {}
    while queue:
        file = queue.pop()
        if file in found or file in skipped:
            continue
        code = read_code(file, folder, unused if file in modules else ())
        found[file] = code.fingerprint
        # Names of other libraries give no files.
        queue += [behind for name in code.imports for behind in module_files(name, folder)]
    return found


def root_files(root: str, folder: Path) -> list[str]:
    """Return a script's file, or a module's file after those of the packages around it."""
    files = [root] if root.endswith(".py") else module_files(root, folder)
    last = root.removesuffix(".py").split(".")[-1].split("/")[-1]
    file = folder / files[-1] if files else folder
    # A name that ends in something else than the file found is a name within a module, or misspelled.
    if not file.is_file() or last not in (file.stem, file.parent.name):
        raise ValueError(f"{root}: no such script or module below {folder}")
    return files


@cache
def module_files(name: str, folder: Path) -> list[str]:
    """Return the files that importing a dotted name runs: the __init__ of each package on the way, and the module's own."""
    files: list[str] = []
    place = ""
    for part in name.split("."):
        place = f"{place}/{part}" if place else part
        if (folder / place / "__init__.py").is_file():
            files.append(f"{place}/__init__.py")
        elif (folder / f"{place}.py").is_file():
            return [*files, f"{place}.py"]
        # A folder without __init__.py is a namespace package and may go on.
        elif not (folder / place).is_dir():
            break
    return files
