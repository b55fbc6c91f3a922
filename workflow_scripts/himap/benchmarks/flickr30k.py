"""Flickr30k captions: by default all 31,783 pictures, with `corpus: karpathy` the 1,000 of Karpathy's test split.

CIDEr weighs words by how many of the scored pictures mention them, so the two are different scales.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from himap.benchmarks._base import Benchmark, Limits
from himap.benchmarks._captions import caption_headline, caption_rows
from himap.benchmarks._prompts import caption_prompt
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.cider import ptb_tokens

SOURCE = Source(
    hub_id="lmms-lab/flickr30k",
    split="test",
    revision="765d117",
    licence="images on request, for research and education",
    rows=31_783,
    columns={
        "image": "image",
        "caption": "list<string>",
        "img_id": "string|int",
    },
    unused={
        "sentids": "list<string>|list<int>?",
        "filename": "string?",
    },
)
# The same columns and `split`; of its three splits only the test split is downloaded.
KARPATHY = replace(SOURCE, hub_id="umaru97/flickr30k_train_val_test", revision="d775c63", rows=1_000)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a picture with its five references."""
    return Sample(
        sample_id=str(row["img_id"]),
        references=list(row["caption"]),
        images=image_bytes(row),
        metadata=scalars(row, "filename"),
    )


BENCHMARK = Benchmark(
    name="flickr30k",
    title="Flickr30k",
    metric="CIDEr",
    scale=1000.0,  # CIDEr of one image is at most 10, printed times 100
    chance=0.0,
    task="caption",
    rank=8,
    source=SOURCE,
    sample=sample,
    make_prompt=caption_prompt,
    # At least 8 tokens: Qwen's and InternVL's caption scripts forbid shorter captions.
    limits={"llava": Limits(64), "qwen_vl": Limits(30, 8), "internvl": Limits(30, 8)},
    rows=caption_rows,
    foresee=ptb_tokens,
    headline=caption_headline,
    details=lambda frame: {"images": float(len(frame))},
    options={"corpus": ("all", "karpathy")},
    row_options=("corpus",),
    sources={"corpus=karpathy": KARPATHY},
    # Some copies hold all three splits in one file; those that hold the test split alone have no such column.
    keep=lambda row, options: row.get("split") in (None, "test"),
    picture=None,  # each sample has a picture of its own
)
