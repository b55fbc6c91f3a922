"""What a run says about itself beside its report, so that another run can be compared with it."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any

from himap.comparison.runs import FORMAT
from himap.project import ROOT
from himap.report.provenance import code_revision


def run_record(facts: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts of a run, the code that wrote its report, and the verdicts, given by group."""
    rows = [row for group in groups for row in group["rows"]]
    return {
        # `himap.comparison.runs` refuses a record of a newer format.
        "format": FORMAT,
        "project": tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
        "code": {**code_revision(), "files": code_files()},
        "facts": facts,
        "verdicts": {
            row["claim"]["id"]: {
                "claim": row["claim"]["claim"],
                "words": verdict_words(row["words"], row["found"].verdict),
            }
            for row in rows
        },
    }


def verdict_words(words: dict[str, str], verdict: str) -> str:
    """Return a verdict in words, with what a model that cannot decide shows."""
    aside = f"; {words['aside']} it {'holds' if verdict == 'holds' else 'does not hold'}" if words["aside"] else ""
    return words["text"] + aside


def code_files() -> str:
    """Hash all code of the project, for a run outside a git checkout or with changes."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "workflow_scripts").rglob("*.py")):
        # Zero bytes keep names and contents apart, so that moved text cannot give the same hash.
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
