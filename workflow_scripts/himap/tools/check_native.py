"""Compare a checkpoint here and in transformers' own classes: python -m himap.tools.check_native --model DIR [--out FILE].

Covers the families that are classes of transformers (docs/models.md). Both sides get the same pictures of odd shapes and
kinds, one and two, and the same questions. Here they go through the family's file and the one loop, there through
transformers' own processor and model class. Compared are the prompt's ids, the number of image tokens, pixels, the logits
after the prompt, and greedy answers. The weights are loaded once, for both. Ends with status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import read_json, write_json
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from himap.models.model import Model

TEXTS = (  # plain; quotes, umlauts and line breaks; Chinese, markup and an emoji
    "What is in the picture?",
    "Read it: “Größe 12.50 €”,\n  then answer yes or no.",
    "图里有什么？ <b>Why?</b> 🙂",
)
# Wide, tall, very wide, tiny, very tall.
SHAPES = ((640, 480), (333, 517), (900, 70), (31, 29), (48, 400))  # width and height
KINDS = ("RGB", "L", "RGBA", "P")  # of pixels, as PNG files have them
# Between logits; rounding differs with the order of sums.
TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.5}
# Keys of processor_config.json that are not arguments of a processor itself.
PARTS = ("processor_class", "image_processor", "video_processor", "tokenizer", "auto_map")
NESTED = ("smolvlm", "gemma3", "mllama")  # whose processors take a list of pictures per prompt


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line per question, and end with status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a checkpoint, or a hub id")
    parser.add_argument("--revision", help="revision of a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=TOLERANCE)
    parser.add_argument("--new-tokens", type=int, default=8, help="length of the greedy answers (default: 8)")
    parser.add_argument("--pictures", type=int, default=len(SHAPES), help=f"how many of the {len(SHAPES)} pictures")
    parser.add_argument("--out", metavar="FILE", help="JSON file for the results")
    arguments = parser.parse_args(argv)

    from himap.models.loading import find, load

    directory = find(arguments.model, arguments.revision)
    model = load(directory, device=arguments.device, dtype=arguments.dtype)
    ask = asker(model, directory)
    rows = []
    # InstructBLIP takes one picture.
    for name, text, images in questions(arguments.pictures, pairs=model.family != "instructblip"):
        row = {"question": name, **compare(model, ask, text, images, arguments.new_tokens)}
        rows.append(row | {"same": is_same(row, TOLERANCE[arguments.dtype])})
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if arguments.out:
        write_json(arguments.out, {"model": model.name, "family": model.family, "dtype": arguments.dtype, "rows": rows})
    if not all(row["same"] for row in rows):
        sys.exit(1)


def questions(pictures: int, *, pairs: bool) -> list[tuple[str, str, list[Image]]]:
    """Return what is asked: each picture alone, in some kind of pixels, and two pictures of unequal shapes."""
    asked = []
    for number, shape in enumerate(SHAPES[:pictures]):
        kind = KINDS[number % len(KINDS)]
        name = f"{shape[0]}x{shape[1]}-{kind}"
        asked.append((name, TEXTS[number % len(TEXTS)], [picture(number, shape, kind)]))
    if pairs and pictures > 1:
        asked.append(("two", TEXTS[0], [image for _, _, images in asked[:2] for image in images]))
    return asked


def picture(seed: int, shape: tuple[int, int], kind: str) -> Image:
    """Return a picture of noise over a gradient; one with an alpha channel is half transparent."""
    import numpy as np
    from PIL import Image as pillow

    width, height = shape
    # To the right, red most: a turned or swapped channel shows.
    slope = np.linspace(0, 120, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    pixels = (slope + np.random.default_rng(seed).integers(0, 136, (height, width, 3))).astype(np.uint8)
    image = pillow.fromarray(pixels)
    if kind == "RGBA":
        image.putalpha(pillow.fromarray(pixels[:, :, 0]))
    return image.convert(kind)


def asker(model: Model, directory: Path) -> Callable[[str, list[Image]], dict[str, Any]]:
    """Return a function that makes the inputs of transformers' class of a question, by its processor."""
    from himap.models.chat import read_template

    processor = native_processor(directory, model)
    if model.family == "instructblip":
        return lambda text, images: processor(images=images, text=[text], return_tensors="pt")
    if model.family == "idefics":  # as its model card writes a turn
        # Only the instructed checkpoints have it.
        end = "<end_of_utterance>" if "<end_of_utterance>" in processor.tokenizer.get_added_vocab() else ""
        return lambda text, images: processor(
            text=[["User:", *images, f"{text}{end}\nAssistant:"]], return_tensors="pt"
        )
    template, words = read_template(directory, processor.tokenizer), processor.tokenizer

    def ask(text: str, images: list[Image]) -> dict[str, Any]:
        content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
        written = words.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
        # As transformers' own `apply_chat_template` of a processor does: no second start mark.
        start = not (words.bos_token and written.startswith(words.bos_token))
        given = [images] if model.family in NESTED else images
        return processor(text=[written], images=given, add_special_tokens=start, return_tensors="pt")

    return ask


def native_processor(directory: Path, model: Model) -> Any:
    """Return transformers' own processor of a checkpoint, without its part for videos, which needs further packages."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    module: Any = model.module
    base = getattr(transformers, PROCESSOR_MAPPING_NAMES[module.config.model_type])
    home = sys.modules[base.__module__]
    if getattr(home, "num2words", True) is None:  # only a prompt about a video counts in words
        home.num2words = str  # type: ignore[attr-defined]

    # The base class insists on a processor of videos; here None is accepted for it.
    class Pictures(base):  # type: ignore[misc, valid-type]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    words = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    parts: dict[str, Any] = {
        "image_processor": transformers.AutoImageProcessor.from_pretrained(
            directory, backend="pil", local_files_only=True
        ),
        "tokenizer": words,
        "video_processor": None,
    }
    if (directory / "qformer_tokenizer").is_dir():
        parts["qformer_tokenizer"] = transformers.AutoTokenizer.from_pretrained(
            directory / "qformer_tokenizer", local_files_only=True
        )
    known = inspect.signature(base.__init__).parameters  # classes of transformers take unequal parts
    path = directory / "processor_config.json"
    settings = read_json(path) if path.is_file() else {}
    # Such as `patch_size`, which the published file sets.
    chosen = {key: value for key, value in settings.items() if key in known and key not in PARTS}
    return Pictures(**{key: part for key, part in parts.items() if key in known}, **chosen)


def compare(
    model: Model,
    ask: Callable[[str, list[Image]], Mapping[str, Any]],
    text: str,
    images: list[Image],
    new_tokens: int,
) -> dict[str, Any]:
    """Return how a question differs here and in transformers' class."""
    import torch

    from himap.decoder.generation import generate
    from himap.models.prompts import Prompt

    inputs = {key: _moved(value, model) for key, value in ask(text, images).items()}
    asked = Prompt(text)
    pixels = model.preprocess(images)
    if model.add_question is not None:  # InstructBLIP's encoder of pictures reads the question, too
        pixels = model.add_question(pixels, asked)
    pictures = model.see(pixels)
    ids, theirs = model.tokenize(asked, [picture.layout for picture in pictures]), inputs["input_ids"][0].tolist()
    prompt = model.embed([ids], [pictures])
    answer = generate(model, prompt, new_tokens)
    module: Any = model.module
    with torch.no_grad():
        logits = module(**inputs).logits[0, -1]
        ends = sorted(model.end_ids)
        # Against a checkpoint's generation_config, which may draw or penalize repeats.
        settings = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "eos_token_id": ends}
        native = module.generate(**inputs, **settings, max_new_tokens=new_tokens)[0].tolist()
    return {
        "image_tokens": theirs.count(model.image_token_id) if model.spans is None else prompt.counts()[0],
        "same_ids": ids == theirs,
        "pixel_difference": difference(stacked(pixels), stacked([inputs])),
        "logit_difference": difference(answer.first_logits[0], logits.float()),
        "same_answer": answer.ids[0] == native[len(theirs) :],  # `generate` returns the prompt, too
    }


def is_same(row: Mapping[str, Any], tolerance: float) -> bool:
    """Return whether a question is the same here and there."""
    near = row["pixel_difference"] < 1e-5 and row["logit_difference"] < tolerance
    # In half precision two tokens may be as good as each other.
    return bool(near and row["same_ids"] and (row["same_answer"] or tolerance > TOLERANCE["float32"]))


def stacked(pixels: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return the pixels of some pictures with a row per tile or patch, without those that are padding."""
    import torch

    tensors = [one["pixel_values"] for one in pixels]
    tiles = [tensor.flatten(-3) if tensor.ndim > 2 else tensor for tensor in tensors]
    rows = torch.cat([tile.reshape(-1, tile.shape[-1]) for tile in tiles]).float().cpu()
    return rows[rows.abs().sum(dim=1) > 0]  # a padded row is all zeros


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, infinite for unequal shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max())


def _moved(value: Any, model: Model) -> Any:
    """Return a tensor on the model's device, in its number format if it holds pixels."""
    return value.to(model.device, model.dtype if value.is_floating_point() else None)  # ids stay whole numbers


if __name__ == "__main__":
    run(main)
