"""Convert Qwen-VL-Chat: its pickled weights become safetensors under the same names."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.models.checkpoints import Faults, outlines, weight_files
from himap.models.conversion.layout import Conversion

if TYPE_CHECKING:
    from torch import Tensor


def _plan_qwen(directory: Path, config: dict[str, Any]) -> Conversion:
    """Plan the conversion of Qwen-VL-Chat. Names stay as published: the family reads the result as it reads the source."""
    import torch

    from himap.models.families import qwen_vl

    with torch.device("meta"):  # sizes only, no memory
        module = qwen_vl.QwenVL(config)
    ours = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    files = weight_files(directory)
    faults = Faults()
    expected: dict[str, Tensor] = {}
    for path in files:
        for name, outline in outlines(path):
            # renamed only to check them: names on disk stay
            parts = list(qwen_vl.rename(name, outline))
            for part, piece in parts:
                if part in ours:
                    faults.compare(name, piece, ours.pop(part))
                else:
                    faults.unexpected.append(name)
            # an empty list is a tensor that nothing reads, such as saved rotary frequencies
            if parts:
                expected[name] = outline
    faults.missing = set(ours)
    faults.check(directory)
    # read only to check it before anything is written
    qwen_vl.read_vocabulary(directory / "qwen.tiktoken", config)
    beside = ("qwen.tiktoken", "generation_config.json", "tokenizer_config.json")

    def keep(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        return [(name, tensor)] if name in expected else []

    def copy(folder: Path) -> None:
        for name in beside:
            if (directory / name).is_file():
                shutil.copyfile(directory / name, folder / name)

    return Conversion(
        "qwen_vl", [(path, keep) for path in files], [directory], expected, config, copy,
        qwen_vl.dims(config).tokens_per_image,
    )  # fmt: skip
