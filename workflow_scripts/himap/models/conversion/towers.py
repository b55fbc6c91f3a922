"""Compare the vision tower that a checkpoint's config names with the one among its own weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from himap.models.checkpoints import tensors, weight_files
from himap.models.conversion.layout import CARRIED


def has_weights(directory: Path) -> bool:
    """Return whether a folder has weight files, complete or not, beside its small files."""
    return any(path.suffix in (".safetensors", ".bin") for path in directory.iterdir())


def compare_towers(directory: Path, tower: Path) -> dict[str, Any]:
    """Compare the tower among a chat checkpoint's weights with the named one, print the result, and return it.

    The result has the number of tensors compared, how many differ, and the largest difference.
    """
    named = dict(pair for path in weight_files(tower) for pair in tensors(path))  # mapped files: nothing is read yet
    compared, different, largest = 0, [], 0.0
    for path in weight_files(directory):
        for name, tensor in tensors(path):
            other = named.get(name.removeprefix(CARRIED))
            if not name.startswith(CARRIED) or other is None or other.shape != tensor.shape:
                continue
            compared += 1
            # The two may be stored in different number formats: a weight is the same if it is equal in either format.
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
