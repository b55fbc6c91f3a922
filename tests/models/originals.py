"""Tiny random checkpoints in the layouts their authors published: same file formats, key names and config fields.

The weights come from NumPy's frozen `RandomState` stream, so the same call makes the same bytes everywhere: what the
original implementations answered on these checkpoints is recorded in `tests/fixtures/models/recorded.json`.
Run as a script to write them into a folder: `python tests/models/originals.py FOLDER [NAME...]`.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: What colour is the ball? ASSISTANT: red USER: How many dogs "
    "are in the picture? Answer the question using a single word or phrase. ASSISTANT: two system You are a helpful "
    "assistant. user Picture 1: Is there a dog in the image? Please answer yes or no. assistant Describe the image in "
    "English: Context: Question: Options: A. B. C. D. Answer: Answer with the option's letter from the given choices "
    "directly. Provide a one-sentence caption for the provided image. Analyse the image and choose the best answer."
)


def image(number: int) -> Any:
    """A small picture made by a formula; the three first are square, wide and tall."""
    from PIL import Image

    height, width = ((90, 90), (70, 131), (120, 64))[number % 3]
    y, x = np.mgrid[0:height, 0:width]
    red = (x * 255 // max(1, width - 1) + 40 * number) % 256
    green = (y * 255 // max(1, height - 1)) % 256
    blue = (((x // 11) + (y // 7)) % 2) * 200 + 20 * (number % 3)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8), "RGB")


# ---------------------------------------------------------------- vocabularies


def merged_pairs(words: Iterable[tuple[bytes, ...]], count: int) -> list[bytes]:
    """Plain byte-pair encoding: the `count` most frequent pairs, one after the other; ties go to the smaller bytes."""
    pieces = Counter(words)
    found: list[bytes] = []
    while len(found) < count:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, times in pieces.items():
            for left, right in itertools.pairwise(word):
                pairs[left, right] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best[0] + best[1])
        pieces = Counter({_joined(word, best): times for word, times in pieces.items()})
    return found


def _joined(word: tuple[bytes, ...], pair: tuple[bytes, bytes]) -> tuple[bytes, ...]:
    out: list[bytes] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] = out[-1] + part
        else:
            out.append(part)
    return tuple(out)


def write_tiktoken(path: Path, merges: int = 150) -> int:
    """A `qwen.tiktoken`: base64 of the token, a space, its rank. Single bytes come first, printable ones leading."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    single = [bytes([b]) for b in (*printable, *(b for b in range(256) if b not in printable))]
    words = [tuple(bytes([b]) for b in (" " * (i > 0) + w).encode()) for i, w in enumerate(CORPUS.split())]
    tokens = list(dict.fromkeys([*single, *merged_pairs(words, merges)]))
    path.write_bytes(b"".join(base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens)))
    return len(tokens)


def _field(number: int, value: bytes | int | float | str) -> bytes:
    """One field of a protocol-buffer message."""

    def varint(n: int) -> bytes:
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes([*out, n])

    if isinstance(value, bool | int):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def write_sentencepiece(path: Path, merges: int = 150) -> int:
    """A Llama-style SentencePiece BPE model: <unk> <s> </s>, 256 byte pieces, merged pieces, then single characters."""
    normal, unknown, control, byte = 1, 2, 3, 6
    space = "\u2581"
    words = [tuple(c.encode() for c in space + word) for word in CORPUS.split()]
    merged = [piece.decode() for piece in merged_pairs(words, merges)]
    characters = sorted(set(CORPUS.replace(" ", "") + space))
    pieces: list[tuple[str, float, int]] = [("<unk>", 0.0, unknown), ("<s>", 0.0, control), ("</s>", 0.0, control)]
    pieces += [(f"<0x{b:02X}>", 0.0, byte) for b in range(256)]
    pieces += [(piece, -float(rank), normal) for rank, piece in enumerate([*dict.fromkeys(merged), *characters])]
    body = b"".join(_field(1, _field(1, piece) + _field(2, score) + _field(3, kind)) for piece, score, kind in pieces)
    trainer = _field(3, 2) + _field(4, len(pieces)) + _field(35, True)  # BPE, vocabulary size, byte fallback
    trainer += _field(40, 0) + _field(41, 1) + _field(42, 2)  # ids of unknown, beginning, end
    normalizer = _field(1, "identity") + _field(3, True) + _field(4, False) + _field(5, True)
    path.write_bytes(body + _field(2, trainer) + _field(3, normalizer))
    return len(pieces)


# ---------------------------------------------------------------- weights


class Draw:
    """Named random tensors with a spread that keeps activations near one, whatever the depth."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)
        self.tensors: dict[str, np.ndarray] = {}

    def matrix(self, name: str, *shape: int, scale: float = 1.0) -> None:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        self.tensors[name] = (self.random.standard_normal(shape) * scale / np.sqrt(fan_in)).astype(np.float32)

    def table(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.tensors[name] = np.asarray(self.random.standard_normal(shape) * scale, dtype=np.float32)

    def linear(self, name: str, out: int, into: int, bias: bool = True) -> None:
        self.matrix(f"{name}.weight", out, into)
        if bias:
            self.table(f"{name}.bias", out, scale=0.1)

    def norm(self, name: str, width: int, bias: bool = False) -> None:
        self.tensors[f"{name}.weight"] = (1 + 0.1 * self.random.standard_normal(width)).astype(np.float32)
        if bias:
            self.table(f"{name}.bias", width, scale=0.1)


def write_bin_shards(folder: Path, tensors: Mapping[str, np.ndarray], shards: int, dtype: str = "float32") -> None:
    """The sharded `.bin` layout: numbered torch pickles and an index that says which holds what."""
    import torch

    names = list(tensors)
    torch_tensors = {name: torch.from_numpy(np.array(tensors[name])) for name in names}
    for name, tensor in torch_tensors.items():
        if tensor.is_floating_point():
            torch_tensors[name] = tensor.to(getattr(torch, dtype))
    if shards == 1:
        torch.save(torch_tensors, folder / "pytorch_model.bin")
        return
    size = -(-len(names) // shards)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = {name: torch_tensors[name] for name in names[number * size : (number + 1) * size]}
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in torch_tensors.values())
    _json(folder / "pytorch_model.bin.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- LLaVA-v1.5 and InternVL-Chat-V1.0 (Vicuna)


def _vicuna(draw: Draw, sizes: Mapping[str, int], vocabulary: int, mm_width: int) -> None:
    width, ffn = sizes["width"], sizes["ffn"]
    draw.table("model.embed_tokens.weight", vocabulary, width)
    for layer in range(sizes["layers"]):
        prefix = f"model.layers.{layer}"
        for part in ("q", "k", "v", "o"):
            draw.linear(f"{prefix}.self_attn.{part}_proj", width, width, bias=False)
        head = width // sizes["heads"]
        inverse = 1.0 / 10000 ** (np.arange(0, head, 2, dtype=np.float32) / head)
        draw.tensors[f"{prefix}.self_attn.rotary_emb.inv_freq"] = inverse.astype(np.float32)
        draw.linear(f"{prefix}.mlp.gate_proj", ffn, width, bias=False)
        draw.linear(f"{prefix}.mlp.up_proj", ffn, width, bias=False)
        draw.linear(f"{prefix}.mlp.down_proj", width, ffn, bias=False)
        draw.norm(f"{prefix}.input_layernorm", width)
        draw.norm(f"{prefix}.post_attention_layernorm", width)
    draw.norm("model.norm", width)
    draw.linear("model.mm_projector.0", width, mm_width)
    draw.linear("model.mm_projector.2", width, width)
    draw.matrix("lm_head.weight", vocabulary, width, scale=2.0)


def _vicuna_folder(
    folder: Path, sizes: Mapping[str, int], draw: Draw, mm: Mapping[str, Any], shards: int, model_type: str, dtype: str
) -> None:
    vocabulary = write_sentencepiece(folder / "tokenizer.model")
    _vicuna(draw, sizes, vocabulary, mm["mm_hidden_size"])
    write_bin_shards(folder, draw.tensors, shards, dtype)
    config = {
        "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "freeze_mm_mlp_adapter": False, "hidden_act": "silu", "hidden_size": sizes["width"],
        "image_aspect_ratio": "pad", "initializer_range": 0.02, "intermediate_size": sizes["ffn"],
        "max_length": 4096, "max_position_embeddings": 4096, "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False, "mm_use_im_start_end": False, "mm_vision_select_feature": "patch",
        "model_type": model_type, "num_attention_heads": sizes["heads"], "num_hidden_layers": sizes["layers"],
        "num_key_value_heads": sizes["heads"], "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "tie_word_embeddings": False, "torch_dtype": dtype, "transformers_version": "4.31.0",
        "tune_mm_mlp_adapter": False, "use_cache": True, "use_mm_proj": True, "vocab_size": vocabulary, **mm,
    }  # fmt: skip
    _json(folder / "config.json", config)
    token = {"content": "", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    special = {f"{n}_token": {**token, "content": c} for n, c in (("bos", "<s>"), ("eos", "</s>"), ("unk", "<unk>"))}
    _json(folder / "special_tokens_map.json", {**special, "pad_token": "<unk>"})
    typed = {name: {"__type": "AddedToken", **value} for name, value in special.items()}
    _json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True, "add_eos_token": False, **typed, "clean_up_tokenization_spaces": False,
            "legacy": False, "model_max_length": 2048, "pad_token": None, "padding_side": "right",
            "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer",
        },
    )  # fmt: skip
    _json(
        folder / "generation_config.json",
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "max_length": 4096, "pad_token_id": 0},
    )


def write_clip_tower(folder: Path, image_size: int, width: int = 32, layers: int = 3, seed: int = 7) -> None:
    """`openai/clip-vit-large-patch14-336`: the whole CLIP, text half included, in one `pytorch_model.bin`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, ffn, patch = Draw(seed), 2 * width, 14
    places = (image_size // patch) ** 2 + 1
    draw.table("logit_scale")
    draw.table("text_model.embeddings.token_embedding.weight", 8, width)
    draw.tensors["vision_model.embeddings.position_ids"] = np.arange(places, dtype=np.int64)[None]
    draw.table("vision_model.embeddings.class_embedding", width)
    draw.matrix("vision_model.embeddings.patch_embedding.weight", width, 3, patch, patch, scale=3.0)
    draw.table("vision_model.embeddings.position_embedding.weight", places, width, scale=0.3)
    draw.norm("vision_model.pre_layrnorm", width, bias=True)
    for layer in range(layers):
        prefix = f"vision_model.encoder.layers.{layer}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            draw.linear(f"{prefix}.self_attn.{part}", width, width)
        draw.norm(f"{prefix}.layer_norm1", width, bias=True)
        draw.linear(f"{prefix}.mlp.fc1", ffn, width)
        draw.linear(f"{prefix}.mlp.fc2", width, ffn)
        draw.norm(f"{prefix}.layer_norm2", width, bias=True)
    draw.norm("vision_model.post_layernorm", width, bias=True)
    draw.linear("visual_projection", 16, width, bias=False)
    write_bin_shards(folder, draw.tensors, 1)
    vision = {
        "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": width,
        "image_size": image_size, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": ffn,
        "layer_norm_eps": 1e-05, "model_type": "clip_vision_model", "num_attention_heads": 4,
        "num_channels": 3, "num_hidden_layers": layers, "patch_size": patch, "projection_dim": 16,
    }  # fmt: skip
    text = {"hidden_size": width, "model_type": "clip_text_model", "vocab_size": 8, "num_hidden_layers": 0}
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 16}
    _json(folder / "config.json", {**config, "text_config": text, "vision_config": vision})
    _json(
        folder / "preprocessor_config.json",
        {
            "crop_size": image_size, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": image_size,
        },
    )  # fmt: skip


SIZES = {"width": 32, "layers": 4, "heads": 4, "ffn": 64}


def write_llava(
    folder: Path,
    *,
    image_size: int = 56,
    shards: int = 2,
    seed: int = 1,
    model_type: str = "llava",
    dtype: str = "float32",
    sizes: Mapping[str, int] = SIZES,
) -> Path:
    """`liuhaotian/llava-v1.5-*` in FOLDER/chat and its CLIP tower in FOLDER/clip; 16 image tokens by default."""
    chat = folder / "chat"
    chat.mkdir(parents=True, exist_ok=True)
    write_clip_tower(folder / "clip", image_size)
    mm = {"mm_hidden_size": 32, "mm_vision_select_layer": -2, "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    _vicuna_folder(chat, sizes, Draw(seed), mm, shards, model_type, dtype)
    return chat


def write_intern_tower(folder: Path, image_size: int, width: int = 32, layers: int = 6, seed: int = 8) -> None:
    """`OpenGVLab/InternViT-6B-*`: fused query-key-value, query-key normalisation, layer scale, no bias on qkv."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, ffn, patch = Draw(seed), 2 * width, 14
    _intern_weights(draw, "", image_size, width, layers, ffn, patch)
    write_bin_shards(folder, draw.tensors, 2)
    config = {
        "architectures": ["InternVisionModel"], "attention_dropout": 0.0, "drop_path_rate": 0.0, "dropout": 0.0,
        "auto_map": {"AutoModel": "modeling_intern_vit.InternVisionModel"}, "hidden_act": "gelu",
        "hidden_size": width, "image_size": image_size, "initializer_factor": 0.1, "initializer_range": 1e-10,
        "intermediate_size": ffn, "layer_norm_eps": 1e-06, "model_type": "intern_vit_6b", "num_attention_heads": 4,
        "num_channels": 3, "num_hidden_layers": layers, "patch_size": patch, "qk_normalization": True,
        "qkv_bias": False, "torch_dtype": "bfloat16", "transformers_version": "4.32.0", "use_flash_attn": False,
    }  # fmt: skip
    _json(folder / "config.json", config)
    _json(
        folder / "preprocessor_config.json",
        {
            "crop_size": image_size, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": image_size,
        },
    )  # fmt: skip


def _intern_weights(draw: Draw, at: str, image_size: int, width: int, layers: int, ffn: int, patch: int) -> None:
    draw.table(f"{at}embeddings.class_embedding", 1, 1, width)
    draw.matrix(f"{at}embeddings.patch_embedding.weight", width, 3, patch, patch, scale=3.0)
    draw.table(f"{at}embeddings.patch_embedding.bias", width, scale=0.1)
    draw.table(f"{at}embeddings.position_embedding", 1, (image_size // patch) ** 2 + 1, width, scale=0.3)
    for layer in range(layers):
        prefix = f"{at}encoder.layers.{layer}"
        draw.table(f"{prefix}.ls1", width, scale=0.5)
        draw.table(f"{prefix}.ls2", width, scale=0.5)
        draw.linear(f"{prefix}.attn.qkv", 3 * width, width, bias=False)
        draw.norm(f"{prefix}.attn.q_norm", width)
        draw.norm(f"{prefix}.attn.k_norm", width)
        draw.linear(f"{prefix}.attn.proj", width, width)
        draw.linear(f"{prefix}.mlp.fc1", ffn, width)
        draw.linear(f"{prefix}.mlp.fc2", width, ffn)
        draw.norm(f"{prefix}.norm1", width)
        draw.norm(f"{prefix}.norm2", width)


def write_internvl(
    folder: Path,
    *,
    tower: str = "InternViT-6B-224px",
    tower_size: int = 224,
    tower_inside: bool = False,
    shards: int = 2,
    seed: int = 2,
    dtype: str = "float32",
) -> Path:
    """`OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B` in FOLDER/chat, its InternViT in FOLDER/<tower> (inside too if asked).

    The original decides on 336 or 448 pixels by the tower's name; a 224 px tower's position embeddings are stretched.
    """
    chat = folder / "chat"
    chat.mkdir(parents=True, exist_ok=True)
    write_intern_tower(folder / tower, tower_size)
    draw = Draw(seed)
    if tower_inside:
        _intern_weights(draw, "model.vision_tower.vision_tower.", tower_size, 32, 6, 64, 14)
    mm = {"mm_hidden_size": 32, "mm_vision_select_layer": -4, "mm_vision_tower": f"OpenGVLab/{tower}"}
    _vicuna_folder(chat, SIZES, draw, mm, shards, "llava", dtype)
    return chat


# ---------------------------------------------------------------- Qwen-VL-Chat


def _sincos_2d(width: int, side: int) -> np.ndarray:
    """Fixed two-dimensional sine-cosine embeddings [side², width]: half the width for columns, half for rows."""

    def one(places: np.ndarray, width: int) -> np.ndarray:
        omega = 1.0 / 10000 ** (np.arange(width // 2, dtype=np.float32) / (width / 2.0))
        angles = places.reshape(-1)[:, None] * omega[None]
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    columns, rows = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return np.concatenate([one(columns, width // 2), one(rows, width // 2)], axis=1).astype(np.float32)


QWEN_SIZES = {"width": 128, "layers": 4, "heads": 4, "ffn": 96}


def write_qwen_vl(
    folder: Path,
    *,
    image_size: int = 112,
    seq_length: int = 2048,
    shards: int = 3,
    seed: int = 3,
    dtype: str = "float32",
    sizes: Mapping[str, int] = QWEN_SIZES,
) -> Path:
    """`Qwen/Qwen-VL-Chat`: fused c_attn with bias, w1/w2 feed-forward, ViT with its own position table, resampler."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = write_tiktoken(folder / "qwen.tiktoken")
    special = 3 + 205 + 9
    vocabulary = -(-(ranks + special) // 64) * 64
    width, ffn, heads, layers = (sizes[key] for key in ("width", "ffn", "heads", "layers"))
    draw = Draw(seed)
    draw.table("transformer.wte.weight", vocabulary, width)
    for layer in range(layers):
        prefix = f"transformer.h.{layer}"
        draw.norm(f"{prefix}.ln_1", width)
        draw.linear(f"{prefix}.attn.c_attn", 3 * width, width)
        draw.linear(f"{prefix}.attn.c_proj", width, width, bias=False)
        draw.norm(f"{prefix}.ln_2", width)
        draw.linear(f"{prefix}.mlp.w1", ffn, width, bias=False)
        draw.linear(f"{prefix}.mlp.w2", ffn, width, bias=False)
        draw.linear(f"{prefix}.mlp.c_proj", width, ffn, bias=False)
    draw.norm("transformer.ln_f", width)
    visual = {"heads": 4, "image_size": image_size, "image_start_id": ranks + 3 + 205 + 6, "layers": 3,
              "mlp_ratio": 1.9231, "output_dim": width, "patch_size": 14, "width": 32}  # fmt: skip
    _qwen_visual(draw, visual)
    draw.matrix("lm_head.weight", vocabulary, width, scale=2.0)
    write_bin_shards(folder, draw.tensors, shards, dtype)
    config = {
        "_name_or_path": "./", "architectures": ["QWenLMHeadModel"], "attn_dropout_prob": 0.0,
        "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig",
                     "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
        "bf16": False, "emb_dropout_prob": 0.0, "fp16": False, "fp32": False, "hidden_size": width,
        "initializer_range": 0.02, "intermediate_size": 2 * ffn, "kv_channels": width // heads,
        "layer_norm_epsilon": 1e-06, "max_position_embeddings": 8192, "model_type": "qwen", "no_bias": True,
        "num_attention_heads": heads, "num_hidden_layers": layers, "onnx_safe": None, "rotary_emb_base": 10000,
        "rotary_pct": 1.0, "scale_attn_weights": True, "seq_length": seq_length, "tie_word_embeddings": False,
        "tokenizer_type": "QWenTokenizer", "torch_dtype": dtype, "transformers_version": "4.31.0",
        "use_cache": True, "use_dynamic_ntk": True, "use_flash_attn": False, "use_logn_attn": True,
        "visual": visual, "vocab_size": vocabulary,
    }  # fmt: skip
    _json(folder / "config.json", config)
    _json(
        folder / "generation_config.json",
        {"chat_format": "chatml", "do_sample": True, "eos_token_id": ranks, "max_new_tokens": 512,
         "max_window_size": 6144, "pad_token_id": ranks, "top_k": 0, "top_p": 0.3},
    )  # fmt: skip
    _json(
        folder / "tokenizer_config.json",
        {"model_max_length": 8192, "tokenizer_class": "QWenTokenizer",
         "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}},
    )  # fmt: skip
    return folder


def _qwen_visual(draw: Draw, visual: Mapping[str, Any]) -> None:
    width, out, at = visual["width"], visual["output_dim"], "transformer.visual"
    ffn, patch = int(width * visual["mlp_ratio"]), visual["patch_size"]
    draw.table(f"{at}.positional_embedding", 256, width, scale=0.3)
    draw.matrix(f"{at}.proj", out, out)
    draw.matrix(f"{at}.conv1.weight", width, 3, patch, patch, scale=3.0)
    draw.norm(f"{at}.ln_pre", width, bias=True)
    for layer in range(visual["layers"]):
        prefix = f"{at}.transformer.resblocks.{layer}"
        draw.norm(f"{prefix}.ln_1", width, bias=True)
        draw.norm(f"{prefix}.ln_2", width, bias=True)
        draw.linear(f"{prefix}.attn.in_proj", 3 * width, width)
        draw.linear(f"{prefix}.attn.out_proj", width, width)
        draw.linear(f"{prefix}.mlp.c_fc", ffn, width)
        draw.linear(f"{prefix}.mlp.c_proj", width, ffn)
    draw.tensors[f"{at}.attn_pool.pos_embed"] = _sincos_2d(out, 16)
    draw.table(f"{at}.attn_pool.query", 256, out)
    draw.linear(f"{at}.attn_pool.kv_proj", out, width, bias=False)
    draw.matrix(f"{at}.attn_pool.attn.in_proj_weight", 3 * out, out)
    draw.table(f"{at}.attn_pool.attn.in_proj_bias", 3 * out, scale=0.1)
    draw.linear(f"{at}.attn_pool.attn.out_proj", out, out)
    draw.norm(f"{at}.attn_pool.ln_q", out, bias=True)
    draw.norm(f"{at}.attn_pool.ln_kv", out, bias=True)
    draw.norm(f"{at}.ln_post", out, bias=True)


TOWERS = {"llava": "clip", "internvl": "InternViT-6B-224px", "internvl-448px": "InternViT-6B-448px-V1-0"}
FAMILIES = ("llava", "internvl", "internvl-448px", "qwen")  # 16, 576, 1,024 and 256 image tokens

CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "llava": write_llava,
    "internvl": write_internvl,
    "internvl-448px": lambda folder: write_internvl(folder, tower="InternViT-6B-448px-V1-0", tower_size=448, seed=4),
    "qwen": write_qwen_vl,
    "qwen-long": lambda folder: write_qwen_vl(folder, seq_length=192, seed=5),
}


def main(argv: list[str]) -> None:
    """Write the named checkpoints (all by default) into sub-folders of the given folder."""
    folder, names = Path(argv[0]), argv[1:] or list(CHECKPOINTS)
    for name in names:
        print(CHECKPOINTS[name](folder / name))


if __name__ == "__main__":
    main(sys.argv[1:])
