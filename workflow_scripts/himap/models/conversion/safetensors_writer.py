"""Write safetensors files tensor by tensor, without the whole checkpoint in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import replacing

if TYPE_CHECKING:
    from torch import Tensor


def write_safetensors(path: Path, named: Sequence[tuple[str, Tensor]]) -> list[str]:
    """Write a safetensors file tensor by tensor, and return the names.

    The library's own `save_file` needs a second copy of all tensors in memory.
    """
    import torch

    formats = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in named:
        if tensor.dtype not in formats:
            raise ValueError(
                f"{name}: weights in {tensor.dtype} are not converted; take the checkpoint in full precision"
            )
        # offsets count from the end of the header, the second one exclusive
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": formats[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    # a file is 8 bytes of the header's length, the header, then all tensors' bytes in its order
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the first tensor to 8 bytes
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in named:
            # as bytes, since NumPy has no bfloat16; contiguous, since a split projection is a view with gaps
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return [name for name, _ in named]
