"""InstructBLIP with Vicuna: a small encoder reads picture and question; its 32 queries are the first tokens of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from himap.decoder.cache import Cache
from himap.decoder.layout import Layout, PictureTokens
from himap.decoder.loop import forward
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_decoder
from himap.models.families._query_former import reader_of
from himap.models.model import Model
from himap.models.prompts import Prompt
from himap.models.sizes import typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of an InstructBLIP."""
    return config.get("model_type") == "instructblip"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizers and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, "InstructBlipForConditionalGeneration", _check).to(device)
    decoder, reader = module.language_model.model, reader_of(module, directory.name)

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        if "question" not in pixels:
            raise ValueError("the picture encoder of an InstructBLIP reads the question; call Model.add_question first")
        queries = module.config.num_query_tokens
        # through our own loop, so that interventions on the encoder and a plain run compute the same
        read = forward(reader.model, reader.rows(pixels["pixel_values"], pixels["question"]), Cache())
        return PictureTokens(reader.project(read.hidden[0, :queries]), Layout.placeless(queries))

    model = _native.wrap(
        module, name=directory.name, family="instructblip", decoder=decoder, tokens_per_image=typical_tokens(config),
        varies=False, encode_picture=encode_picture, head=module.language_model.lm_head, reader=reader,
    )  # fmt: skip
    check_decoder(model, directory, decoder)
    if _native.has_processor(directory):
        _attach_processor(model, directory, module.config.qformer_config.max_position_embeddings)
    return model


def _check(config: Any, directory: Path) -> None:
    """Raise ValueError for a decoder that the loop would not compute, and for an old config without an image mark."""
    if not config.use_decoder_only_language_model:
        raise ValueError(
            f"{directory}/config.json: text_config.model_type {config.text_config.model_type!r} is an encoder and a decoder; "
            "the project runs decoders, take an InstructBLIP with Vicuna"
        )
    if config.image_token_id is None:
        raise ValueError(
            f"{directory}/config.json: image_token_index is missing; take a later revision of the checkpoint"
        )
    check_config(config, directory)


def _attach_processor(model: Model, directory: Path, longest: int) -> None:
    """Give the model its tokenizers and image side; the encoder reads at most `longest` tokens of a question."""
    from transformers import AutoTokenizer
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    processor = BlipImageProcessorPil.from_pretrained(directory, local_files_only=True)
    words = _native.load_tokenizer(model, directory)
    reader: Any = AutoTokenizer.from_pretrained(
        directory / "qformer_tokenizer", local_files_only=True, trust_remote_code=False
    )

    def tokenize(prompt: Prompt, layouts: Sequence[Any]) -> list[int]:
        # The queries come before the start mark, so that the prompt has no system token.
        text = words(prompt.text, split_special_tokens=True)["input_ids"]
        return [model.image_token_id] * sum(map(int, layouts)) + text

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        if grid is not None:
            raise ValueError(
                "every picture has the same number of queries in InstructBLIP; the method `downsample` cannot be used with it"
            )
        return [dict(processor([_native.opaque(image)], return_tensors="pt")) for image in images]

    def add_question(pixels: list[dict[str, Any]], prompt: Prompt) -> list[dict[str, Any]]:
        read = reader(prompt.text, split_special_tokens=True, truncation=True, max_length=longest, return_tensors="pt")
        return [{**picture, "question": read["input_ids"]} for picture in pixels]

    model.tokenize, model.preprocess, model.add_question = tokenize, preprocess, add_question
    model.answer_ids = lambda text: words(text, add_special_tokens=False)["input_ids"]
    model.detokenize = lambda ids: words.decode(ids, skip_special_tokens=True).strip()
    model.plain_id = words.convert_tokens_to_ids
    model.frame_ids = frozenset({words.bos_token_id} - {None})
    # The published configs name another end than the tokenizer, whose end mark the model was trained with.
    model.end_ids |= {words.eos_token_id} - {None}
