"""NoCaps captions, validation split (ten references; the test captions are not public)."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits
from himap.benchmarks._captions import caption_headline, caption_rows
from himap.benchmarks._prompts import caption_prompt
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.cider import ptb_tokens

SOURCE = Source(
    hub_id="lmms-lab/NoCaps",
    split="validation",
    revision="a26b3fe1e0021164ec430c57c48085d58f2fe922",
    licence="CC BY 2.0 (annotations); images from Open Images",
    rows=4_500,
    columns={
        "image": "image",
        "image_id": "int",
        "annotations_captions": "list<string>?",  # ten on the validation split, none on the test split
    },
    unused={
        "image_coco_url": "string?",
        "image_date_captured": "string?",
        "image_file_name": "string?",
        "image_height": "int?",
        "image_width": "int?",
        "image_license": "int?",
        "image_open_images_id": "string?",
        "annotations_ids": "list<int>?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample, with the Open Images id: the official domains (in, near, out) can be joined on it."""
    return Sample(
        sample_id=str(row["image_id"]),
        references=list(row["annotations_captions"] or []),
        images=image_bytes(row),
        metadata=scalars(row, "image_id", "image_file_name", "image_open_images_id"),
    )


BENCHMARK = Benchmark(
    name="nocaps",
    title="NoCaps",
    metric="CIDEr",
    scale=1000.0,  # CIDEr of one image is at most 10, printed times 100
    chance=0.0,
    task="caption",
    rank=7,
    source=SOURCE,
    sample=sample,
    make_prompt=caption_prompt,
    # At least 8 tokens: Qwen's and InternVL's caption scripts forbid shorter captions.
    limits={"llava": Limits(64), "qwen_vl": Limits(30, 8), "internvl": Limits(30, 8)},
    rows=caption_rows,
    foresee=ptb_tokens,
    headline=caption_headline,
    details=lambda frame: {"images": float(len(frame))},
    picture=None,  # each sample has a picture of its own
)
