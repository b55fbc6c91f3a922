"""Measure answers beside lmms-eval's own class, in turns: python -m himap.tools.bench_lmms_eval [--sizes 16,768,12,2048] [--out FILE].

To be run in an environment that has lmms-eval (docs/lmms-eval.md). Three arms answer the same questions about the same
pictures, from a picture in memory to a text: lmms-eval's `llava_hf` one by one (its class takes no larger batch), ours
unpruned in batches, and ours under HiMAP. Without `--sizes` the model is the embedded one; with them its weights are random.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap.files import read_json, write_json
from himap.project import ROOT
from himap.tools.bench import read_dims
from himap.workflow.jobs.script import run

MINI = ROOT / "models" / "mini"
TASK, SPLIT = "pictures", "test"
REQUEST = "\nAnswer the question using a single word or phrase."
ASKED = ("How many circles are there?", "What color is the largest shape?", "Is there a red square in the picture?")
# Files of the embedded model that do not depend on its size.
BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the arms in turns, print their medians, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", metavar="L,d,heads,m", help="random weights of this size instead of the embedded model"
    )
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16, help="of our arms")
    parser.add_argument("--new-tokens", type=int, default=16, help="tokens of an answer at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON; other sizes in it stay")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = MINI if arguments.sizes is None else random_checkpoint(arguments.sizes, Path(folder))
        figures = measure(checkpoint, arguments)
    for name, arm in figures["arms"].items():
        print(
            f"{name}: {arm['samples_per_second']:.2f} samples per second, {arm['times_lmms_eval']:.2f} times lmms-eval"
        )
    print(f"unpruned answers equal to lmms-eval's: {figures['equal_answers']} of {arguments.samples}")
    if arguments.out:
        known = read_json(arguments.out) if Path(arguments.out).is_file() else {}
        write_json(Path(arguments.out), {**known, arguments.sizes or "embedded model": figures})


def measure(checkpoint: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and rates of every arm, and how many answers are the same."""
    documents, arms = questions(arguments.samples), loaded(checkpoint, arguments.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    processor: dict[str, list[float]] = {name: [] for name in arms}
    answers: dict[str, list[str]] = {}  # of the last round
    for model in arms.values():
        model.task_dict = {TASK: {SPLIT: documents}}  # where both classes look up a request's pictures
        model.generate_until(requests(documents[: arguments.batch_size], arguments.new_tokens))  # warm-up
    for _ in range(arguments.rounds):
        for name, model in arms.items():
            asked = requests(documents, arguments.new_tokens)
            begin, busy = time.perf_counter(), time.process_time()  # seconds of the clock, and of all threads
            answers[name] = [text.strip() for text in model.generate_until(asked)]
            seconds[name].append(time.perf_counter() - begin)
            processor[name].append(time.process_time() - busy)
    rates = {name: arguments.samples / statistics.median(values) for name, values in seconds.items()}
    busy_of = {name: statistics.median(values) for name, values in processor.items()}
    return {
        "machine": machine(),
        "settings": {key: value for key, value in vars(arguments).items() if key != "out"},
        # Equal work, or the rates would compare nothing.
        "equal_answers": sum(map(str.__eq__, answers["lmms-eval"], answers["unpruned"])),
        "arms": {
            name: {
                "seconds": seconds[name],
                "processor_seconds": processor[name],
                "samples_per_second": rates[name],
                "times_lmms_eval": rates[name] / rates["lmms-eval"],
                # On a machine with other users: what of the gain is in the work itself.
                "times_lmms_eval_by_processor_seconds": busy_of["lmms-eval"] / busy_of[name],
            }
            for name in arms
        },
    }


def loaded(checkpoint: Path, batch_size: int) -> dict[str, Any]:
    """Return the three models."""
    from lmms_eval.models.simple.llava_hf import LlavaHf

    from himap.tools.lmms_plugin import Himap

    ours: dict[str, Any] = {"pretrained": str(checkpoint), "device": "cpu", "batch_size": batch_size}
    return {
        "lmms-eval": LlavaHf(str(checkpoint), device="cpu", device_map="cpu", dtype="float32", batch_size=1),
        "unpruned": Himap(method="vanilla", **ours),
        "himap": Himap(method="himap", **ours),
    }


def questions(count: int) -> list[dict[str, Any]]:
    """Return pictures of the embedded world, each with one question."""
    from PIL import Image

    from himap.mini.scenes import generator, make_scene, png

    rng = generator("test", 0)  # scenes of the test split, one after another from one generator
    pictures = [Image.open(io.BytesIO(png(make_scene("shapes", rng)))).convert("RGB") for _ in range(count)]
    return [
        {"picture": picture, "text": ASKED[number % len(ASKED)] + REQUEST} for number, picture in enumerate(pictures)
    ]


def requests(documents: Sequence[dict[str, Any]], new_tokens: int) -> list[Any]:
    """Return new requests of an lmms-eval task. Each pass needs its own, because lmms-eval changes them."""
    from lmms_eval.api.instance import Instance

    return [
        Instance(
            request_type="generate_until",
            arguments=(
                document["text"],
                {"max_new_tokens": new_tokens, "temperature": 0},  # greedy, on both sides
                picture_of,
                number,
                TASK,
                SPLIT,
            ),
            idx=0,
            metadata={"task": TASK, "doc_id": str(number), "repeats": 1},
        )
        for number, document in enumerate(documents)
    ]


def picture_of(document: dict[str, Any]) -> list[Any]:
    """Return a document's pictures."""
    return [document["picture"]]


def random_checkpoint(sizes: str, folder: Path) -> Path:
    """Write a LLaVA of given sizes with random weights, and the embedded model's tokenizer beside it."""
    from dataclasses import replace

    from himap.models.families.llava import random_model

    mini = read_json(MINI / "config.json")
    # The vocabulary of the tokenizer that is copied below.
    dims = replace(read_dims(sizes), vocab=mini["text_config"]["vocab_size"])
    module: Any = random_model(dims).module
    module.save_pretrained(folder)
    config = read_json(folder / "config.json")
    mark = mini.get("image_token_id", mini.get("image_token_index"))  # newer and older name of the same key
    write_json(folder / "config.json", {**config, "image_token_id": mark, "image_token_index": mark})
    for name in BESIDE:
        shutil.copy(MINI / name, folder / name)
    processor, side = read_json(MINI / "processor_config.json"), config["vision_config"]["image_size"]
    processor["patch_size"] = config["vision_config"]["patch_size"]
    # Pictures as large as the random tower takes them.
    processor["image_processor"] |= {"crop_size": {"height": side, "width": side}, "size": {"shortest_edge": side}}
    write_json(folder / "processor_config.json", processor)
    return folder


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the settings."""
    import platform
    from importlib.metadata import version

    import torch

    names = ("torch", "transformers", "lmms-eval")
    return {
        "device": "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],  # how busy the machine was, over a minute
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


if __name__ == "__main__":
    run(main)
