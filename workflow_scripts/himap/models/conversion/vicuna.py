"""Convert LLaVA-v1.5 and InternVL-Chat from their authors' layouts to that of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import read_json, write_json
from himap.models.checkpoints import Renaming, weight_files
from himap.models.conversion.layout import CARRIED, Conversion, carries_tower
from himap.models.conversion.towers import compare_towers, has_weights
from himap.models.conversion.vicuna_tokenizer import _vicuna_tokenizer
from himap.models.sizes import read_config

if TYPE_CHECKING:
    from torch import Tensor

UNREAD = (
    "text_model.",
    "text_projection.",
    "visual_projection.",
    "logit_scale",
)  # CLIP's text half, which LLaVA ignores
BLOCK = 64  # vocabularies are padded to a multiple of this, as in the published transformers layout
INTERN_LAYER = {  # InternViT's names -> transformers' names
    "ls1": "lambda_1", "ls2": "lambda_2", "norm1": "layernorm_before", "norm2": "layernorm_after",
    "attn.q_norm": "attention.q_norm", "attn.k_norm": "attention.k_norm", "attn.proj": "attention.projection_layer",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
INTERN_EMBEDDINGS = {
    "class_embedding": "cls_token", "patch_embedding.weight": "patch_embeddings.projection.weight",
    "patch_embedding.bias": "patch_embeddings.projection.bias", "position_embedding": "position_embeddings",
}  # fmt: skip


def _plan_vicuna(directory: Path, config: dict[str, Any], tower: Path) -> Conversion:
    """Plan the conversion of a Vicuna decoder with a two-layer projector and CLIP or InternViT as its tower."""
    required = {
        "mm_projector_type": "mlp2x_gelu", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
        "mm_vision_select_feature": "patch", "rope_scaling": None, "tie_word_embeddings": False,
    }  # fmt: skip
    for key, value in required.items():
        if config.get(key, value) != value:
            raise ValueError(
                f"{directory}/config.json: {key} = {config[key]!r} is not supported by the conversion; only {value!r} is"
            )
    tower_config = read_config(tower)
    vision = tower_config.get("vision_config", tower_config)
    kind = vision.get("model_type", tower_config.get("model_type"))
    layouts = {"clip_vision_model": _clip, "clip": _clip, "intern_vit_6b": _intern}
    if kind not in layouts:
        raise ValueError(
            f"{tower}/config.json: model_type {kind!r} is not a known vision tower; known are CLIP and InternViT-6B"
        )
    layout, vision, processor, rename_tower = layouts[kind](tower, vision, str(config.get("mm_vision_tower", "")))
    vocabulary = config["vocab_size"]
    # 32,000 becomes 32,064: there is always room for the image mark, whose id is the old size
    padded = (vocabulary // BLOCK + 1) * BLOCK
    target = _vicuna_config(config, vision, vocabulary, padded)

    # The authors' loader takes the tower that config.json names and ignores the one in the chat checkpoint; so do we.
    carried, named = carries_tower(directory), has_weights(tower)

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        if name.startswith(CARRIED):
            return [] if named else rename_tower(name.removeprefix(CARRIED), tensor)
        if name.endswith("rotary_emb.inv_freq"):  # saved by old versions, computed by today's
            return []
        # 0 and 2 of a Sequential with an activation between them
        name = name.replace("model.mm_projector.0.", "multi_modal_projector.linear_1.")
        name = name.replace("model.mm_projector.2.", "multi_modal_projector.linear_2.")
        # both have a row per entry of the vocabulary
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = _with_rows(tensor, padded, copied=name == "lm_head.weight")
        return [(f"language_model.{name}" if name.startswith(("model.", "lm_head.")) else name, tensor)]

    sources: list[tuple[Path, Renaming]] = [(path, rename) for path in weight_files(directory)]
    if named or not carried:
        # also where neither has a tower, so that the missing files are named
        sources += [(path, rename_tower) for path in weight_files(tower)]
    tokenizer = _vicuna_tokenizer(directory, vocabulary)

    def write_beside(folder: Path) -> None:
        tokenizer.save(str(folder / "tokenizer.json"))
        shutil.copyfile(directory / "tokenizer.model", folder / "tokenizer.model")
        marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
        write_json(
            folder / "tokenizer_config.json",
            {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
             "model_max_length": config.get("max_position_embeddings", 4096), "padding_side": "left",
             "extra_special_tokens": {"image_token": "<image>"}, **marks},
        )  # fmt: skip
        write_json(folder / "preprocessor_config.json", processor)
        write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})

    def describe_tower() -> dict[str, Any]:
        comparison = compare_towers(directory, tower) if named and carried else {}
        return {"weights": "named" if named or not carried else "carried", "folder": str(tower), **comparison}

    return Conversion(
        layout, sources, [directory, tower], _vicuna_outline(target), target, write_beside, target["image_seq_length"],
        describe_tower,
    )  # fmt: skip


def _vicuna_config(config: Mapping[str, Any], vision: dict[str, Any], vocabulary: int, padded: int) -> dict[str, Any]:
    """Return the config.json of transformers' LLaVA layout; `vocabulary` is the image mark's id, `padded` the new size."""
    same = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range", "bos_token_id", "eos_token_id",
        "pad_token_id",
    )  # fmt: skip
    text = {key: config[key] for key in same if key in config}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": vocabulary,
        "image_seq_length": (vision["image_size"] // vision["patch_size"]) ** 2,
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": config["mm_vision_select_layer"],
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "torch_dtype": config.get("torch_dtype", "float16"),
        "text_config": {
            "model_type": "llama", "vocab_size": padded, "rope_theta": config.get("rope_theta", 10000.0),
            "tie_word_embeddings": False, **text,
        },
        "vision_config": vision,
    }  # fmt: skip


def _vicuna_outline(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return meta tensors, by their names on disk, for all weights that transformers' LLaVA needs with this config."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    with torch.device("meta"):
        module = LlavaForConditionalGeneration(LlavaConfig(**config))
    # CLIP's towers have a part between, InternViT's do not
    clip = "." if config["vision_config"]["model_type"] == "internvl_vision" else ".vision_model."
    # transformers loads these names on disk under others in memory: here the names in memory are turned back.
    outline = {}
    for name, tensor in module.state_dict().items():
        name = name.removeprefix("model.")
        name = name.replace("vision_tower.", f"vision_tower{clip}") if "vision_model." not in name else name
        if name.startswith("language_model."):
            name = name.replace("language_model.", "language_model.model.", 1)
        outline[f"language_model.{name}" if name.startswith("lm_head.") else name] = tensor
    return outline


def _with_rows(table: Tensor, rows: int, *, copied: bool) -> Tensor:
    """Return a table [vocabulary, D] with added rows for the image mark, [rows, D].

    In the head the added rows copy that of <unk>, so that no token can win that the original would not generate; in the
    embedding they are zero.
    """
    import torch

    added = table[:1].expand(rows - table.shape[0], -1)  # row 0 is <unk>
    return torch.cat([table, added if copied else torch.zeros_like(added)])


def _clip(tower: Path, vision: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any], dict[str, Any], Renaming]:
    """Return layout name, vision config, image processor settings and renaming for a CLIP tower."""
    same = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
        "projection_dim", "hidden_act", "layer_norm_eps",
    )  # fmt: skip
    config = {"model_type": "clip_vision_model", **{key: vision[key] for key in same if key in vision}}
    processor = read_json(tower / "preprocessor_config.json")

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        # position_ids: a buffer that old versions saved, 0 to n
        if name.startswith(UNREAD) or name.endswith("position_ids"):
            return []
        return [(f"vision_tower.{name}", tensor)]

    return "llava", config, _processor(processor["image_mean"], processor["image_std"], config["image_size"]), rename


def _intern(tower: Path, vision: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any], dict[str, Any], Renaming]:
    """Return layout name, vision config, image processor settings and renaming for an InternViT-6B tower.

    The fused query-key-value projection is split, and position embeddings are interpolated to the chat model's input size.
    """
    required = {"qk_normalization": True, "qkv_bias": False, "layer_norm_eps": 1e-06, "hidden_act": "gelu"}
    for key, value in required.items():
        if vision.get(key, value) != value:
            raise ValueError(
                f"{tower}/config.json: {key} = {vision[key]!r} is not supported by the conversion; only {value!r} is"
            )
    patch = vision["patch_size"]
    size = 448 if "448" in name else 336  # the authors' code decides this by the tower's name
    config = {
        "model_type": "internvl_vision", "norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False,
        "image_size": size, "patch_size": patch, "layer_scale_init_value": vision.get("initializer_factor", 0.1),
        "layer_norm_eps": 1e-06, "hidden_act": "gelu",
        **{k: vision[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")},
    }  # fmt: skip

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        if name.startswith("embeddings."):
            ours = INTERN_EMBEDDINGS.get(name.removeprefix("embeddings."), name)
            tensor = _interpolate_positions(tensor, size // patch) if ours == "position_embeddings" else tensor
            return [(f"vision_tower.embeddings.{ours}", tensor)]
        # filled up, so that a name of another form falls through and is reported as unexpected
        _, _, number, rest = [*name.split(".", 3), "", "", ""][:4]  # encoder.layers.<number>.<rest>
        layer = f"vision_tower.encoder.layer.{number}"
        # [3 * D, D] falls into queries, keys and values
        if rest == "attn.qkv.weight":
            return [(f"{layer}.attention.{p}_proj.weight", t) for p, t in zip("qkv", tensor.chunk(3), strict=True)]
        part, _, leaf = rest.rpartition(".")
        part, leaf = (part, f".{leaf}") if part in INTERN_LAYER else (rest, "")
        return [(f"{layer}.{INTERN_LAYER[part]}{leaf}" if part in INTERN_LAYER else name, tensor)]

    return "internvl", config, _processor([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], size), rename


def _interpolate_positions(table: Tensor, side: int) -> Tensor:
    """Return position embeddings [1, 1 + s², D], class token first, interpolated to a square of another side."""
    import torch

    from himap.models.families._qwen_parts import interpolate_positions

    return torch.cat([table[0, :1], interpolate_positions(table[0, 1:], side, side)])[None]


def _processor(mean: Sequence[float], spread: Sequence[float], size: int) -> dict[str, Any]:
    """Return the preprocessor_config.json: scale the shortest edge to the size, crop the center, normalize."""
    return {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": size, "width": size}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(mean), "image_std": list(spread),
        "do_convert_rgb": True,
    }  # fmt: skip
