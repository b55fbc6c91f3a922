"""Where the project is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    pass
ROOT = Path(__file__).resolve().parents[2]
