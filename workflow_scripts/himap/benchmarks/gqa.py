"""GQA, the balanced questions of test-dev: about 32 on each of 398 pictures, which are a table of their own."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Pictures, Sample, Source, image_bytes, scalars
from himap.metrics.gqa import gqa_match, gqa_match_lmms, gqa_match_qwen
from himap.metrics.summaries import accuracy, by_group, total

SOURCE = Source(
    hub_id="lmms-lab/GQA",
    config="testdev_balanced_instructions",
    split="testdev",
    revision="78e9ec37481de666feb0180c7b5a773741cb47ca",
    licence="CC-BY-4.0 (questions), MIT (this copy)",
    rows=12_578,
    columns={"id": "string", "imageId": "string", "question": "string", "answer": "string"},
    unused={"image": "image?", "types": "struct?", "fullAnswer": "string?"},
    pictures=Pictures(config="testdev_balanced_images", key="imageId"),
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a question with its two types, what is asked for and how it is put."""
    kinds = row["types"] or {}  # such as {"structural": "verify", "semantic": "attr", "detailed": "weatherVerify"}
    if not row["answer"].strip():
        # An empty answer would match every prediction that Qwen-VL's rule cuts down to nothing.
        raise ValueError("answer is empty; every question needs one")
    return Sample(
        sample_id=row["id"],
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "imageId") | scalars(kinds, "structural", "semantic"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each answer is right by the official script, by lmms-eval's rule and by Qwen-VL's."""
    return [
        {
            "score": float(gqa_match(prediction, one.references[0])),
            "lmms_eval": float(gqa_match_lmms(prediction, one.references[0])),
            "qwen": float(gqa_match_qwen(prediction, one.references[0])),
            "truth": one.references[0],
            "structural": one.metadata.get("structural") or "",
            "semantic": one.metadata.get("semantic") or "",
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def details(frame: Any) -> dict[str, float]:
    """Return the accuracy per type of question and by the other rules, and that of one answer to every question."""
    from himap.metrics.statistics import floor_of_most_common

    return {
        # "" where a copy has no types: those rows count in the headline alone.
        **by_group(frame[frame["structural"] != ""], "structural", prefix="structural_"),
        **by_group(frame[frame["semantic"] != ""], "semantic", prefix="semantic_"),
        "lmms_eval": total(frame, "lmms_eval"),
        "qwen": total(frame, "qwen"),
        # How far one answer to every question gets, without looking.
        "floor_yes": 100.0 * float((frame["truth"] == "yes").mean()),
        "floor_most_common": floor_of_most_common(frame["truth"].tolist()),
    }


BENCHMARK = Benchmark(
    name="gqa",
    title="GQA",
    metric="exact match",
    scale=100.0,
    chance=None,
    task="qa",
    rank=13,
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(10)}},
    rows=rows,
    headline=accuracy,
    details=details,
    # Ranked by picture, so that a subset has whole pictures with all their questions, not one question of each.
    unit=lambda one: one.metadata["imageId"],
    picture=("imageId",),
)
