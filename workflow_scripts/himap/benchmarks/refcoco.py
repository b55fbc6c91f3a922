"""RefCOCO: expressions about one object of a picture, answered by its box. The hub's `val` mixes two standards and is left out."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._sample import Sample, Source, image_bytes
from himap.metrics.boxes import Box, holds_center, overlap, read_box
from himap.metrics.summaries import accuracy, total
from himap.models.prompts import Prompt

REQUEST = "Please provide the bounding box coordinate of the region this sentence describes: "
COCO = re.compile(r"COCO_train2014_(\d{12})")  # some copies add the object's number to the file's name
COLUMNS = {"image": "image", "answer": "list<string>", "bbox": "list<float>", "file_name": "string"}
# What these write is not read here (Qwen2.5-VL: pixels of the picture as it was resized), or they were not trained to write boxes.
NO_FORM = ("gemma3", "idefics", "instructblip", "llava_next", "mllama", "qwen2_5_vl", "smolvlm")


def source(split: str, rows: int) -> Source:
    """Return where a split is; rows are expressions, of which an object has about three."""
    return Source(
        hub_id="lmms-lab/RefCOCO",
        split=split,
        revision="e15256ece129a21d62e216f95f98ba2e808f96a0",
        licence="not stated; pictures of COCO",
        rows=rows,
        columns=COLUMNS,
    )


SOURCE = source("testA", 5_657)


def parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each expression of an object, as its question; the hub has one for each object, with another question."""
    if not row["answer"]:
        raise ValueError("answer holds no expression; every object needs one")
    return [{**row, "question": expression} for expression in row["answer"]]


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return one expression named by its number, with the object's box and the size of the picture."""
    expression, bbox = row["question"], row["bbox"]
    if not expression.strip():
        raise ValueError("answer holds an empty expression; every one needs words")
    if len(bbox) != 4 or not all(map(math.isfinite, bbox)) or min(bbox[2:]) <= 0:
        raise ValueError(f"bbox {bbox} is no box; it needs left, top, width and height, the last two above 0")
    # COCO's form is left, top, width, height; ours left, top, right, bottom.
    x, y, width, height = map(float, bbox)
    box, images, known = [x, y, x + width, y + height], image_bytes(row), COCO.search(row["file_name"])
    return Sample(
        sample_id=str(index),
        question=expression,
        references=[", ".join(f"{value:g}" for value in box)],  # for readers; `rows` scores by the metadata
        images=images,
        metadata={"box": box} | ({"coco": known.group(1)} if known else {}) | size_of(images),
    )


def size_of(images: list[bytes]) -> dict[str, int]:
    """Return a picture's width and height; nothing of rows that are listed without pictures, or of one that is refused later."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(images[0])) as picture:
            return {"width": picture.width, "height": picture.height}
    except (IndexError, OSError, Image.DecompressionBombError):
        return {}  # `check_image` names what is wrong when the row is chosen


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the form of each family's training: LLaVA's sentence, Qwen's marks, InternVL's sentence with marks."""
    # Qwen-VL goes on behind "<box>" with two corners, as in its own script for this benchmark.
    if family == "qwen_vl":
        return Prompt(f"<ref>{one.question}</ref><box>", style="raw")
    if family == "internvl3" or (family == "internvl" and options.get("scripts") == "internvl"):
        return Prompt(f"{REQUEST}<ref>{one.question}</ref>")
    return Prompt(f"{REQUEST}{one.question.rstrip('.')}.")


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each box overlaps the true one by half or more, fractions read as of the padded square, and as of the picture."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        width, height = one.metadata["width"], one.metadata["height"]
        x1, y1, x2, y2 = one.metadata["box"]
        truth: Box = (x1, y1, x2, y2)
        box = read_box(prediction, width, height, square=True)
        # lmms-eval's reading of fractions, as a further number.
        of_picture = read_box(prediction, width, height, square=False)
        shared = 0.0 if box is None else overlap(box, truth)
        scored.append(
            {
                "score": float(shared >= 0.5),
                "overlap": shared,
                "above_0.7": float(shared >= 0.7),
                "center": float(box is not None and holds_center(box, truth)),
                "fractions_of_picture": float(of_picture is not None and overlap(of_picture, truth) >= 0.5),
                "unreadable": float(box is None),
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return the mean overlap, stricter and laxer shares, the other reading of fractions, and the number without a box."""
    percent = {name: total(frame, name) for name in ("overlap", "above_0.7", "center", "fractions_of_picture")}
    return {**percent, "unreadable": float(frame["unreadable"].sum())}


BENCHMARK = Benchmark(
    name="refcoco",
    title="RefCOCO",
    metric="overlap of 0.5",
    scale=100.0,
    chance=None,
    task="qa",
    rank=19,
    source=SOURCE,
    sources={"split=testB": source("testB", 5_095)},
    row_options=("split",),  # it decides which rows are read
    sample=sample,
    parts=parts,
    make_prompt=make_prompt,
    options={"scripts": ("llava", "internvl"), "split": ("testA", "testB")},
    # a box is about 25 of Llama's tokens
    limits=every_family(Limits(32), qwen_vl=Limits(28, 10), internvl3=Limits(100)),
    short_limits={"scripts=internvl": {"internvl": Limits(100)}},
    rows=rows,
    headline=accuracy,
    details=details,
    own_form=NO_FORM,
    # A subset takes whole pictures with all their expressions.
    unit=lambda one: one.metadata.get("coco", one.sample_id),
    picture=("coco",),
)
