"""Template of a model family: ViP-LLaVA in transformers' layout, which reads five layers of its vision tower.

Copy this file to `workflow_scripts/himap/models/families/<family>.py` and change the parts. The file's name is the
family's name, in the config (`family:`) and in `Model.family`; nothing else lists it. A checkpoint belongs to the first
family whose `matches` accepts its config.json. The decoder's layers must be transformers' decoder layers with Llama's
submodule names (`input_layernorm`, `self_attn` with its four projections, `post_attention_layernorm`, `mlp`): the loop of
`himap/decoder/loop.py` runs them one by one. `tests/models/test_families.py` runs every method and analysis on a family.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.models.images import pad_to_square
from himap.models.model import Model
from himap.models.prompts import Prompt
from himap.models.sizes import checkpoint_dims

if TYPE_CHECKING:
    from PIL.Image import Image

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json belongs to this family."""
    return config.get("model_type") == "vipllava"


def load(directory: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> Model:
    """Load weights from safetensors, with tokenizer and image processor. Further keyword arguments are options of the family."""
    from transformers import VipLlavaForConditionalGeneration

    module: Any = VipLlavaForConditionalGeneration.from_pretrained(
        directory, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", local_files_only=True
    )
    module = module.to(device)
    decoder = module.model.language_model
    ends = module.generation_config.eos_token_id
    ends = config["text_config"].get("eos_token_id", 2) if ends is None else ends
    model = Model(
        name=directory.name,
        family="vipllava",  # the file's name; benchmarks that have no prompt for it ask as they ask LLaVA
        dims=checkpoint_dims(config),
        module=module,
        embed_tokens=decoder.embed_tokens,
        layers=list(decoder.layers),
        norm=decoder.norm,
        rotary=decoder.rotary_emb,
        head=module.lm_head,
        image_token_id=module.config.image_token_id,
        end_ids=frozenset(ends if isinstance(ends, list) else [ends]),
        encode_images=lambda pixels: encode(module, pixels),
    )
    attach_processor(model, directory)
    return model


@torch.no_grad()
def encode(module: Any, pixels: Tensor) -> Tensor:
    """Return decoder inputs [N, n, D] of pixels [N, 3, H, W]."""
    pixels = pixels.to(module.lm_head.weight.device, module.lm_head.weight.dtype)
    layers = module.config.vision_feature_layer
    return module.model.get_image_features(pixels, vision_feature_layer=layers).pooler_output


def attach_processor(model: Model, directory: Path) -> None:
    """Give the model its text and image sides."""
    from transformers import AutoTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    processor = CLIPImageProcessorPil.from_pretrained(directory, local_files_only=True)
    background = tuple(int(255 * mean) for mean in processor.image_mean)
    mark = tokenizer.convert_ids_to_tokens(model.image_token_id)

    def tokenize(prompt: Prompt, image_tokens: Sequence[int]) -> list[int]:
        images = "".join(mark * count + "\n" for count in image_tokens)  # one mark for each image token
        text = images + prompt.text
        return tokenizer(text if prompt.style == "raw" else f"{SYSTEM}###Human: {text}###Assistant:")["input_ids"]

    def preprocess(images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None) -> Tensor:
        if grid is not None:
            raise ValueError("ViP-LLaVA's tower takes one image size; the method `downsample` cannot be used with it")
        pictures = [image.convert("RGB") for image in images]
        if mode == "pad":  # as the benchmark's protocol asks; the processor itself cuts the sides off
            pictures = [pad_to_square(picture, background) for picture in pictures]
        return processor(pictures, return_tensors="pt")["pixel_values"]

    def answer_ids(text: str) -> list[int]:
        before = tokenizer("###Assistant:", add_special_tokens=False)["input_ids"]
        return tokenizer(f"###Assistant: {text}", add_special_tokens=False)["input_ids"][len(before) :]

    model.tokenize, model.preprocess, model.answer_ids = tokenize, preprocess, answer_ids
    model.detokenize = lambda ids: tokenizer.decode(ids, skip_special_tokens=True).strip()
    model.plain_id = tokenizer.convert_tokens_to_ids
