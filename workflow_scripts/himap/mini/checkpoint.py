"""The mini model as a LLaVA checkpoint of transformers: its configuration, its processor, and how both are saved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap import files
from himap.mini.glyphs import CELL
from himap.mini.scenes import PIXELS
from himap.mini.tokenizer import BOS, EOS, IMAGE, PAD

# Sizes for a training of an hour on two CPU cores and a file of a few megabytes.
LAYERS = 12
WIDTH = 128
HEADS = 4
FFN = 320
TOWER_LAYERS = 3
TOWER_WIDTH = 128
FEATURES = TOWER_WIDTH  # of the tower's tokens, as the projector takes them
POSITIONS = 1024  # rope's; a prompt has 33 + 144 tokens and a question
ROPE_THETA = 10000.0
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pixels, as CLIP has it
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def prefix_ids(tokenizer: Any, prefix: list[int]) -> list[int]:
    """Return the tokens before every question: the system sentences, and a mark for each of the picture's tokens."""
    # 12 x 12 marks, each of which gives its place to an image token.
    return [*prefix, *[tokenizer.convert_tokens_to_ids(IMAGE)] * (PIXELS // CELL) ** 2]


def configuration(tokenizer: Any) -> Any:
    """Return the sizes of tower, projector and decoder, with the ids of the tokenizer's special tokens."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (BOS, EOS, PAD, IMAGE)}
    vision = CLIPVisionConfig(
        hidden_size=TOWER_WIDTH,
        intermediate_size=2 * TOWER_WIDTH,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=4,
        image_size=PIXELS,
        patch_size=CELL,
        projection_dim=TOWER_WIDTH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        # `network.initialize` and the helper losses rely on one matrix at both ends.
        tie_word_embeddings=True,
        bos_token_id=ids[BOS],
        eos_token_id=ids[EOS],
        pad_token_id=ids[PAD],
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        # The last layer's output, whereas LLaVA-1.5 takes the second to last (-2): this tower is trained for it.
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(PIXELS // CELL) ** 2,
        tie_word_embeddings=True,
    )


def processor(tokenizer: Any) -> Any:
    """Return the LLaVA processor: CLIP's image steps at this model's size, and the image token repeated once per patch."""
    from transformers import LlavaProcessor

    # By its full name: the one with PIL needs no torchvision.
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(
        size={"shortest_edge": PIXELS},  # a generated picture has this size and stays as it is
        crop_size={"height": PIXELS, "width": PIXELS},
        do_resize=True,
        do_center_crop=True,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the tower's class token, which "default" drops again
        image_token=IMAGE,
    )


def build(tokenizer: Any) -> Any:
    """Return a model with random weights, drawn with torch's global seed."""
    from transformers import LlavaForConditionalGeneration

    return LlavaForConditionalGeneration(configuration(tokenizer))


def load_weights(model: Any, directory: str | Path) -> None:
    """Load the weights of a checkpoint folder into a model of the same sizes."""
    from transformers import LlavaForConditionalGeneration

    model.load_state_dict(LlavaForConditionalGeneration.from_pretrained(directory, dtype=model.dtype).state_dict())


def save(model: Any, tokenizer: Any, directory: str | Path) -> None:
    """Write a checkpoint folder with weights in bf16; each file gets its name only when it is complete."""
    import torch

    half = build(tokenizer)  # a copy, since the trained model goes on to be evaluated in fp32
    half.load_state_dict(model.state_dict())
    write(half.to(torch.bfloat16), tokenizer, (processor(tokenizer),), directory)


def write(model: Any, tokenizer: Any, parts: Sequence[Any], directory: str | Path) -> None:
    """Write a model as it is, and the parts of its processor; each file gets its name only when it is complete."""
    from transformers import GenerationConfig

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    # Beside the folder and not in /tmp: renaming is atomic only within a file system.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
        for part in (model, *parts):
            part.save_pretrained(temporary)
        for file in sorted(Path(temporary).iterdir()):
            with files.replacing(directory / file.name) as target:
                shutil.copyfile(file, target)
