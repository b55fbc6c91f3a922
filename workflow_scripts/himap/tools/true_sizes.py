"""True configs and sizes of published checkpoints, from which `himap.tools.random_checkpoint` writes stand-ins.

A recipe is what a family's checkpoints have in common; a model adds its config and the settings of its image processor.
Where a key is missing, the default of transformers' config class is the published value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Chat templates; MARK and END are replaced below by what a family writes there.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}MARK{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
PLAIN = (
    "{% for content in messages[0]['content'] %}{% if content['type'] == 'image' %}MARK{% else %}{{ content['text'] }}"
    "{% endif %}{% endfor %}END"
)
QWEN_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
QWEN_TEMPLATE = CHATML.replace("MARK", "<|vision_start|><|image_pad|><|vision_end|>")
QWEN_PROCESSOR = "qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil"


@dataclass(frozen=True)
class Recipe:
    """What a family's checkpoints have in common."""

    architecture: str
    processor: str  # module and class of the image processor
    marks: tuple[str, ...]  # the first is the padding
    image: str  # the mark of an image token
    end: str
    template: str | None  # None where the family has a prompt of its own
    image_key: str | None = "image_token_id"  # of the config; None where the id follows from the vocabulary's size
    last_marks: tuple[str, ...] = ()  # whose ids come after the vocabulary
    reads_question: bool = False  # whether a second tokenizer serves an encoder of pictures


FAMILIES = {
    "smolvlm": Recipe(
        "SmolVLMForConditionalGeneration", "smolvlm.image_processing_pil_smolvlm.SmolVLMImageProcessorPil",
        ("<pad>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>",
         *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)), "<image>"),
        "<image>", "<end_of_utterance>",
        "<|im_start|>User:" + PLAIN.replace("MARK", "<image>").replace("END", "<end_of_utterance>\nAssistant:"),
    ),
    "qwen2_5_vl": Recipe(
        "Qwen2_5_VLForConditionalGeneration", QWEN_PROCESSOR, QWEN_MARKS, "<|image_pad|>", "<|im_end|>", QWEN_TEMPLATE
    ),
    "qwen3_vl": Recipe(
        "Qwen3VLForConditionalGeneration", QWEN_PROCESSOR, QWEN_MARKS, "<|image_pad|>", "<|im_end|>", QWEN_TEMPLATE
    ),
    "internvl3": Recipe(
        "InternVLForConditionalGeneration", "got_ocr2.image_processing_pil_got_ocr2.GotOcr2ImageProcessorPil",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"), "<IMG_CONTEXT>", "<|im_end|>",
        CHATML.replace("MARK", "<IMG_CONTEXT>\n"),
    ),
    "llava_next": Recipe(
        "LlavaNextForConditionalGeneration", "llava_next.image_processing_pil_llava_next.LlavaNextImageProcessorPil",
        ("<unk>", "<s>", "</s>", "<image>"), "<image>", "</s>",
        "USER: " + PLAIN.replace("MARK", "<image>\n").replace("END", " ASSISTANT:"), "image_token_index",
    ),
    "gemma3": Recipe(
        "Gemma3ForConditionalGeneration", "gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
         "<image_soft_token>"), "<image_soft_token>", "<end_of_turn>",
        "<bos><start_of_turn>user\n"
        + PLAIN.replace("MARK", "<start_of_image>").replace("END", "<end_of_turn>\n<start_of_turn>model\n"),
        "image_token_index",
    ),
    "idefics": Recipe(
        "IdeficsForVisionText2Text", "idefics.image_processing_pil_idefics.IdeficsImageProcessorPil",
        ("<unk>", "<s>", "</s>"), "<image>", "<end_of_utterance>", None, None,
        last_marks=("<fake_token_around_image>", "<image>", "<end_of_utterance>"),
    ),
    "mllama": Recipe(
        "MllamaForConditionalGeneration", "mllama.image_processing_pil_mllama.MllamaImageProcessorPil",
        ("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|image|>", "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        + PLAIN.replace("MARK", "<|image|>").replace("END", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        "image_token_index", last_marks=("<|image|>",),
    ),
    "instructblip": Recipe(
        "InstructBlipForConditionalGeneration", "blip.image_processing_pil_blip.BlipImageProcessorPil",
        ("[PAD]", "<s>", "</s>", "<image>"), "<image>", "</s>", None, "image_token_index", reads_question=True,
    ),
}  # fmt: skip


def llama(layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocab: int, **more: Any) -> dict[str, Any]:
    """Return a decoder's part of a config."""
    return {
        "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "intermediate_size": ffn, "vocab_size": vocab, **more,
    }  # fmt: skip


def smolvlm(text: dict[str, Any], vision: dict[str, Any], scale: int) -> dict[str, Any]:
    """Return the config of a SmolVLM around its decoder and tower."""
    return {"text_config": {"model_type": "llama", **text}, "vision_config": vision, "scale_factor": scale}


def qwen2_5(text: dict[str, Any], *, tied: bool = False) -> dict[str, Any]:
    """Return the config of a Qwen2.5-VL around its decoder."""
    # Of 64 pairs: time, height, width.
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31], "out_hidden_size": text["hidden_size"],
    }  # fmt: skip
    return {"text_config": {**text, "rope_parameters": rope}, "vision_config": vision, "tie_word_embeddings": tied}


def qwen3(text: dict[str, Any], vision: dict[str, Any], *, tied: bool = False) -> dict[str, Any]:
    """Return the config of a Qwen3-VL around its decoder and tower."""
    # Of 64 pairs: time, height, width.
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}
    vision = {"patch_size": 16, "num_position_embeddings": 2304, "out_hidden_size": text["hidden_size"], **vision}
    return {
        "text_config": {**text, "head_dim": 128, "rope_parameters": rope}, "vision_config": vision, "tie_word_embeddings": tied,
    }  # fmt: skip


def internvl3(text: dict[str, Any]) -> dict[str, Any]:
    """Return the config of an InternVL3 with its tower of 300 million parameters around its decoder."""
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True,
    }  # fmt: skip
    text = {"model_type": "qwen2", **text, "tie_word_embeddings": False}
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": False}


# Towers that several models share.
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SIGLIP_B = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 512,
    "patch_size": 16,
}  # fmt: skip
QWEN3_LARGE = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "deepstack_visual_indexes": [8, 16, 24],
}  # fmt: skip
QWEN3_SMALL = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip
EVA_G = {
    "hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16, "image_size": 224,
    "patch_size": 14,
}  # fmt: skip
RESAMPLER = {
    "use_resampler": True, "resampler_n_latents": 64, "resampler_depth": 6, "resampler_n_heads": 16, "resampler_head_dim": 96,
    "qk_layer_norms_perceiver": True,
}  # fmt: skip

# What image processors are told: sides in pixels, for Qwen the areas that a picture may have.
SMOL_IMAGES = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
QWEN2_5_IMAGES = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
QWEN3_IMAGES = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16}
INTERN_IMAGES = {"size": {"height": 448, "width": 448}}
NEXT_IMAGES = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}

MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # family, config, settings of the image processor
    "smolvlm2-256m": ("smolvlm", smolvlm(llama(30, 576, 9, 3, 1536, 49280), SIGLIP_B, 4), SMOL_IMAGES),
    "smolvlm2-500m": ("smolvlm", smolvlm(llama(32, 960, 15, 5, 2560, 49280), SIGLIP_B, 4), SMOL_IMAGES),
    "smolvlm2-2.2b": (
        "smolvlm", smolvlm(llama(24, 2048, 32, 32, 8192, 49280), {**SO400M, "image_size": 384, "patch_size": 14}, 3),
        {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}},
    ),
    "qwen2.5-vl-3b": ("qwen2_5_vl", qwen2_5(llama(36, 2048, 16, 2, 11008, 151936), tied=True), QWEN2_5_IMAGES),
    "qwen2.5-vl-7b": ("qwen2_5_vl", qwen2_5(llama(28, 3584, 28, 4, 18944, 152064)), QWEN2_5_IMAGES),
    "qwen3-vl-2b": ("qwen3_vl", qwen3(llama(28, 2048, 16, 8, 6144, 151936), QWEN3_SMALL, tied=True), QWEN3_IMAGES),
    "qwen3-vl-4b": ("qwen3_vl", qwen3(llama(36, 2560, 32, 8, 9728, 151936), QWEN3_SMALL, tied=True), QWEN3_IMAGES),
    "qwen3-vl-8b": ("qwen3_vl", qwen3(llama(36, 4096, 32, 8, 12288, 151936), QWEN3_LARGE), QWEN3_IMAGES),
    "internvl3-1b": ("internvl3", internvl3(llama(24, 896, 14, 2, 4864, 151674)), INTERN_IMAGES),
    "internvl3-2b": ("internvl3", internvl3(llama(28, 1536, 12, 2, 8960, 151674)), INTERN_IMAGES),
    "internvl3-8b": ("internvl3", internvl3(llama(28, 3584, 28, 4, 18944, 151674)), INTERN_IMAGES),
    "llava-next-7b": (
        "llava_next", {"text_config": {"model_type": "llama", **llama(32, 4096, 32, 32, 11008, 32064)}}, NEXT_IMAGES
    ),
    "llava-next-mistral-7b": (
        "llava_next",
        {
            "text_config": {
                "model_type": "mistral", **llama(32, 4096, 32, 8, 14336, 32064), "sliding_window": None,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            }
        },
        NEXT_IMAGES,
    ),
    "gemma-3-4b": (
        "gemma3",
        {
            "text_config": llama(34, 2560, 8, 4, 10240, 262208, head_dim=256, sliding_window=1024),
            "vision_config": {**SO400M, "image_size": 896, "patch_size": 14}, "mm_tokens_per_image": 256,
        },
        {"size": {"height": 896, "width": 896}},
    ),
    "idefics-9b": (
        "idefics",
        {
            "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008,
            "vocab_size": 32000, "additional_vocab_size": 3, "cross_layer_interval": 4, "qk_layer_norms": True,
            "use_resampler": True, "alpha_type": "float", "perceiver_config": RESAMPLER,
            "vision_config": {
                "embed_dim": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
                "image_size": 224, "patch_size": 14,
            },
        },
        {"image_size": 224},
    ),
    "llama-3.2-11b-vision": (
        "mllama",
        {
            "text_config": llama(40, 4096, 32, 8, 14336, 128256, cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38]),
            "vision_config": {"image_size": 560},
        },
        {"size": {"height": 560, "width": 560}, "max_image_tiles": 4},
    ),
    "instructblip-vicuna-7b": (
        "instructblip",
        {
            "text_config": {"model_type": "llama", **llama(32, 4096, 32, 32, 11008, 32064)}, "vision_config": EVA_G,
            # BERT's 30,522 and a mark of InstructBLIP's own.
            "qformer_config": {"vocab_size": 30523}, "num_query_tokens": 32,
        },
        {"size": {"height": 224, "width": 224}},
    ),
}  # fmt: skip
