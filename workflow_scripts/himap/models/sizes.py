"""Read a model's sizes from its config.json alone, for costs, schedules and checks that run before any weight is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himap.files import read_json

LLAMA_DEFAULTS = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}


@dataclass(frozen=True)
class Dims:
    """A decoder's sizes and the number of image tokens per picture."""

    layers: int
    width: int  # D, of the hidden states
    heads: int  # H
    kv_heads: int  # Hkv, fewer than heads under grouped-query attention
    head_dim: int  # d
    ffn: int  # inner width of the feed-forward part
    vocab: int
    tokens_per_image: int

    @property
    def grid(self) -> tuple[int, int]:
        """Return rows and columns of the image tokens in the picture; a single row if they form no square."""
        side = round(self.tokens_per_image**0.5)
        return (side, side) if side * side == self.tokens_per_image else (1, self.tokens_per_image)


def decoder_dims(text_config: dict[str, Any], tokens_per_image: int) -> Dims:
    """Return the sizes in a decoder's config, with transformers' defaults for keys that the checkpoint leaves out."""
    value = {**LLAMA_DEFAULTS, **{key: given for key, given in text_config.items() if given is not None}}
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
    vision = {"image_size": 336, "patch_size": 14, **config.get("vision_config", {})}
    class_token = 0 if config.get("vision_feature_select_strategy", "default") == "default" else 1
    tokens = (vision["image_size"] // vision["patch_size"]) ** 2 + class_token
    return decoder_dims(config.get("text_config", config), tokens)


def read_config(directory: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint's config.json. Raise ValueError if the folder has none."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise ValueError(f"{directory}: no config.json here; give the folder of a checkpoint")
    return read_json(path)
