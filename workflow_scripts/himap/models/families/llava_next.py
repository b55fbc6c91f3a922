"""LLaVA-NeXT (1.6) with Vicuna or Mistral: the whole picture, then its tiles as one grid whose rows end in a token of their own."""

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

IMAGE = "<image>"


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a LLaVA-NeXT in the transformers layout."""
    return config.get("model_type") == "llava_next"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, "LlavaNextForConditionalGeneration", check_config).to(device)
    decoder = module.model.language_model

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        made = module.model.get_image_features(pixels["pixel_values"], pixels["image_sizes"])
        return PictureTokens(made.pooler_output[0], _layout(module.config, pixels["image_sizes"][0]))

    model = _native.wrap(
        module, name=directory.name, family="llava_next", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=True, encode_picture=encode_picture,
    )  # fmt: skip
    check_decoder(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _layout(config: Any, size: torch.Tensor) -> Layout:
    """Return the layout of a picture of a size (height, width): the grid of its tiles is cut to its own proportions."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

    vision = config.vision_config
    side = vision.image_size // vision.patch_size
    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, vision.image_size)
    # an empty tensor: only its shape is asked for
    cut = unpad_image(torch.empty(1, rows * side, columns * side), size).shape  # the rule itself is transformers' own
    return Layout((Part(side, side), Part(cut[1], cut[2], row_ends=True)))


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    processor = LlavaNextImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    Chat(directory, tokenizer, model.image_token_id, IMAGE, lambda layout: IMAGE * int(layout)).attach(model)

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        made = [processor([_native.opaque(image)], return_tensors="pt") for image in images]
        # The tiles' sizes are fixed, so fewer tokens are an average over their grid.
        share = _native.share_of(grid, model.dims)
        return [{**{key: inputs[key] for key in ("pixel_values", "image_sizes")}, "share": share} for inputs in made]

    model.preprocess = preprocess
