"""Qwen2.5-VL in its published layout: ViT with windows, a grid of tokens per picture, Qwen2 decoder with three rotary axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from himap.models.families import _qwen_grid
from himap.models.model import Model


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is Qwen2.5-VL's."""
    return config.get("model_type") == "qwen2_5_vl"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    architecture = "Qwen2_5_VLForConditionalGeneration"
    return _qwen_grid.load(directory, config, architecture, "qwen2_5_vl", device=device, dtype=dtype)
