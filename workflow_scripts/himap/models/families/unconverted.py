"""LLaVA-v1.5 and InternVL-Chat-V1.0 as their authors published them: recognised here, and sent to the conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn


def matches(config: dict[str, Any]) -> bool:
    """Whether a config.json is one of a Vicuna chat model with a separate vision tower."""
    return "mm_vision_tower" in config


def load(directory: Path, config: dict[str, Any], **_: Any) -> NoReturn:
    """Name the command that makes this checkpoint one that can be loaded."""
    raise ValueError(
        f"{directory}: weights in their authors' layout, to be converted once: "
        f"python workflow_scripts/convert_checkpoint.py --source {directory} --out FOLDER"
    )
