"""SEED-Bench, the questions about pictures: its other part, about videos, is left out, as in tables that say SEED-IMG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import OPTION_LETTER, lettered, letters
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.choice import first_letter, free_letter, is_right
from himap.metrics.summaries import accuracy, by_group, total
from himap.models.prompts import Prompt

# The hub's question_type_id; 10 to 12 are about videos.
DIMENSIONS = {
    1: "scene understanding",
    2: "instance identity",
    3: "instance attributes",
    4: "instance location",
    5: "instances counting",
    6: "spatial relation",
    7: "instance interaction",
    8: "visual reasoning",
    9: "text understanding",
}
CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")

SOURCE = Source(
    hub_id="lmms-lab/SEED-Bench",
    split="test",
    revision="74c4ea0",
    licence="CC-BY-NC-4.0",
    rows=14_233,  # that `keep` leaves of 17,990
    columns={
        "data_id": "string",
        "data_type": "string",
        "question_id": "string",
        "question_type_id": "int",
        "question": "string",
        **dict.fromkeys(CHOICES, "string"),
        "answer": "string",
        "image": "image",
    },
)


def keep(row: dict[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether a question is about a picture; the table also holds those about videos, as lists of frames."""
    return bool(row["data_type"] == "image")


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a question named by its place among those about pictures, since one of the ids is there twice."""
    if row["answer"] not in letters(CHOICES):
        raise ValueError(f"answer {row['answer']!r} is not one of A, B, C, D")
    if row["question_type_id"] not in DIMENSIONS:
        raise ValueError(f"question_type_id {row['question_type_id']} is not one of 1 to 9, those about pictures")
    images = image_bytes(row)
    # Rows are first listed without their image column; then there is nothing to count.
    if "image" in row and len(images) != 1:
        raise ValueError(f"holds {len(images)} pictures where one is expected")
    return Sample(
        sample_id=str(index),
        question=row["question"],
        options=[row[name] for name in CHOICES],
        references=[row["answer"]],
        images=images,
        metadata=scalars(row, "data_id", "question_id", "question_type_id"),
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the question with four lettered options; Qwen picks the letter of lowest loss, without a line of context."""
    if family == "qwen_vl":
        text = f"\nQuestion: {one.question}\nOptions: {lettered(one.options)}\nAnswer:"
        return Prompt(text, style="raw", choices=tuple(f" {letter}" for letter in letters(one.options)))
    return Prompt("\n".join([one.question, lettered(one.options), OPTION_LETTER]))


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each answer is the letter (LLaVA's rule), begins with it (lmms-eval's), or names it in free words."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        gold, n = one.references[0], len(one.options)
        said = free_letter(prediction, one.options)
        scored.append(
            {
                # Not stripped and in upper case alone, as LLaVA's script compares.
                "score": float(prediction == gold),
                "lmms_eval": float(is_right(first_letter(prediction), gold, n)),
                "in_free_words": float(is_right(said, gold, n)),
                "said": said,
                "truth": gold,
                "dimension": DIMENSIONS[int(one.metadata["question_type_id"])],
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return the accuracy per dimension, their mean, the other two readings, unreadable answers, and a floor."""
    from himap.metrics.statistics import floor_of_most_common

    dimensions = by_group(frame, "dimension")
    return {
        **dimensions,
        "mean_of_dimensions": sum(dimensions.values()) / len(dimensions),
        "lmms_eval": total(frame, "lmms_eval"),
        "in_free_words": total(frame, "in_free_words"),
        "unreadable": float((frame["said"] == "").sum()),
        "floor_most_common": floor_of_most_common(frame["truth"].tolist()),
    }


BENCHMARK = Benchmark(
    name="seedbench_image",
    title="SEED-Bench (image)",
    metric="accuracy",
    scale=100.0,
    chance=25.0,  # every question has four options
    task="qa",
    rank=15,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    keep=keep,
    limits=every_family(Limits(128), qwen_vl=Limits(1)),
    rows=rows,
    headline=accuracy,
    details=details,
    picture=("data_id",),
)
