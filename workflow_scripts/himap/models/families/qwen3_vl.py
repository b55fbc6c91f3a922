"""Qwen3-VL: as Qwen2.5-VL, with norms on queries and keys; features of lower ViT layers are added after the first layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from himap.models.families import _qwen_grid
from himap.models.model import Model


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is Qwen3-VL's, without experts."""
    return config.get("model_type") == "qwen3_vl"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    architecture = "Qwen3VLForConditionalGeneration"
    return _qwen_grid.load(directory, config, architecture, "qwen3_vl", device=device, dtype=dtype)
