"""Rehearse a model at its true size without its weights: python -m himap.tools.random_checkpoint --like NAME --out DIR.

Writes a folder that loads like the published checkpoint: the same class, config, number of tensors and bytes, the same
image processor and chat template. The weights are random and the tokenizer knows single letters and the family's marks, so
that answers are noise and texts have about four times as many tokens; time and memory are those of the real model. A
config that names the folder as a model's `path` rehearses a whole run. With --measure one picture of 640 x 480 pixels is
asked here: seconds, peak memory, and operations counted against the formula.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.registry import unknown
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.models.model import Model

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
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SIGLIP_B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


@dataclass(frozen=True)
class Recipe:
    """What a family's checkpoints have in common."""

    architecture: str
    processor: str  # module and class of the image processor
    marks: tuple[str, ...]  # the last is the image token, the first the padding
    end: str
    template: str
    image_key: str = "image_token_id"


FAMILIES = {
    "smolvlm": Recipe(
        "SmolVLMForConditionalGeneration", "smolvlm.image_processing_pil_smolvlm.SmolVLMImageProcessorPil",
        ("<pad>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>",
         *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)), "<image>"),
        "<end_of_utterance>", "<|im_start|>User:" + PLAIN.replace("MARK", "<image>").replace("END", "<end_of_utterance>\nAssistant:"),
    ),
    "qwen2_5_vl": Recipe(
        "Qwen2_5_VLForConditionalGeneration", "qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil",
        QWEN_MARKS, "<|im_end|>", CHATML.replace("MARK", "<|vision_start|><|image_pad|><|vision_end|>"),
    ),
    "qwen3_vl": Recipe(
        "Qwen3VLForConditionalGeneration", "qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil",
        QWEN_MARKS, "<|im_end|>", CHATML.replace("MARK", "<|vision_start|><|image_pad|><|vision_end|>"),
    ),
    "internvl3": Recipe(
        "InternVLForConditionalGeneration", "got_ocr2.image_processing_pil_got_ocr2.GotOcr2ImageProcessorPil",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"), "<|im_end|>",
        CHATML.replace("MARK", "<IMG_CONTEXT>\n"),
    ),
    "llava_next": Recipe(
        "LlavaNextForConditionalGeneration", "llava_next.image_processing_pil_llava_next.LlavaNextImageProcessorPil",
        ("<unk>", "<s>", "</s>", "<image>"), "</s>", "USER: " + PLAIN.replace("MARK", "<image>\n").replace("END", " ASSISTANT:"),
        "image_token_index",
    ),
    "gemma3": Recipe(
        "Gemma3ForConditionalGeneration", "gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        "<end_of_turn>",
        "<bos><start_of_turn>user\n"
        + PLAIN.replace("MARK", "<start_of_image>").replace("END", "<end_of_turn>\n<start_of_turn>model\n"),
        "image_token_index",
    ),
}  # fmt: skip


def llama(layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocab: int, **more: Any) -> dict[str, Any]:
    """Return a decoder's part of a config."""
    return {
        "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "intermediate_size": ffn, "vocab_size": vocab, **more,
    }  # fmt: skip


def qwen2_5(text: dict[str, Any], *, tied: bool = False) -> dict[str, Any]:
    """Return the config of a Qwen2.5-VL around its decoder."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31], "out_hidden_size": text["hidden_size"],
    }  # fmt: skip
    return {"text_config": {**text, "rope_parameters": rope}, "vision_config": vision, "tie_word_embeddings": tied}


def smolvlm(text: dict[str, Any], vision: dict[str, Any], scale: int) -> dict[str, Any]:
    """Return the config of a SmolVLM around its decoder and tower."""
    return {"text_config": {"model_type": "llama", **text}, "vision_config": vision, "scale_factor": scale}


SMOL_IMAGES = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
QWEN_IMAGES = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # family, config, settings of the image processor
    "smolvlm2-256m": (
        "smolvlm", smolvlm(llama(30, 576, 9, 3, 1536, 49280), {**SIGLIP_B, "image_size": 512, "patch_size": 16}, 4), SMOL_IMAGES
    ),
    "smolvlm2-500m": (
        "smolvlm", smolvlm(llama(32, 960, 15, 5, 2560, 49280), {**SIGLIP_B, "image_size": 512, "patch_size": 16}, 4), SMOL_IMAGES
    ),
    "smolvlm2-2.2b": (
        "smolvlm", smolvlm(llama(24, 2048, 32, 32, 8192, 49280), {**SO400M, "image_size": 384, "patch_size": 14}, 3),
        {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}},
    ),
    "qwen2.5-vl-3b": ("qwen2_5_vl", qwen2_5(llama(36, 2048, 16, 2, 11008, 151936), tied=True), QWEN_IMAGES),
    "qwen2.5-vl-7b": ("qwen2_5_vl", qwen2_5(llama(28, 3584, 28, 4, 18944, 152064)), QWEN_IMAGES),
    "qwen3-vl-8b": (
        "qwen3_vl",
        {
            "text_config": llama(
                36, 4096, 32, 8, 12288, 151936, head_dim=128,
                rope_parameters={"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
            ),
            "vision_config": {
                "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16,
                "out_hidden_size": 4096, "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
            },
        },
        {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16},
    ),
    "internvl3-8b": (
        "internvl3",
        {
            "text_config": {"model_type": "qwen2", **llama(28, 3584, 28, 4, 18944, 151674), "tie_word_embeddings": False},
            "vision_config": {
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True,
            },
            "tie_word_embeddings": False,
        },
        {"size": {"height": 448, "width": 448}},
    ),
    "llava-next-7b": (
        "llava_next", {"text_config": {"model_type": "llama", **llama(32, 4096, 32, 32, 11008, 32064)}},
        {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    ),
    "gemma-3-4b": (
        "gemma3",
        {
            "text_config": llama(34, 2560, 8, 4, 10240, 262208, head_dim=256, sliding_window=1024),
            "vision_config": {**SO400M, "image_size": 896, "patch_size": 14}, "mm_tokens_per_image": 256,
        },
        {"size": {"height": 896, "width": 896}},
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Write one checkpoint, and measure it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", required=True, metavar="NAME", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder for the checkpoint")
    parser.add_argument("--dtype", default="bfloat16", help="number format on disk (default: bfloat16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="load it and ask it about one picture")
    parser.add_argument("--device", default="cpu", help="where it is measured")
    parser.add_argument(
        "--run-dtype", default="float32", help="number format in which it is measured (default: float32)"
    )
    arguments = parser.parse_args(argv)
    if arguments.like not in MODELS:
        raise unknown("model", arguments.like, MODELS)
    folder = Path(arguments.out)
    if not (folder / "config.json").is_file():
        write(folder, *MODELS[arguments.like], dtype=arguments.dtype, seed=arguments.seed)
    if arguments.measure:
        print(json.dumps(measure(folder, arguments.device, arguments.run_dtype), indent=2))


def write(
    folder: Path, family: str, config: dict[str, Any], images: dict[str, Any], *, dtype: str = "bfloat16", seed: int = 0
) -> None:
    """Write config, random weights, tokenizer, chat template and image processor into a folder."""
    import torch
    import transformers

    from himap.models.loading import DTYPES

    recipe = FAMILIES[family]
    tokenizer = byte_tokenizer(recipe)
    model_class = getattr(transformers, recipe.architecture)
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in recipe.marks}
    marks = {recipe.image_key: ids[recipe.marks[-1]]}
    if "<|vision_start|>" in ids:
        marks |= {"vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"]}
    # No memory until the number format is set: a 7B model in float32 would need twice its final size.
    with torch.device("meta"):
        module = model_class(model_class.config_class(**config, **marks))
    module = module.to(DTYPES[dtype]).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        # Norms of noise around zero would shrink every layer's input to nearly nothing.
        if "norm" in name and name.endswith("weight"):
            parameter.data.fill_(1.0)
        else:
            parameter.data.normal_(0.0, 0.02, generator=generator)
    module.tie_weights()
    module.generation_config.eos_token_id = ids[recipe.end]
    module.save_pretrained(folder, max_shard_size="2GB")
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(recipe.template, encoding="utf-8")
    path, _, name = recipe.processor.rpartition(".")
    getattr(importlib.import_module(f"transformers.models.{path}"), name)(**images).save_pretrained(folder)


def byte_tokenizer(recipe: Recipe) -> Any:
    """Return a tokenizer of single bytes and a family's marks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in recipe.marks])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=recipe.end, pad_token=recipe.marks[0])


def measure(folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Return what loading a checkpoint and one question under no method and under HiMAP take here."""
    from himap.costs.formulas import flops
    from himap.experiments.answers import Question, encode
    from himap.experiments.counted_flops import prefill_flops
    from himap.experiments.latency import Protocol, time_batch
    from himap.models.loading import load
    from himap.models.prompts import Prompt
    from himap.pruning.resolve import resolve
    from himap.pruning.stage import Schedule

    begin = time.perf_counter()
    model = load(folder, device=device, dtype=dtype)
    result: dict[str, Any] = {
        "seconds_loading": round(time.perf_counter() - begin, 2),
        "parameters": _parameters(model),
    }
    asked = Question("rehearsal", [_picture()], Prompt("What is in the picture?"))
    depth = {"stages": [{"layer": 0.0625, "keep": 0.5, "criterion": "instruction_attention"},
                        {"layer": 0.25, "keep": 0.125, "criterion": "image_attention"}]}  # fmt: skip
    schedules = {"vanilla": Schedule(), "himap": resolve("himap", model.dims, methods={"himap": depth})}
    for name, schedule in schedules.items():
        timing: dict[str, Any] = dict(time_batch(model, [asked], schedule, Protocol(8, 1, min_new_tokens=8)))
        result[name] = {key: round(value, 3) for key, value in timing.items()}
    result["peak_memory_gb"] = round(_peak(model) / 1e9, 2)
    prompt = encode(model, [asked])
    image, text, padding = prompt.counts()
    # The formula counts decoder layers alone; the counted run ends with the head, at one position.
    head = 2 * model.dims.width * model.dims.vocab
    for name, schedule in schedules.items():
        formula = flops(model.dims, schedule.stages, "prompt", n_image=image, n_text=text, n_padding=padding)
        result[name] |= {
            "tflops_counted": prefill_flops(model, prompt, schedule.stages) / 1e12,
            "tflops_formula": (formula + head) / 1e12,
        }
    return result


def _parameters(model: Model) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.module.parameters())


def _peak(model: Model) -> int:
    """Return the most bytes that were in use: of the GPU, or of this process."""
    if model.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(model.device)
    # Linux gives kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _picture() -> bytes:
    """Return a picture of noise of 640 x 480 pixels as PNG bytes."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


if __name__ == "__main__":
    run(main)
