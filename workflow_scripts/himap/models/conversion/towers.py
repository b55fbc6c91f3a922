"""The vision tower that a checkpoint names and the one that it carries, compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.models.checkpoints import tensors, weight_files
from himap.models.conversion.layout import CARRIED

if TYPE_CHECKING:
    pass


def has_weights(directory: Path) -> bool:
    """Return whether a folder holds weights, whole or not, beside its small files."""
    return any(path.suffix in (".safetensors", ".bin") for path in directory.iterdir())


def compare_towers(directory: Path, tower: Path) -> dict[str, Any]:
    """Compare the tower that a chat checkpoint carries with the named one: tensors compared, different, largest difference."""
    named = dict(pair for path in weight_files(tower) for pair in tensors(path))  # mapped files: nothing is read yet
    compared, different, largest = 0, [], 0.0
    for path in weight_files(directory):
        for name, tensor in tensors(path):
            other = named.get(name.removeprefix(CARRIED))
            if not name.startswith(CARRIED) or other is None or other.shape != tensor.shape:
                continue
            compared += 1
            # Both may be stored in other number formats: what is equal in either one's format is the same weight.
            if not (tensor.to(other.dtype).equal(other) or other.to(tensor.dtype).equal(tensor)):
                different.append(name.removeprefix(CARRIED))
                largest = max(largest, float((tensor.float() - other.float()).abs().max()))
    result = {"compared": compared, "different": len(different), "largest_difference": largest}
    verdict = (
        f"differ in {len(different)} (largest difference {largest:.3g}, e.g. {different[0]})" if different else "agree"
    )
    print(
        f"vision tower: taken from {tower}, which config.json names, as the authors' loader does, not from {directory}, "
        f"which carries one too; of {compared} tensors they {verdict}",
        file=sys.stderr,
    )
    return result
