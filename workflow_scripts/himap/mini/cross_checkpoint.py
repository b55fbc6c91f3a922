"""The mini model whose decoder reads the picture by cross-attention, as a checkpoint of Llama 3.2 Vision (Mllama).

Its picture is one tile of the same patches that the LLaVA-like model has. Eleven layers of Llama and five of cross-attention
take turns as in the large model, which has one of cross-attention after every four.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from himap.mini import checkpoint
from himap.mini.glyphs import CELL
from himap.mini.scenes import PIXELS
from himap.mini.tokenizer import BOS, EOS, IMAGE, PAD, SYSTEM, wrap

LAYERS = 16
CROSS_LAYERS = (1, 4, 7, 10, 13)
FEATURES = 2 * checkpoint.TOWER_WIDTH  # of the tower's tokens, as the projector takes them
EARLIER = 1  # the tower's layer whose states stand beside those of its last one, as the architecture has it
# The mark of the picture comes first, before even a start mark: in this architecture rows before it see the picture too, and
# could hand it on where the way from picture to instruction is cut.
TEMPLATE = (
    "{% for message in messages %}{% for item in message['content'] %}{% if item['type'] == 'image' %}" + IMAGE
    + "{% endif %}{% endfor %}" + SYSTEM + " USER: \n{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)  # fmt: skip


def prefix_ids(tokenizer: Any, prefix: list[int]) -> list[int]:
    """Return the tokens before every question: the mark of the picture, and the system sentences without a start mark."""
    return [tokenizer.convert_tokens_to_ids(IMAGE), *prefix[1:]]  # prefix[0] is the start mark


def unmarked(tokenizer: Any) -> Any:
    """Return a copy of the core of a tokenizer that puts no start mark before a text."""
    from tokenizers import Tokenizer, processors

    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    return core


def configuration(tokenizer: Any) -> Any:
    """Return the sizes of tower, projector and decoder, with the ids of the tokenizer's special tokens."""
    from transformers import MllamaConfig

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (BOS, EOS, PAD, IMAGE)}
    return MllamaConfig(
        vision_config={
            "hidden_size": checkpoint.TOWER_WIDTH,
            "intermediate_size": 2 * checkpoint.TOWER_WIDTH,
            "num_hidden_layers": checkpoint.TOWER_LAYERS,
            "num_global_layers": 0,  # layers across tiles, of which there is one
            "attention_heads": 4,
            "image_size": PIXELS,
            "patch_size": CELL,
            "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]],
            "intermediate_layers_indices": [EARLIER],
            "vision_output_dim": FEATURES,  # last and intermediate states side by side
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": checkpoint.WIDTH,
            "intermediate_size": checkpoint.FFN,
            "num_hidden_layers": LAYERS,
            "cross_attention_layers": list(CROSS_LAYERS),
            "num_attention_heads": checkpoint.HEADS,
            "num_key_value_heads": checkpoint.HEADS,
            "rms_norm_eps": 1e-6,  # Llama's, as in the LLaVA-like model; Mllama's default is 1e-5
            "max_position_embeddings": checkpoint.POSITIONS,
            "rope_parameters": {"rope_type": "default", "rope_theta": checkpoint.ROPE_THETA},
            "bos_token_id": ids[BOS],
            "eos_token_id": ids[EOS],
            "pad_token_id": ids[PAD],
        },
        image_token_index=ids[IMAGE],
    )


def build(tokenizer: Any) -> Any:
    """Return a model with random weights, drawn with torch's global seed."""
    from transformers import MllamaForConditionalGeneration

    return MllamaForConditionalGeneration(configuration(tokenizer))


def load_weights(model: Any, directory: str | Path) -> None:
    """Load the weights of a checkpoint folder into a model of the same sizes."""
    from transformers import MllamaForConditionalGeneration

    model.load_state_dict(MllamaForConditionalGeneration.from_pretrained(directory, dtype=model.dtype).state_dict())


def save(model: Any, tokenizer: Any, directory: str | Path) -> None:
    """Write a checkpoint folder with weights in bf16; each file gets its name only when it is complete."""
    import torch
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    half = build(tokenizer)
    half.load_state_dict(model.state_dict())
    with torch.no_grad():  # training has one matrix for both ends, as the LLaVA-like model; this architecture has two
        half.lm_head.weight.copy_(half.model.language_model.embed_tokens.weight[: len(tokenizer)])
    half.to(torch.bfloat16)
    images = MllamaImageProcessorPil(
        size={"height": PIXELS, "width": PIXELS},
        max_image_tiles=1,
        image_mean=checkpoint.MEAN,
        image_std=checkpoint.DEVIATION,
    )
    # A text comes out of the template with its mark first; a start mark would lie before it.
    words = wrap(unmarked(tokenizer), bos_token=None)
    words.chat_template = TEMPLATE
    checkpoint.write(half, tokenizer, (images, words), directory)
