"""Rehearse a model at its true size without its weights: python -m himap.tools.random_checkpoint --like NAME --out DIR.

Writes a folder that loads like the published checkpoint: the same class, config, number of tensors and bytes, the same
image processor. The weights are random and the tokenizer knows single letters and the family's marks, so that answers
are noise and texts have about four times as many tokens; time and memory are those of the real model. A config that names
the folder as a model's `path` rehearses a whole run. With --measure one picture of 640 x 480 pixels is asked here: seconds,
peak memory, and operations counted against the formula. A folder that is there already is only measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.registry import unknown
from himap.tools.true_sizes import FAMILIES, MODELS, Recipe
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from torch import nn

FILLER = "<unused {}>"  # an entry of the vocabulary that no text has
BLOCK = 16_777_213  # random numbers that are drawn; a prime, so that no matrix repeats its rows


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
        # Written elsewhere first: a killed writing leaves no folder that looks whole.
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write(unfinished, *MODELS[arguments.like], dtype=arguments.dtype, seed=arguments.seed)
        unfinished.replace(folder)
    if arguments.measure:
        from himap.tools.rehearsal import measure

        measured = measure(folder, arguments.device, arguments.run_dtype)
        print(json.dumps({"model": arguments.like, **measured}, indent=2))


def write(
    folder: Path, family: str, config: dict[str, Any], images: dict[str, Any], *, dtype: str = "bfloat16", seed: int = 0
) -> None:
    """Write config, random weights, tokenizer, chat template and image processor into a folder."""
    import torch
    import transformers

    from himap.models.loading import DTYPES

    recipe = FAMILIES[family]
    tokenizer = byte_tokenizer(recipe, config.get("text_config", config)["vocab_size"])
    model_class = getattr(transformers, recipe.architecture)
    # No memory until the number format is set: a 7B model in float32 would need twice its final size.
    with torch.device("meta"):
        module = model_class(model_class.config_class(**config, **mark_ids(recipe, tokenizer)))
    module = module.to(DTYPES[dtype]).to_empty(device="cpu")  # memory, but no values yet
    draw(module, seed)
    module.tie_weights()  # `to_empty` gave each of a tied pair its own memory
    module.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(recipe.end)
    module.save_pretrained(folder, max_shard_size="2GB")  # several files, as published checkpoints have
    tokenizer.save_pretrained(folder)
    if recipe.template is not None:
        (folder / "chat_template.jinja").write_text(recipe.template, encoding="utf-8")
    if recipe.reads_question:
        letter_pieces().save_pretrained(folder / "qformer_tokenizer")
    path, _, name = recipe.processor.rpartition(".")  # "qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VL…"
    getattr(importlib.import_module(f"transformers.models.{path}"), name)(**images).save_pretrained(folder)


def mark_ids(recipe: Recipe, tokenizer: Any) -> dict[str, int]:
    """Return the keys of a config that name marks of the vocabulary."""
    names = {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    if recipe.image_key is not None:
        names[recipe.image_key] = recipe.image
    known = (*recipe.marks, *recipe.last_marks)
    return {key: tokenizer.convert_tokens_to_ids(mark) for key, mark in names.items() if mark in known}


def draw(module: nn.Module, seed: int) -> None:
    """Fill a module with random weights of the usual size."""
    import torch

    weights = dict(module.named_parameters())  # tied ones once
    # One block over and over: billions of numbers take minutes to draw and seconds to copy.
    count = min(BLOCK, sum(weight.numel() for weight in weights.values()))
    # 0.02: the initial deviation of Llama's configs.
    block = 0.02 * torch.randn(count, generator=torch.Generator().manual_seed(seed))
    block, place = block.to(next(iter(weights.values())).dtype), 0
    for name, weight in weights.items():
        # Norms of noise around zero would shrink every layer's input to nearly nothing.
        if "norm" in name and name.endswith("weight"):
            weight.data.fill_(1.0)
            continue
        rest = weight.data.view(-1)
        while len(rest):
            part = block[place : place + len(rest)]
            rest[: len(part)] = part
            rest, place = rest[len(part) :], (place + len(part)) % count


def byte_tokenizer(recipe: Recipe, vocabulary: int) -> Any:
    """Return a tokenizer of single bytes and a family's marks; its last marks come after all entries of the vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries = sorted(pre_tokenizers.ByteLevel.alphabet())  # 256, one for each byte
    if recipe.last_marks:
        # Fillers, so that added marks get the ids behind the vocabulary, where the model's config looks for them.
        missing = vocabulary - len(entries) - len(recipe.marks)
        entries += [FILLER.format(number) for number in range(missing)]
    # No merges: every byte stays a token.
    core = Tokenizer(models.BPE(vocab={entry: number for number, entry in enumerate(entries)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    marks = (*recipe.marks, *recipe.last_marks)
    core.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    start = {"bos_token": "<s>"} if "<s>" in marks else {}  # only of families that begin with it
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=recipe.end, pad_token=recipe.marks[0], **start)


def letter_pieces() -> Any:
    """Return a tokenizer of single letters for an encoder like BERT."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,'"
    # BERT's order of special tokens, then letters that begin a word and such that go on.
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={entry: number for number, entry in enumerate(entries)})


if __name__ == "__main__":
    run(main)
