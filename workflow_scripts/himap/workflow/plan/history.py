"""What earlier runs left in Snakemake's state folder: what each output was made with, and how methods share passes in the run now."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from himap.files import write_text
from himap.notes import METADATA, STATE, note_path

PASSES = "passes.json"


class History:
    """Snakemake's notes; `in_run` reads the passes of the run under way in place of working them out again."""

    def __init__(self, state: Path = STATE, *, in_run: bool = False) -> None:
        self.state, self.root = state, state.parent
        self.frozen: Mapping[str, list[list[str]]] = _read(state / PASSES) if in_run else {}

    def made_with(self, output: str) -> str | None:
        """Return the one text that an output's job was compared by, None if it has not been made."""
        try:
            params = json.loads(note_path(self.state / METADATA, output).read_text(encoding="utf-8"))["params"]
            # Snakemake notes parameters as `repr` texts.
            values = [ast.literal_eval(value) for value in params]
        # Notes of another Snakemake version, or half-written ones, only cost that the job runs again.
        except (OSError, ValueError, KeyError, TypeError, SyntaxError):
            return None
        # The rules of passes have one compared param; an output with several was made by another rule.
        return values[0] if len(values) == 1 and isinstance(values[0], str) else None

    def freeze(self, passes: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Note the passes of this run, because a job on another machine reads the workflow while others finish."""
        write_text(self.state / PASSES, json.dumps(passes))


def _read(path: Path) -> dict[str, Any]:
    try:
        passes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return passes if isinstance(passes, dict) else {}
