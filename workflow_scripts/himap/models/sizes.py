"""Read a model's sizes from its config.json alone, for costs, schedules and checks that run before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from himap.decoder.layout import square
from himap.files import read_json

LLAMA_DEFAULTS = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}


# What transformers' config classes fill in where a published config leaves a size out.
DEFAULTS = {
    "mistral": {**LLAMA_DEFAULTS, "num_key_value_heads": 8, "intermediate_size": 14336},
    "qwen2": {**LLAMA_DEFAULTS, "num_key_value_heads": 32, "intermediate_size": 22016, "vocab_size": 151936},
    "qwen3": {
        **LLAMA_DEFAULTS, "num_key_value_heads": 32, "intermediate_size": 22016, "vocab_size": 151936, "head_dim": 128,
    },
    "mllama_text_model": {
        **LLAMA_DEFAULTS, "num_hidden_layers": 40, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    },
    "gemma3_text": {
        "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "intermediate_size": 9216, "vocab_size": 262208,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Dims:
    """A decoder's sizes and the number of image tokens per picture: of a typical one, where pictures differ."""

    layers: int
    width: int  # D, of the hidden states
    heads: int  # H
    kv_heads: int  # Hkv, fewer than heads under grouped-query attention
    head_dim: int  # d
    ffn: int  # inner width of the feed-forward part
    vocab: int
    tokens_per_image: int
    varies: bool = False  # whether the number depends on the picture, so that only shares of it mean the same for all
    cross: tuple[int, ...] = ()  # layers that look at image tokens beside the sequence, where these are no rows of it
    picture_width: int = 0  # of those image tokens

    @property
    def grid(self) -> tuple[int, int]:
        """Return rows and columns of the image tokens; the nearest square if pictures differ, else a row if they form none."""
        side = round(self.tokens_per_image**0.5)
        # a typical picture's number is rarely a square, and its grid is only a measure of its fineness
        return (side, side) if self.varies else square(self.tokens_per_image)


def decoder_dims(text_config: dict[str, Any], tokens_per_image: int, *, varies: bool = False) -> Dims:
    """Return the sizes in a decoder's config, with transformers' defaults for keys that the checkpoint leaves out."""
    defaults = DEFAULTS.get(text_config.get("model_type", "llama"), LLAMA_DEFAULTS)
    value = {**defaults, **{key: given for key, given in text_config.items() if given is not None}}
    heads = value["num_attention_heads"]
    return Dims(
        layers=value["num_hidden_layers"],
        width=value["hidden_size"],
        heads=heads,
        kv_heads=value.get("num_key_value_heads", heads),
        head_dim=value.get("head_dim", value["hidden_size"] // heads),
        ffn=value["intermediate_size"],
        vocab=value["vocab_size"],
        tokens_per_image=tokens_per_image,
        varies=varies,
    )


def checkpoint_dims(config: dict[str, Any]) -> Dims:
    """Return the sizes in a checkpoint's config.json, of any known family."""
    if "visual" in config:  # Qwen-VL; it counts both halves of the gated feed-forward as one
        text = {
            **config,
            "intermediate_size": config["intermediate_size"] // 2,
            "num_key_value_heads": config["num_attention_heads"],
            "head_dim": config["kv_channels"],
        }
        return decoder_dims(text, config["visual"].get("n_queries", 256))
    text = config.get("text_config", config)
    if config.get("model_type") in TYPICAL:
        dims = decoder_dims(text, typical_tokens(config), varies=config["model_type"] in VARYING)
        return WITH_CROSS[config["model_type"]](dims, config) if config["model_type"] in WITH_CROSS else dims
    vision = {"image_size": 336, "patch_size": 14, **config.get("vision_config", {})}
    # "default" drops the class token, "full" keeps it
    class_token = 0 if config.get("vision_feature_select_strategy", "default") == "default" else 1
    tokens = (vision["image_size"] // vision["patch_size"]) ** 2 + class_token
    return decoder_dims(text, tokens)


def _with_gated_layers(dims: Dims, config: dict[str, Any]) -> Dims:
    """Return the sizes of an Idefics: a layer of cross-attention comes before each of some layers, and entries after the vocabulary."""
    every = config.get("cross_layer_interval", 1)
    # one gated layer before each `every`-th layer of Llama
    count = dims.layers // every
    return replace(
        dims,
        # both kinds count, in the order in which they run
        layers=dims.layers + count,
        vocab=dims.vocab + config.get("additional_vocab_size", 0),
        # with 4: layers 0, 5, 10, … of all
        cross=tuple(number * (every + 1) for number in range(count)),
        picture_width=config["vision_config"].get("embed_dim", 768),
    )


def _with_cross_layers(dims: Dims, config: dict[str, Any]) -> Dims:
    """Return the sizes of a Llama 3.2 Vision, some of whose layers are cross-attention."""
    # without the key as transformers fills it: 3, 8, 13, …, which are counted among the layers already
    layers = config["text_config"].get("cross_attention_layers") or range(3, dims.layers, 5)
    return replace(dims, cross=tuple(layers), picture_width=dims.width)


WITH_CROSS = {"idefics": _with_gated_layers, "mllama": _with_cross_layers}


def read_config(directory: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint's config.json. Raise ValueError if the folder has none."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise ValueError(f"{directory}: no config.json here; give the folder of a checkpoint")
    return read_json(path)


TYPICAL_PICTURE = (640, 480)  # width and height; what most pictures of the benchmarks have


def typical_tokens(config: dict[str, Any]) -> int:
    """Return how many image tokens a picture of 640 x 480 pixels has, by the config.json of one of TYPICAL's model types."""
    return TYPICAL[config["model_type"]](config)


def _smolvlm(config: dict[str, Any]) -> int:
    """Return the tokens of SmolVLM: four by three tiles, and the whole."""
    vision = {"image_size": 224, "patch_size": 32, **config["vision_config"]}
    return 13 * (vision["image_size"] // vision["patch_size"] // config.get("scale_factor", 2)) ** 2


def _qwen(config: dict[str, Any], patch: int) -> int:
    """Return the tokens of a Qwen: one for each square of merged patches."""
    vision = config["vision_config"]
    cell = vision.get("patch_size", patch) * vision.get("spatial_merge_size", 2)
    return round(TYPICAL_PICTURE[0] / cell) * round(TYPICAL_PICTURE[1] / cell)


def _llava_next(config: dict[str, Any]) -> int:
    """Return the tokens of LLaVA-NeXT: the whole, and two by two tiles of which three quarters of the rows are left."""
    vision = {"image_size": 336, "patch_size": 14, **config["vision_config"]}
    side = vision["image_size"] // vision["patch_size"]
    # 640 x 480 leaves a quarter of the square's rows empty, cut evenly at top and bottom as `unpad_image` does
    rows = 2 * side - 2 * ((2 * side - 2 * side * TYPICAL_PICTURE[1] // TYPICAL_PICTURE[0]) // 2)
    # the whole, then rows of two tiles' columns and a token at the end of each
    return side * side + rows * (2 * side + 1)


def _internvl(config: dict[str, Any]) -> int:
    """Return the tokens of InternVL: four by three tiles, and the thumbnail."""
    return 13 * int(config.get("image_seq_length", 256))


def _gemma(config: dict[str, Any]) -> int:
    """Return the tokens of any picture of Gemma 3."""
    return int(config.get("mm_tokens_per_image", 256))


def _mllama(config: dict[str, Any]) -> int:
    """Return the tokens of Llama 3.2 Vision: two tiles of patches (or the only one), each with a class token."""
    vision = {"image_size": 448, "patch_size": 14, "max_num_tiles": 4, **config["vision_config"]}
    return min(2, vision["max_num_tiles"]) * ((vision["image_size"] // vision["patch_size"]) ** 2 + 1)


def _instructblip(config: dict[str, Any]) -> int:
    """Return the queries of InstructBLIP's encoder."""
    return int(config.get("num_query_tokens", 32))


def _idefics(config: dict[str, Any]) -> int:
    """Return the latents of Idefics' resampler."""
    return int(config.get("perceiver_config", {}).get("resampler_n_latents", 64))


TYPICAL: dict[str, Callable[[dict[str, Any]], int]] = {
    "smolvlm": _smolvlm,
    "idefics3": _smolvlm,
    "qwen2_5_vl": lambda config: _qwen(config, 14),
    "qwen3_vl": lambda config: _qwen(config, 16),
    "llava_next": _llava_next,
    "internvl": _internvl,
    "gemma3": _gemma,
    "idefics": _idefics,
    "mllama": _mllama,
    "instructblip": _instructblip,
}
VARYING = TYPICAL.keys() - {
    "gemma3",
    "idefics",
    "instructblip",
}  # model types whose number of image tokens depends on the picture
