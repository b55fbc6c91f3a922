"""Llama 3.2 Vision (Mllama): a picture is up to four tiles, and some layers of the decoder are cross-attention to all their patches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.cross import CrossLayer
from himap.decoder.layout import Box, Layout, Part, PictureTokens
from himap.decoder.tokens import FOREVER
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_cross_decoder
from himap.models.model import Model
from himap.models.sizes import checkpoint_dims, typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

NORMS, GATES = ("q_norm", "k_norm"), ("cross_attn_attn_gate", "cross_attn_mlp_gate")


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a Llama with pictures."""
    return config.get("model_type") == "mllama" and "vision_config" in config


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, "MllamaForConditionalGeneration", check_config).to(device)
    decoder, vision = module.model.language_model, module.config.vision_config
    side = vision.image_size // vision.patch_size

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        # [tiles, class token and patches, width of the tower] of the only picture
        seen = module.model.vision_model(**{name: pixels[name] for name in names}).last_hidden_state[0, 0]
        tokens = module.model.multi_modal_projector(seen)  # [tiles, class token and patches, D]
        # each tile is two parts: its class token, its patches
        layout = Layout(tuple(part for box in pixels["boxes"] for part in _tile(side, box)))
        filled = len(pixels["boxes"])
        # the tower returns as many tiles as the config allows; those that the picture does not fill are padding
        return PictureTokens(tokens[:filled].flatten(0, 1), layout, padding=tokens[filled:].flatten(0, 1))

    model = _native.wrap(
        module, name=directory.name, family="mllama", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=True, encode_picture=encode_picture, layers=_layers(decoder), dims=checkpoint_dims(module.config.to_dict()),
        spans=spans,
    )  # fmt: skip
    _check_layers(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _check_layers(model: Model, directory: Path, decoder: Any) -> None:
    """Raise ValueError unless the loop computes what transformers' class does up to the first layer of cross-attention."""

    def native(hidden: Tensor, seen: Tensor) -> Any:
        # Without a mask, its attention to the picture would be causal.
        mask = hidden.new_zeros(1, 1, hidden.shape[1], seen.shape[1])
        return decoder.eval()(
            inputs_embeds=hidden, cross_attention_states=seen, cross_attention_mask=mask, use_cache=False
        )

    count = model.dims.cross[0] + 1
    check_cross_decoder(model, directory, decoder, native, theirs=count, ours=count)


def _layers(decoder: Any) -> list[Any]:
    """Return the decoder's layers; unlike in Idefics, those of cross-attention are among them and take the place of others."""
    return [
        # Rows before the first picture look at everything, tiles that no picture fills included, as in transformers' class.
        CrossLayer(layer, norms=NORMS, gates=GATES, blind_see_all=True) if hasattr(layer, "cross_attn") else layer
        for layer in decoder.layers
    ]


def _tile(side: int, box: Box) -> tuple[Part, Part]:
    """Return the parts of a tile: its class token, which shows no place, and its patches."""
    return Part(1, 0, box, row_ends=True), Part(side, side, box)


def spans(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Return where each picture is looked at: from its mark to the next one, with marks in a row all to the end of the last."""
    ends = [FOREVER]
    # backwards, since a mark beside another one takes that one's end
    for mark, following in reversed(list(pairwise(marks))):
        ends.append(ends[-1] if following == mark + 1 else following)
    return list(zip(marks, reversed(ends), strict=True))


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    processor: Any = MllamaImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    mark = tokenizer.convert_ids_to_tokens(model.image_token_id)
    Chat(directory, tokenizer, model.image_token_id, mark, lambda layout: mark).attach(model)

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        if grid is not None:
            raise ValueError(
                "Llama 3.2 Vision reads whole tiles of one size; the method `downsample` cannot be used with it"
            )
        return [
            {
                **processor([[_native.opaque(image)]], return_tensors="pt"),
                "boxes": _boxes(image, processor.size["height"], processor.max_image_tiles),
            }
            for image in images
        ]

    model.preprocess = preprocess


def _boxes(image: Image, tile: int, most: int) -> list[Box]:
    """Return the box of each tile; the picture lies at the top left of its canvas, so boxes may reach beyond it."""
    from transformers.models.mllama.image_processing_pil_mllama import (
        get_image_size_fit_to_canvas,
        get_optimal_tiled_canvas,
    )

    size = {"image_height": image.height, "image_width": image.width, "tile_size": tile}
    # in pixels, whole tiles
    high, wide = get_optimal_tiled_canvas(**size, max_image_tiles=most)
    height, width = get_image_size_fit_to_canvas(**size, canvas_height=high, canvas_width=wide)
    return [
        (column * tile / width, row * tile / height, (column + 1) * tile / width, (row + 1) * tile / height)
        for row in range(high // tile)
        for column in range(wide // tile)
    ]
