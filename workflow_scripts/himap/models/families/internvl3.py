"""InternVL3 in the transformers layout ("-hf"): tiles of InternViT with a pixel shuffle, then a thumbnail; Qwen2 or Llama decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from himap.decoder.layout import PictureTokens
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_decoder
from himap.models.model import Model
from himap.models.sizes import typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

START, IMAGE, END = "<img>", "<IMG_CONTEXT>", "</img>"


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of an InternVL in the transformers layout."""
    return config.get("model_type") == "internvl"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, "InternVLForConditionalGeneration", check_config).to(device)
    decoder = module.model.language_model

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        tiles = module.model.get_image_features(pixels["pixel_values"]).pooler_output  # [tiles, n, D]
        side = round(tiles.shape[1] ** 0.5)
        return PictureTokens(tiles.flatten(0, 1), _native.tile_layout(pixels["rows"], pixels["columns"], side))

    model = _native.wrap(
        module, name=directory.name, family="internvl3", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=True, encode_picture=encode_picture,
    )  # fmt: skip
    check_decoder(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    processor = GotOcr2ImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    chat = Chat(directory, tokenizer, model.image_token_id, IMAGE, lambda layout: START + IMAGE * int(layout) + END)
    chat.attach(model)
    model.frame_ids = chat.ids_of(START, END)

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        return [_pixels(image, processor, _native.share_of(grid, model.dims)) for image in images]

    model.preprocess = preprocess


def _pixels(image: Image, processor: Any, share: float) -> dict[str, Any]:
    """Return a picture's tiles [tiles, 3, S, S] and their grid; for a share of its tokens, of fewer tiles."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile, least, most = processor.size, processor.min_patches, processor.max_patches

    def grid(most: int) -> tuple[int, int]:
        shape = (image.height, image.width), (tile["height"], tile["width"])
        # transformers returns columns first here
        columns, rows = get_optimal_tiled_canvas(*shape, least, most) if most > 1 else (1, 1)
        return rows, columns

    if share < 1:
        # the number of tiles nearest to a share of those that the picture would have
        wanted = share * _tiles(*grid(most))
        most = min(range(1, most + 1), key=lambda number: abs(_tiles(*grid(number)) - wanted))
    made = processor([_native.opaque(image)], return_tensors="pt", crop_to_patches=True, max_patches=most)
    rows, columns = grid(most)
    tiled = rows * columns > 1  # a single tile has no thumbnail
    return {"pixel_values": made["pixel_values"], "rows": rows * tiled, "columns": columns * tiled}


def _tiles(rows: int, columns: int) -> int:
    """Return the number of tiles, thumbnail included."""
    return rows * columns + (rows * columns > 1)
