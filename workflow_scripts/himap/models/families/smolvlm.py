"""SmolVLM and SmolVLM2: SigLIP tiles with a pixel shuffle, Llama decoder; a picture is a grid of tiles and a view of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from himap.decoder.layout import Layout, PictureTokens
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_decoder
from himap.models.model import Model
from himap.models.sizes import typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

FAKE, GLOBAL, TILE = "<fake_token_around_image>", "<global-img>", "<row_{}_col_{}>"
ARCHITECTURES = {"smolvlm": "SmolVLMForConditionalGeneration", "idefics3": "Idefics3ForConditionalGeneration"}


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a SmolVLM: the first release has Idefics 3's layout, the second its own."""
    return config.get("model_type") in ARCHITECTURES and "vision_config" in config


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, ARCHITECTURES[config["model_type"]], check_config).to(device)
    side = _side(module.config)
    decoder = module.model.text_model

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        features = module.model.get_image_features(pixels["pixel_values"]).pooler_output
        return PictureTokens(features[0], _native.tile_layout(pixels["rows"], pixels["columns"], side))

    model = _native.wrap(
        module, name=directory.name, family="smolvlm", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=True, encode_picture=encode_picture,
    )  # fmt: skip
    check_decoder(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory, side)
    return model


def _side(config: Any) -> int:
    """Return how many tokens one side of a tile has."""
    return config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor


def picture_text(layout: Layout) -> str:
    """Return the text of a picture: each tile has its tag, each row of tiles ends in a new line, the whole comes last."""
    *tiles, whole = layout.parts
    # tiles of the first row begin at the top
    columns = sum(part.box[1] == 0 for part in tiles)
    text = ""
    for number, part in enumerate(tiles):
        row, column = divmod(number, columns)
        # rows and columns of tags count from 1
        text += FAKE + TILE.format(row + 1, column + 1) + "<image>" * part.tokens + "\n" * (column == columns - 1)
    # a picture of one tile is only the whole and has no line before it
    return text + "\n" * bool(tiles) + FAKE + GLOBAL + "<image>" * whole.tokens + FAKE


def _attach_processor(model: Model, directory: Path, side: int) -> None:
    """Give the model its tokenizer and image side."""
    # The processor's own class is not used: it refuses to start without a package that only videos need.
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    processor = SmolVLMImageProcessorPil.from_pretrained(directory, local_files_only=True)
    chat = Chat(directory, _native.load_tokenizer(model, directory), model.image_token_id, "<image>", picture_text)
    chat.attach(model)
    model.frame_ids = chat.ids_of(FAKE, GLOBAL, TILE.format(r"\d+", r"\d+"))

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        return [_pixels(image, processor, _native.share_of(grid, model.dims), side) for image in images]

    model.preprocess = preprocess


def _pixels(image: Image, processor: Any, share: float, side: int) -> dict[str, Any]:
    """Return a picture's tiles [1, tiles, 3, S, S] and their grid; for a share of its tokens, from a smaller picture."""
    settings = {}
    if share < 1:
        settings["size"] = {"longest_edge": _longest_edge(image, processor, share)}
    made = processor([[_native.opaque(image)]], return_tensors="pt", return_row_col_info=True, **settings)
    return {"pixel_values": made["pixel_values"], "rows": int(made["rows"][0][0]), "columns": int(made["cols"][0][0])}


def _longest_edge(image: Image, processor: Any, share: float) -> int:
    """Return the longest edge in whole tiles whose number of tiles is nearest to a share of the picture's own."""
    tile, largest = processor.max_image_size["longest_edge"], processor.size["longest_edge"]
    shorter = min(image.size) / max(image.size)

    def tiles(edge: int) -> int:
        rows, columns = math.ceil(edge * shorter / tile), math.ceil(edge / tile)
        # the whole picture is one more tile, unless it is the only one
        return rows * columns + 1 if max(rows, columns) > 1 else 1

    wanted = share * tiles(largest)
    return min(range(tile, largest + 1, tile), key=lambda edge: abs(tiles(edge) - wanted))
