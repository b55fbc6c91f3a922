"""VQAv2, validation split by default: the test splits are only scored by a server (EvalAI challenge 830)."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics import vqa
from himap.metrics.summaries import by_group, total

SOURCE = Source(
    hub_id="lmms-lab/VQAv2",
    split="validation",
    revision="32665d35052eb4a6d4414851c3c829a72754915a",
    licence="CC-BY-4.0",
    rows=214_354,  # questions on 40,504 pictures of COCO val2014
    columns={
        "answers": "list<struct>?",  # ten times {"answer": "cat", "answer_confidence": "yes", "answer_id": 1}
        "image_id": "int",
        "answer_type": "string?",
        "question_id": "int",
        "question": "string",
        "image": "image",
    },
    unused={
        "question_type": "string?",
        "multiple_choice_answer": "string?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; the answers are structs, and on the test splits there are none."""
    return Sample(
        sample_id=str(row["question_id"]),
        question=row["question"],
        references=[answer["answer"] for answer in row["answers"] or []],
        images=image_bytes(row),
        metadata=scalars(row, "question_id", "image_id", "question_type", "answer_type", "multiple_choice_answer"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return soft accuracy with both sides always normalized, and as the official script compares to the letter.

    That script leaves both sides raw where all ten annotators agree, so that "Yes" misses "yes"; papers and lmms-eval report
    answers that were normalized before, and so does the headline.
    """
    return [
        {
            "score": vqa.soft_accuracy(prediction, one.references, vqa.vqa_normalize),
            "official_script": vqa.vqa_script_accuracy(prediction, one.references),
            # Yes/no, number or other.
            "answer_type": one.metadata.get("answer_type") or "unknown",
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def headline(frame: Any) -> Any:
    """Return the mean soft accuracy."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"], clusters=frame.get("picture"))


def details(frame: Any) -> dict[str, float]:
    """Return the score per answer type, and what the official script's comparison to the letter gives."""
    return {**by_group(frame, "answer_type"), "official_script": total(frame, "official_script")}


BENCHMARK = Benchmark(
    name="vqav2",
    title="VQAv2",
    metric="soft accuracy",
    scale=100.0,
    chance=None,
    task="qa",
    rank=1,
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(10)}},
    rows=rows,
    headline=headline,
    details=details,
    picture=("image_id",),  # several questions share one
)
