"""Idefics (the first): CLIP and a resampler read a picture; gated layers of cross-attention between Llama's look at the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.cross import CrossLayer
from himap.decoder.layout import Layout, PictureTokens
from himap.decoder.tokens import FOREVER
from himap.models.chat import Chat
from himap.models.families import _native
from himap.models.families._decoder_check import TRIED_LAYERS, check_config, check_cross_decoder
from himap.models.model import Model
from himap.models.sizes import checkpoint_dims, typical_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

FAKE, IMAGE, END = "<fake_token_around_image>", "<image>", "<end_of_utterance>"
# The checkpoints have no chat template. This is what their processor and their model card write, pictures first.
TEMPLATE = (
    "{{ bos_token }}User:{% for item in messages[0]['content'] %}{% if item['type'] == 'image' %}"
    + FAKE + IMAGE + "{% else %}" + FAKE + "{{ item['text'] }}{% endif %}{% endfor %}END\nAssistant:"
)  # fmt: skip
NORMS, GATES = ("q_layer_norm", "k_layer_norm"), ("alpha_cross_attn", "alpha_dense")


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of an Idefics of the first generation."""
    return config.get("model_type") == "idefics"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them."""
    module = _native.read_module(directory, dtype, "IdeficsForVisionText2Text", _check).to(device)
    core = module.model

    def encode_picture(pixels: dict[str, Any]) -> PictureTokens:
        hidden = core.vision_model(pixel_values=pixels["pixel_values"]).last_hidden_state
        latents = core.perceiver_resampler(hidden)[0]  # [n, width of the tower]
        return PictureTokens(latents, Layout.placeless(len(latents)))

    model = _native.wrap(
        module, name=directory.name, family="idefics", decoder=core, tokens_per_image=typical_tokens(config),
        varies=False, encode_picture=encode_picture, layers=_layers(core), dims=checkpoint_dims(module.config.to_dict()),
        rotary=core.layers[0].self_attn.rotary_emb, spans=spans,
        image_token_id=module.config.vocab_size + 1,  # after Llama's vocabulary: the mark around pictures, that of a picture
    )  # fmt: skip
    _check_layers(model, directory, core)
    if _native.has_processor(directory):
        _attach_processor(model, directory)
    return model


def _check_layers(model: Model, directory: Path, core: Any) -> None:
    """Raise ValueError unless the loop computes what transformers' class does in the first layers, gated ones included."""

    def native(hidden: Tensor, seen: Tensor) -> Any:
        # every token looks at the one picture: [1, T, pictures]
        mask = torch.ones(1, hidden.shape[1], 1, device=hidden.device)
        return core.eval()(
            inputs_embeds=hidden, perceiver_embeddings=seen[:, None], image_attention_mask=mask, use_cache=False
        )

    # the gated layers that come before the first four of Llama
    gated = math.ceil(TRIED_LAYERS / core.cross_layer_interval)
    check_cross_decoder(model, directory, core, native, theirs=TRIED_LAYERS, ours=TRIED_LAYERS + gated)


def _check(config: Any, directory: Path) -> None:
    """Raise ValueError for a config whose decoder the loop would not compute."""
    if not config.use_resampler:
        raise ValueError(
            f"{directory}/config.json: use_resampler is false; the project runs Idefics with its resampler"
        )
    check_config(config, directory)


def _layers(core: Any) -> list[Any]:
    """Return all layers in the order in which they run: a gated layer before each of some layers of Llama."""
    layers: list[Any] = []
    for number, layer in enumerate(core.layers):
        if number % core.cross_layer_interval == 0:
            gated = core.gated_cross_attn_layers[number // core.cross_layer_interval]
            layers.append(CrossLayer(gated, norms=NORMS, gates=GATES))
        layers.append(layer)
    return layers


def spans(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Return where each picture is looked at: from its mark to the next picture's, since a token looks at one picture alone."""
    return list(pairwise([*marks, FOREVER]))


def _attach_processor(model: Model, directory: Path) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

    processor = IdeficsImageProcessorPil.from_pretrained(directory, local_files_only=True)
    tokenizer = _native.load_tokenizer(model, directory)
    if tokenizer.convert_tokens_to_ids(IMAGE) != model.image_token_id:
        raise ValueError(
            f"{directory}: the tokenizer's mark of a picture ({IMAGE}) is not entry {model.image_token_id}; "
            "tokenizer and weights do not belong together"
        )
    # the instruct checkpoints; the base model would read the mark as several tokens
    is_trained_with_end = END in tokenizer.get_added_vocab()
    template = TEMPLATE.replace("END", END if is_trained_with_end else "")
    chat = Chat(directory, tokenizer, model.image_token_id, IMAGE, lambda layout: IMAGE, template)
    chat.attach(model)
    model.frame_ids = chat.ids_of(FAKE)
    model.end_ids |= chat.ids_of(END)

    def preprocess(
        images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None
    ) -> list[dict[str, Any]]:
        if grid is not None:
            raise ValueError(
                "every picture has the same number of tokens in Idefics; the method `downsample` cannot be used with it"
            )
        return [{"pixel_values": processor([_native.opaque(image)], return_tensors="pt")} for image in images]

    model.preprocess = preprocess
