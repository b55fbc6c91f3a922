"""InternVL-Chat-V1.0 after conversion: InternViT-6B in transformers' LLaVA layout; Vicuna and prompts are LLaVA's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from himap.models.families import llava
from himap.models.families._decoder_check import check_decoder
from himap.models.model import Model
from himap.models.prompts import IMAGE_MODES
from himap.models.sizes import checkpoint_dims as dims
from himap.registry import unknown


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a converted InternVL-Chat-V1.0."""
    vision = config.get("vision_config") or {}
    return config.get("model_type") == "llava" and vision.get("model_type") == "internvl_vision"


def load(
    directory: Path,
    config: dict[str, Any],
    *,
    device: str,
    dtype: torch.dtype,
    template: str = "vicuna_v1",
    image_mode: str | None = None,
) -> Model:
    """Load a converted checkpoint, `image_mode` as for LLaVA; the tower's layers above the feature layer are not kept."""
    if template not in llava.SYSTEM:
        raise unknown("template", template, llava.SYSTEM)
    if image_mode is not None and image_mode not in IMAGE_MODES:
        raise unknown("image_mode", image_mode, IMAGE_MODES)
    module = llava.read_module(directory, dtype).to(device)
    vision = module.config.vision_config
    # plain numbers again: the config class of transformers makes pairs of them
    vision.image_size, vision.patch_size = config["vision_config"]["image_size"], config["vision_config"]["patch_size"]
    tower, projector = module.model.vision_tower, module.model.multi_modal_projector
    # Tower layers above the feature layer (-4 or so, counted from the end) never run, so their memory is freed.
    del tower.encoder.layer[len(tower.encoder.layer) + 1 + config["vision_feature_layer"] :]

    @torch.no_grad()
    def encode_images(pixels: Tensor) -> Tensor:
        """Return decoder inputs [N, n, D] of pixels [N, 3, H, W], from the feature layer without its class token."""
        hidden = tower.embeddings(pixels.to(module.lm_head.weight))  # [N, 1 + n, width of the tower]
        for layer in tower.encoder.layer:
            hidden = layer(hidden)
        return projector(hidden[:, 1:])

    model = llava.from_module(module, name=directory.name)
    check_decoder(model, directory)
    model.view_tower = None  # its tower is not run by transformers' vision model
    model.family, model.dims, model.encode_images = "internvl", dims(config), encode_images
    if (directory / "tokenizer_config.json").is_file():
        llava._attach_processor(model, directory, module.config, template, image_mode)
    return model
