"""The project's folder: the one that holds config.yaml, models/ and workflow_scripts/."""

from __future__ import annotations

from pathlib import Path

# This file is workflow_scripts/himap/project.py.
ROOT = Path(__file__).resolve().parents[2]
