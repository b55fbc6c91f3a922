"""What a conversion reads and how it renames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.models.checkpoints import Renaming, outlines, weight_files
from himap.models.sizes import read_config

if TYPE_CHECKING:
    from torch import Tensor
CARRIED = "model.vision_tower.vision_tower."  # how a chat checkpoint names the tensors of a tower that it carries


@dataclass
class Conversion:
    """What is read, how each tensor is renamed, and what the result must hold."""

    layout: str
    sources: list[tuple[Path, Renaming]]  # weight files, each with its renaming
    folders: list[Path]  # where those files come from: the checkpoint, its tower
    expected: Mapping[str, Tensor]  # names on disk and shapes
    config: dict[str, Any]
    write_beside: Callable[[Path], None]  # tokenizer and image processor into the target folder
    image_tokens: int
    tower: Callable[[], dict[str, Any]] = dict  # which vision tower was taken, for the manifest


def default_tower(directory: Path) -> str | None:
    """The hub id of the vision tower that a checkpoint's config names; None where the tower is in the checkpoint."""
    named = str(read_config(directory).get("mm_vision_tower") or "")
    if "intern" in named.lower():
        return "OpenGVLab/InternViT-6B-448px-V1-0" if "448" in named else "OpenGVLab/InternViT-6B-224px"
    return named or None


def carries_tower(directory: Path) -> bool:
    """Return whether a checkpoint's own weights include its vision tower's."""
    return any(name.startswith(CARRIED) for path in weight_files(directory) for name, _ in outlines(path))
