"""Shared fixtures, see tests/fixtures/cluster/plugin.py; tests/models/originals.py writes checkpoints as published."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "cluster"))

from plugin import copy_of_finished, finished, make_world, questions, small_model  # noqa: F401
