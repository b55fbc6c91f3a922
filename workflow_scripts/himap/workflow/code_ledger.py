"""Which modules are behind each hash of code, noted at each run, so that a dry run can name the one that changed."""

from __future__ import annotations

import json
from pathlib import Path

from himap.files import write_text
from himap.workflow.plan.code_hash import parts

LEDGER = Path(".snakemake") / "code.json"
VERSIONS_KEPT = 400


def changed_modules(old: str, new: str, root: Path) -> list[str] | None:
    """Return the modules in which two versions of a job's code differ, or None if the old version is not in the ledger."""
    # The old hash comes from Snakemake's note of an earlier run, the new one was computed in this process.
    before, now = read_ledger(root).get(old), parts.get(new)
    if before is None or now is None:
        return None
    modules = {path: "" for path in now if path in before and now[path] != before[path]}
    modules |= {path: " (new)" for path in now if path not in before}
    modules |= {path: " (no longer used)" for path in before if path not in now}
    return [f"workflow_scripts/{path}{mark}" for path, mark in sorted(modules.items())]


def note_code(root: Path) -> None:
    """Write down the modules behind the versions of code that this process computed; drop the oldest ones."""
    known = read_ledger(root)
    # Versions of this process come last, so that the cut below drops those that were used longest ago.
    kept = {version: known[version] for version in known if version not in parts} | parts
    if kept != known:  # mostly nothing is new, and many processes read the workflow
        write_text(root / LEDGER, json.dumps(dict(list(kept.items())[-VERSIONS_KEPT:])))


def read_ledger(root: Path) -> dict[str, dict[str, str]]:
    """Return the modules and their hashes behind each version of code; a damaged ledger counts as empty."""
    try:
        ledger = json.loads((root / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(ledger, dict) and all(isinstance(modules, dict) for modules in ledger.values())
    return ledger if whole else {}
