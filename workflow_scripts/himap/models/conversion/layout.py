"""The plan of a conversion, and which vision tower belongs to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.models.checkpoints import Renaming, outlines, weight_files
from himap.models.sizes import read_config

if TYPE_CHECKING:
    from torch import Tensor

CARRIED = "model.vision_tower.vision_tower."  # prefix of the vision tower's tensors inside a chat checkpoint


@dataclass
class Conversion:
    """Which files a conversion reads, how it renames each tensor, and which tensors the result must have."""

    layout: str
    sources: list[tuple[Path, Renaming]]  # weight files, each with its renaming
    folders: list[Path]  # of those files: the checkpoint, its tower
    expected: Mapping[str, Tensor]  # meta tensors by the names on disk
    config: dict[str, Any]  # the result's config.json
    write_beside: Callable[[Path], None]  # tokenizer and image processor into the target folder
    image_tokens: int
    tower: Callable[[], dict[str, Any]] = dict  # says for the manifest which vision tower was used


def default_tower(directory: Path) -> str | None:
    """Return the hub id of the vision tower that a checkpoint's config names, None if it names none."""
    named = str(read_config(directory).get("mm_vision_tower") or "")
    if "intern" in named.lower():  # InternVL's configs name a folder on the authors' machine
        return "OpenGVLab/InternViT-6B-448px-V1-0" if "448" in named else "OpenGVLab/InternViT-6B-224px"
    return named or None


def carries_tower(directory: Path) -> bool:
    """Return whether a checkpoint's own weights include its vision tower's."""
    return any(name.startswith(CARRIED) for path in weight_files(directory) for name, _ in outlines(path))
