"""LLaVA-v1.5 and InternVL-Chat-V1.0 in their authors' layout: recognized here, to point the user to the conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a Vicuna chat model with a separate vision tower."""
    return "mm_vision_tower" in config


def load(directory: Path, config: dict[str, Any], **_: Any) -> NoReturn:
    """Raise ValueError with the command that converts this checkpoint."""
    raise ValueError(
        f"{directory}: weights in their authors' layout; convert them once: "
        f"python workflow_scripts/convert_checkpoint.py --source {directory} --out FOLDER"
    )
