"""LLaVA-1.5 in the transformers layout: CLIP tower, two-layer projector, Llama decoder."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import Tensor

from himap.decoder.attention import attention_weights
from himap.models.families import _native
from himap.models.families._decoder_check import check_config, check_decoder
from himap.models.images import pad_to_square
from himap.models.model import Model
from himap.models.prompts import IMAGE_MODES, Prompt
from himap.models.sizes import Dims
from himap.models.sizes import checkpoint_dims as dims
from himap.models.tower import Tower
from himap.registry import unknown

if TYPE_CHECKING:
    from PIL.Image import Image

CHAT = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions. "
)
SYSTEM = {"vicuna_v1": CHAT.format("user"), "llava_v1": CHAT.format("human"), "user": ""}


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a LLaVA in the transformers layout."""
    return config.get("model_type") == "llava" and "vision_config" in config


def load(
    directory: Path,
    config: dict[str, Any],
    *,
    device: str,
    dtype: torch.dtype,
    template: str = "vicuna_v1",
    image_mode: str | None = None,
) -> Model:
    """Load weights from safetensors, and tokenizer and image processor where they lie beside them.

    An `image_mode` holds for all pictures; without one each question says how its picture becomes a square, else it is padded.
    """
    if template not in SYSTEM:
        raise unknown("template", template, SYSTEM)
    if image_mode is not None and image_mode not in IMAGE_MODES:
        raise unknown("image_mode", image_mode, IMAGE_MODES)
    module = read_module(directory, dtype).to(device)
    model = from_module(module, name=directory.name)
    check_decoder(model, directory)
    if (directory / "tokenizer_config.json").is_file():
        _attach_processor(model, directory, module.config, template, image_mode)
    return model


def read_module(directory: Path, dtype: torch.dtype) -> Any:
    """Load transformers' LLaVA from safetensors. Raise ValueError unless every tensor is there, fits and is finite."""
    return _native.read_module(directory, dtype, "LlavaForConditionalGeneration", check_config)


def from_module(module: Any, name: str) -> Model:
    """Wrap a transformers model (LlavaForConditionalGeneration) that is already in memory."""
    config, decoder = module.config, module.model.language_model
    return Model(
        name=name,
        family="llava",
        dims=dims(config.to_dict()),
        module=module,
        embed_tokens=decoder.embed_tokens,
        layers=list(decoder.layers),
        norm=decoder.norm,
        rotary=decoder.rotary_emb,
        head=module.lm_head,
        image_token_id=config.image_token_id,
        end_ids=_native.end_ids(module),
        encode_images=lambda pixels: _encode(module, pixels),
        view_tower=(lambda pixels: _view_tower(module, pixels)) if _has_class_token(config) else None,
    )


def random_model(sizes: Dims, *, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Model:
    """Return a LLaVA of given sizes with random weights, for benchmarks of speed and for tests."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    side, patch = sizes.grid[0], 14
    # The tower has a quarter of the decoder's width and three quarters of its layers, as in the 7B model.
    width = max(64, sizes.width // 4 // 64 * 64)
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=max(2, sizes.layers * 3 // 4),
        num_attention_heads=width // 64, image_size=side * patch, patch_size=patch,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=sizes.width, intermediate_size=sizes.ffn, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads, head_dim=sizes.head_dim,
        vocab_size=sizes.vocab, max_position_embeddings=4096, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=sizes.vocab - 1, dtype=dtype)
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # so that a large model is never in memory as fp32
    try:
        with torch.device(device):
            module = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model = from_module(module, name="random")
    module.requires_grad_(False).eval()
    return model


def _encode(module: Any, pixels: Tensor) -> Tensor:
    """Return decoder inputs [N, n, D] of pixels [N, 3, H, W]; for an untrained size, positions are interpolated."""
    config = module.config
    native = pixels.shape[-1] == config.vision_config.image_size
    features = module.model.get_image_features(
        pixel_values=pixels.to(module.lm_head.weight.device, module.lm_head.weight.dtype),
        vision_feature_layer=config.vision_feature_layer,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        **({} if native else {"interpolate_pos_encoding": True}),
    )
    return torch.stack(list(features.pooler_output))


def _has_class_token(config: Any) -> bool:
    """Return whether the tower is CLIP's, with a class token that the projector does not read."""
    tower = config.vision_config.model_type == "clip_vision_model"
    return tower and config.vision_feature_select_strategy == "default" and isinstance(config.vision_feature_layer, int)


def _view_tower(module: Any, pixels: Tensor) -> Tower:
    """Return what the tower makes of pixels [N, 3, H, W], read off its feature layer in an ordinary run."""
    tower, number = module.model.vision_tower, module.config.vision_feature_layer
    layers = tower.encoder.layers
    layer = layers[number if number < 0 else number - 1]  # hidden state 0 is the embedding, before any layer
    read: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: read.update({name: output[0] if isinstance(output, tuple) else output})

    parts = {"queries": layer.self_attn.q_proj, "keys": layer.self_attn.k_proj, "output": layer}
    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        _encode(module, pixels)
    finally:
        for hook in hooks:
            hook.remove()
    heads = layer.self_attn.num_heads
    # the class token's row alone: the whole map of all heads would be hundreds of times as large
    query = read["queries"][:, :1].unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, H, 1, d]
    keys = read["keys"].unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, H, 1 + n, d]
    weights = attention_weights(query, keys, keys.shape[-1] ** -0.5, None)[:, :, 0]  # [N, H, 1 + n]
    hidden = read["output"]  # [N, 1 + n, C]
    return Tower(
        class_attention=weights[..., 1:],
        keys=keys.mean(dim=1)[:, 1:],
        hidden=hidden[:, 1:],
        class_hidden=hidden[:, 0],
        project=module.model.multi_modal_projector,
    )


def _attach_processor(model: Model, directory: Path, config: Any, template: str, image_mode: str | None) -> None:
    """Give the model its tokenizer and image side."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _native.load_tokenizer(model, directory)
    processor = CLIPImageProcessorPil.from_pretrained(directory, local_files_only=True)
    plain, mark = _text_tokenizer(tokenizer, config.image_token_id)
    mark_id = plain.convert_tokens_to_ids(mark)

    def tokenize(prompt: Prompt, image_tokens: Sequence[SupportsIndex]) -> list[int]:
        text = prompt_text(prompt, template, [mark * n for n in image_tokens])
        ids = plain(text, split_special_tokens=True)["input_ids"]
        return [config.image_token_id if token == mark_id else token for token in ids]

    def preprocess(images: Sequence[Image], grid: Sequence[int] | None = None, mode: str | None = None) -> Tensor:
        return _pixels(images, processor, image_mode or mode or "pad", grid, config.vision_config.patch_size)

    def answer_ids(text: str) -> list[int]:
        # A word's tokens depend on what comes before it, so it is tokenized as the start of an answer.
        options = {"add_special_tokens": False, "split_special_tokens": True}
        before = tokenizer("ASSISTANT:", **options)["input_ids"]
        return tokenizer(f"ASSISTANT: {text}", **options)["input_ids"][len(before) :]

    model.tokenize, model.preprocess, model.answer_ids = tokenize, preprocess, answer_ids
    model.pads = lambda mode: (image_mode or mode or "pad") == "pad"
    model.detokenize = lambda ids: tokenizer.decode(ids, skip_special_tokens=True).strip()
    model.plain_id = tokenizer.convert_tokens_to_ids


def _text_tokenizer(tokenizer: Any, image_token_id: int) -> tuple[Any, str]:
    """Return a tokenizer that reads every mark in a question (`<image>`, `</s>`) as plain text, and a secret image mark."""
    from transformers import AddedToken

    known = tokenizer.added_tokens_decoder[image_token_id]
    # Questions come from data sets. With a random mark, none of them can contain an image's place; it splits the text at
    # the same places as `<image>` does.
    secret = AddedToken(
        f"<image {secrets.token_hex(16)}>", lstrip=known.lstrip, rstrip=known.rstrip, normalized=known.normalized
    )
    plain = copy.deepcopy(tokenizer)
    plain.add_tokens([secret])
    return plain, secret.content


def prompt_text(prompt: Prompt, template: str, images: Sequence[str]) -> str:
    """Return the whole text to tokenize: template, image marks, the user's words."""
    message = "".join(f"{image}\n" for image in images) + prompt.text.lstrip("\n")
    if prompt.style == "raw":
        return message
    system = SYSTEM["llava_v1" if prompt.style == "fastv" else template]  # FastV's code asks with this template
    return f"{system}USER: {message} ASSISTANT:"


def _pixels(images: Sequence[Image], processor: Any, mode: str, grid: Sequence[int] | None, patch: int) -> Tensor:
    """Return pixels [N, 3, H, W]: padded to a square with the mean color, or center-cropped; `grid` asks for a smaller size."""
    rgb = [image.convert("RGB") for image in images]
    if mode == "pad":
        # (122, 116, 104) for CLIP; cut off and not rounded, as the authors do
        color = tuple(int(255 * mean) for mean in processor.image_mean)
        rgb = [pad_to_square(image, color) for image in rgb]
    size = {}
    if grid is not None:
        size = {
            "size": {"shortest_edge": grid[0] * patch},
            "crop_size": {"height": grid[0] * patch, "width": grid[1] * patch},
        }
    return processor(rgb, return_tensors="pt", **size)["pixel_values"]
