"""What Qwen2.5-VL and Qwen3-VL share: pictures of any size as one grid of tokens, and rotary angles on three axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from himap.decoder.layout import Layout, Part, PictureTokens
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_decoder
from himap.models.model import Model
from himap.models.sizes import typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE = "<|image_pad|>"


def load(
    directory: Path, config: dict[str, Any], architecture: str, family: str, *, device: str, dtype: torch.dtype
) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, architecture, check_config).to(device)
    decoder = module.model.language_model

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        made = module.model.get_image_features(pixels["pixel_values"], image_grid_thw=pixels["image_grid_thw"])
        # (1, 34, 46) counts patches; two by two of them become one token
        _, rows, columns = (pixels["image_grid_thw"][0] // module.config.vision_config.spatial_merge_size).tolist()
        levels = getattr(made, "deepstack_features", None)
        # Qwen3-VL alone: [n, levels, D]
        deep = torch.stack([level[0] for level in levels], dim=1) if levels else None
        return PictureTokens(made.pooler_output[0], Layout((Part(rows, columns),)), deep)

    model = _native.wrap(
        module, name=directory.name, family=family, decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=True, encode_picture=encode_picture, axes=3,
    )  # fmt: skip
    check_decoder(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    chat = Chat(directory, tokenizer, model.image_token_id, IMAGE, lambda layout: IMAGE * int(layout))
    chat.attach(model)
    model.frame_ids = chat.ids_of(r"<\|vision_start\|>", r"<\|vision_end\|>")

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        return [_pixels(image, processor, _native.share_of(grid, model.dims)) for image in images]

    model.preprocess = preprocess


def _pixels(image: Image, processor: Any, share: float) -> dict[str, Any]:
    """Return a picture's patches and their grid; for a share of its tokens, of the picture made smaller."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    settings: dict[str, Any] = {}
    if share < 1:
        cell = processor.patch_size * processor.merge_size
        least, most = processor.size["shortest_edge"], processor.size["longest_edge"]  # of pixels, whatever their names
        # the size that it would have, in whole cells; a share of its area is asked for as the upper limit
        height, width = smart_resize(image.height, image.width, cell, least, most)
        settings["size"] = {"shortest_edge": cell * cell, "longest_edge": max(cell * cell, int(share * height * width))}
    made = processor([_native.opaque(image)], return_tensors="pt", **settings)
    return {"pixel_values": made["pixel_values"], "image_grid_thw": made["image_grid_thw"]}
