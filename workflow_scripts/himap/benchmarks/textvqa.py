"""TextVQA validation, with the Rosetta OCR tokens in the prompt (as LLaVA reports it) or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, one_line, qwen_question
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.vqa import m4c_normalize, soft_accuracy
from himap.models.prompts import Prompt

ANNOTATORS = 10  # for each question; soft accuracy leaves one out at a time

SOURCE = Source(
    hub_id="lmms-lab/textvqa",
    split="validation",
    revision="9c0699c",
    licence="CC-BY-4.0 (annotations); images from Open Images",
    rows=5_000,
    columns={
        "image_id": "string",
        "question_id": "int",
        "question": "string",
        "image": "image",
        "answers": "list<string>?",  # null on the test split
        "ocr_tokens": "list<string>?",  # by Rosetta, in the order of the hub
    },
    unused={
        "question_tokens": "list<string>?",
        "image_width": "int?",
        "image_height": "int?",
        "flickr_original_url": "string?",
        "flickr_300k_url": "string?",
        "image_classes": "list<string>?",
        "set_name": "string?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample, with the image id: LLaVA's answer files are keyed by it and the lower-cased question."""
    return Sample(
        sample_id=str(row["question_id"]),
        question=row["question"],
        references=list(row["answers"] or []),
        images=image_bytes(row),
        metadata=scalars(row, "question_id", "image_id", "image_width", "image_height", "set_name")
        | {"ocr_tokens": list(row["ocr_tokens"] or [])},
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the question with just its first letter in upper case, the OCR line (which may be empty), the suffix."""
    if family == "qwen_vl":
        return qwen_question(one.question)
    # `capitalize` also lowers all other letters, names included, as in LLaVA's file of questions.
    question = one.question.capitalize()
    if one_line(family, options):  # InternVL's later script: as the hub writes the question, without OCR tokens
        return Prompt(f"{one.question} {SHORT_ANSWER}")
    # The line is there even without tokens, "Reference OCR token: ", as in LLaVA's file of questions.
    tokens = ", ".join(one.metadata.get("ocr_tokens") or [])
    ocr = [f"Reference OCR token: {tokens}"] if options["ocr"] else []
    return Prompt("\n".join([question, *ocr, SHORT_ANSWER]))


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Soft accuracy with M4C's normalizer on both sides; there have to be ten answers."""
    for one in samples:
        if len(one.references) != ANNOTATORS:
            raise ValueError(
                f"textvqa sample {one.sample_id}: {len(one.references)} answers; the metric is defined for {ANNOTATORS}"
            )
    return [
        {"score": soft_accuracy(prediction, one.references, m4c_normalize)}
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def headline(frame: Any) -> Any:
    """Return the mean soft accuracy."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"], clusters=frame.get("picture"))


BENCHMARK = Benchmark(
    name="textvqa",
    title="TextVQA",
    metric="soft accuracy",
    scale=100.0,
    chance=None,
    task="qa",
    rank=2,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    options={"ocr": (True, False), "scripts": ("llava", "internvl")},
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(10)}},
    rows=rows,
    headline=headline,
    details=lambda frame: {},
    picture=("image_id",),
)
