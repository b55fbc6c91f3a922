"""Qwen-VL-Chat from its published layout: ViT with a resampler, Qwen-7B as Qwen2 layers, tiktoken vocabulary, ChatML."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import Tensor, nn

from himap.models.checkpoints import fill
from himap.models.families._qwen_parts import Rotary, ScaledQueries, VisionTransformer
from himap.models.model import Model
from himap.models.prompts import Prompt
from himap.models.sizes import checkpoint_dims as dims
from himap.registry import unknown

if TYPE_CHECKING:
    import tiktoken
    from PIL.Image import Image

# How an image is announced in a chat: as the current code does, as that of 2023 did, or not at all
TEMPLATES = {"chatml": "Picture {}: ", "chatml_2023": "Picture {}:", "chatml_plain": ""}
SYSTEM = "You are a helpful assistant."
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WORDS = (  # how text is split before bytes are merged; every digit stands alone
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205)),
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>",
)  # fmt: skip

# Marks of places in a picture, which a question may use: the authors' chat code reads them in a user's text too. It also
# reads `<img>`; here that is text, since a picture's place is decided by the prompt's structure.
GROUNDING = frozenset({"<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"})


def matches(config: dict[str, Any]) -> bool:
    """Return whether a config.json is Qwen-VL's."""
    return config.get("model_type") == "qwen" and "visual" in config


class QwenVL(nn.Module):
    """All weights: Qwen2 decoder layers around what is Qwen-VL's own."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import Qwen2Config
        from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm

        size = dims(config)
        text: Any = Qwen2Config(
            vocab_size=size.vocab, hidden_size=size.width, intermediate_size=size.ffn, num_hidden_layers=size.layers,
            num_attention_heads=size.heads, num_key_value_heads=size.kv_heads,
            rms_norm_eps=config["layer_norm_epsilon"], max_position_embeddings=config["max_position_embeddings"],
        )  # fmt: skip
        text._attn_implementation, text.head_dim = "sdpa", size.head_dim
        self.rotary = Rotary(
            size.head_dim, float(config["rotary_emb_base"]), config["seq_length"],
            dynamic_ntk=config["use_dynamic_ntk"], log_n=config["use_logn_attn"],
        )  # fmt: skip
        self.visual = VisionTransformer(config["visual"])
        self.embed_tokens = nn.Embedding(size.vocab, size.width)
        self.layers = nn.ModuleList([Qwen2DecoderLayer(text, index) for index in range(size.layers)])
        for layer in self.layers:
            attention: Any = layer.self_attn
            # the loop calls these on queries and keys, as it does for Qwen3's norms
            attention.q_norm, attention.k_norm = ScaledQueries(self.rotary), nn.Identity()
        self.norm = Qwen2RMSNorm(size.width, eps=config["layer_norm_epsilon"])
        self.head = nn.Linear(size.width, size.vocab, bias=False)


def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    """Return a published tensor under our names: c_attn falls into three, w2 is the gate and w1 what it gates."""
    if name.startswith("transformer.visual."):
        return [(name.removeprefix("transformer."), tensor)]
    if name == "lm_head.weight":
        return [("head.weight", tensor)]
    name = name.removeprefix("transformer.")
    if name.endswith((".rotary_emb.inv_freq", ".attn.masked_bias")) or name == "rotary_emb.inv_freq":
        return []
    for published, ours in (
        ("wte.", "embed_tokens."), ("ln_f.", "norm."), ("h.", "layers."), (".ln_1.", ".input_layernorm."),
        (".ln_2.", ".post_attention_layernorm."), (".attn.c_proj.", ".self_attn.o_proj."),
        (".mlp.w1.", ".mlp.up_proj."), (".mlp.w2.", ".mlp.gate_proj."), (".mlp.c_proj.", ".mlp.down_proj."),
    ):  # fmt: skip
        # names inside of a layer begin with a dot, those of the whole model do not
        if published.startswith("."):
            name = name.replace(published, ours)
        elif name.startswith(published):
            name = ours + name.removeprefix(published)
    if ".attn.c_attn." in name:
        # [3 * D, D]: queries, keys, values
        parts = zip(("q", "k", "v"), tensor.chunk(3), strict=True)
        return [(name.replace(".attn.c_attn.", f".self_attn.{part}_proj."), piece) for part, piece in parts]
    return [(name, tensor)]


def load(
    directory: Path,
    config: dict[str, Any],
    *,
    device: str,
    dtype: torch.dtype,
    template: str = "chatml",
    image_mode: str = "resize",
) -> Model:
    """Load the published weights, file by file, and the vocabulary beside them; no code of the checkpoint runs."""
    if template not in TEMPLATES:
        raise unknown("template", template, TEMPLATES)
    if image_mode != "resize":
        raise unknown("image_mode", image_mode, ["resize"])
    _check(directory, config)
    # no memory for weights that `fill` replaces one by one
    with torch.device("meta"):
        module = QwenVL(config)
    fill(module, directory, rename, device=device, dtype=dtype)
    special = _special_ids(config["visual"]["image_start_id"])
    model = Model(
        name=directory.name,
        family="qwen_vl",
        dims=dims(config),
        module=module,
        embed_tokens=module.embed_tokens,
        layers=list(module.layers),
        norm=module.norm,
        rotary=module.rotary,
        head=module.head,
        image_token_id=special["<imgpad>"],
        end_ids=frozenset(special[mark] for mark in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")),
        encode_images=torch.no_grad()(module.visual),
    )
    if (directory / "qwen.tiktoken").is_file():
        _attach_vocabulary(model, read_vocabulary(directory / "qwen.tiktoken", config), TEMPLATES[template])
    visual = config["visual"]
    model.preprocess = lambda images, grid=None, mode=None: _pixels(images, visual["image_size"], model.dims.grid, grid)
    return model


def _check(directory: Path, config: dict[str, Any]) -> None:
    """Refuse what this reading of the layout does not cover."""
    required = {"no_bias": True, "rotary_pct": 1.0, "scale_attn_weights": True, "tie_word_embeddings": False}
    for key, value in required.items():
        if config.get(key, value) != value:
            raise ValueError(
                f"{directory}/config.json: {key} = {config[key]!r} is not Qwen-VL's layout (it has {value!r})"
            )
    if "quantization_config" in config:
        raise ValueError(f"{directory}: quantized weights are not supported; take the checkpoint in full precision")


def _special_ids(image_start: int) -> dict[str, int]:
    """Ids of the marks: they follow the mergeable tokens in a fixed order, so one of them tells all."""
    first = image_start - SPECIAL.index("<img>")
    return {mark: first + place for place, mark in enumerate(SPECIAL)}


def read_vocabulary(path: Path, config: dict[str, Any]) -> tiktoken.Encoding:
    """Return the tiktoken vocabulary, checked against the ids that the config expects."""
    import tiktoken

    try:
        lines = (line.split() for line in path.read_bytes().splitlines() if line)
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{path}: not a tiktoken vocabulary ({error}); download it again") from error
    special = _special_ids(config["visual"]["image_start_id"])
    if len(ranks) != special["<|endoftext|>"] or special["<imgpad>"] >= config["vocab_size"]:
        raise ValueError(
            f"{path}: the vocabulary has {len(ranks)} entries but config.json places its first mark at "
            f"{special['<|endoftext|>']} of {config['vocab_size']}; tokenizer and weights do not belong together"
        )
    return tiktoken.Encoding("qwen", pat_str=WORDS, mergeable_ranks=ranks, special_tokens=special)


def _attach_vocabulary(model: Model, encoding: tiktoken.Encoding, announce: str) -> None:
    """Give the model its text side."""
    special = {mark: encoding.encode_single_token(mark) for mark in SPECIAL}

    def encode(text: str) -> list[int]:
        # as the authors' tokenizer does first
        text = unicodedata.normalize("NFC", text)
        return encoding.encode(text, allowed_special=GROUNDING, disallowed_special=())

    def picture(count: SupportsIndex) -> list[int]:
        return [special["<img>"], *[special["<imgpad>"]] * count, special["</img>"]]

    def turn(role: str, *content: int) -> list[int]:
        return [special["<|im_start|>"], *encode(role), *encode("\n"), *content]

    def tokenize(prompt: Prompt, image_tokens: Sequence[SupportsIndex]) -> list[int]:
        if prompt.style == "raw":
            return [token for count in image_tokens for token in picture(count)] + encode(prompt.text)
        content, text = [], ""
        label = "" if prompt.style == "chat_plain" else announce
        for number, count in enumerate(image_tokens, start=1):
            content += encode(text + label.format(number)) + picture(count)
            text = "\n"
        content += encode(text + prompt.text.lstrip("\n"))
        # ChatML: <|im_start|>role, a line end, the content, <|im_end|>, a line end
        close = [special["<|im_end|>"], *encode("\n")]
        return turn("system", *encode(SYSTEM), *close) + turn("user", *content, *close) + turn("assistant")

    def plain_id(entry: str) -> int:
        try:
            return special[entry] if entry in special else encoding.encode_single_token(entry)
        except KeyError:
            raise ValueError(f"{entry!r} is not a single entry of the model's vocabulary") from None

    model.tokenize, model.plain_id = tokenize, plain_id
    model.answer_ids = lambda text: encode(f" {text}")  # its question-answering prompts are raw and end in a word
    # marks have the highest ids and are left out
    model.detokenize = lambda ids: encoding.decode([t for t in ids if t < special["<|endoftext|>"]]).strip()


def _pixels(images: Sequence[Image], native: int, tokens: tuple[int, int], grid: Sequence[int] | None) -> Tensor:
    """Pixels [N, 3, H, W]: resized without keeping the proportions, to the trained size or in proportion to a smaller grid."""
    import numpy as np
    from PIL import Image as pictures

    rows, columns = tokens if grid is None else grid
    height, width = native * rows // tokens[0], native * columns // tokens[1]
    # stretched to a square, as the authors' code does
    resized = [image.convert("RGB").resize((width, height), pictures.Resampling.BICUBIC) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).float() / 255  # [N, H, W, 3]
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(SPREAD)).permute(0, 3, 1, 2).contiguous()
