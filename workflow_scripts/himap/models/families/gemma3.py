"""Gemma 3: SigLIP pooled to a fixed grid, norms around each part, sliding windows; a picture's tokens see each other both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.layout import Layout, PictureTokens
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import SANDWICH, check_config, check_decoder
from himap.models.model import Model
from himap.models.sizes import typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

START, IMAGE, END = "<start_of_image>", "<image_soft_token>", "<end_of_image>"


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a Gemma 3 with pictures."""
    return config.get("model_type") == "gemma3" and "vision_config" in config


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    check = partial(check_config, mixed_layers=True)
    module = _native.read_module(directory, dtype, "Gemma3ForConditionalGeneration", check).to(device)
    decoder, text = module.model.language_model, module.config.text_config

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        features = module.model.get_image_features(pixels["pixel_values"]).pooler_output[0]
        return PictureTokens(features, Layout.square(len(features)))

    model = _native.wrap(
        module, name=directory.name, family="gemma3", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=False, encode_picture=encode_picture, sees_both_ways=True, local_rotary=_table(decoder, "sliding_attention"),
        windows=[text.sliding_window if kind == "sliding_attention" else None for kind in text.layer_types],
    )  # fmt: skip
    # transformers' class takes the kind of layer as a third argument, which the loop does not know
    model.rotary = _table(decoder, "full_attention")
    check_decoder(model, directory, decoder, SANDWICH)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _table(decoder: Any, kind: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the rotary angles of one kind of layer."""
    return lambda hidden, positions: decoder.rotary_emb(hidden, positions, kind)


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    processor: Any = Gemma3ImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    chat = Chat(
        directory, tokenizer, model.image_token_id, START,
        lambda layout: f"\n\n{START}{IMAGE * int(layout)}{END}\n\n",
    )  # fmt: skip
    chat.attach(model)
    model.frame_ids = chat.ids_of(START, END)

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        # without crops of wide pictures, as where the settings say nothing of pan and scan
        made = [processor([_native.opaque(image)], return_tensors="pt", do_pan_and_scan=False) for image in images]
        # The tower has one input size, so fewer tokens are an average over their grid.
        share = _native.share_of(grid, model.dims)
        return [{"pixel_values": inputs["pixel_values"], "share": share} for inputs in made]

    model.preprocess = preprocess
