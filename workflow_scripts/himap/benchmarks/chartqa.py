"""ChartQA test: questions that people wrote, and questions that were generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits
from himap.benchmarks._prompts import SHORT_ANSWER, qwen_question
from himap.benchmarks._sample import Sample, Source, image_bytes
from himap.metrics.relaxed import relaxed_match
from himap.metrics.summaries import accuracy, by_group, total
from himap.models.prompts import Prompt

# How the hub calls the two halves of 1,250 questions each, and our names of them.
HALVES = {"human_test": "human", "augmented_test": "augmented"}

SOURCE = Source(
    hub_id="lmms-lab/ChartQA",
    split="test",
    revision="9e63b7df1592a1c2158e735cc1725454aef0d6d9",
    licence="GPL-3.0",
    rows=2_500,
    columns={"type": "string", "question": "string", "answer": "string", "image": "image"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a sample named by its row, since the set has no ids."""
    if row["type"] not in HALVES:
        raise ValueError(f"type {row['type']!r} is not one of {', '.join(HALVES)}")
    return Sample(
        sample_id=str(index),
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata={"type": HALVES[row["type"]]},
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return lmms-eval's wording for LLaVA, whose authors never evaluated it here; InternVL's and Qwen's own."""
    if family == "qwen_vl":
        return qwen_question(one.question)
    if family == "internvl":
        return Prompt(f"{one.question} {SHORT_ANSWER}")
    return Prompt(f"{one.question}\nAnswer the question with a single word.")


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return relaxed accuracy of the answer as it is, and with the space around it removed (as Qwen's script does)."""
    return [
        {
            # Unstripped on purpose: the official rule compares texts as they are, so that a stray space makes one wrong.
            "score": float(relaxed_match(prediction, one.references[0])),
            "stripped": float(relaxed_match(prediction.strip(), one.references[0])),
            "type": one.metadata["type"],
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def details(frame: Any) -> dict[str, float]:
    """Return the two halves, and the score of stripped answers."""
    return {**by_group(frame, "type"), "stripped": total(frame, "stripped")}


BENCHMARK = Benchmark(
    name="chartqa",
    title="ChartQA",
    metric="relaxed accuracy",
    scale=100.0,
    chance=None,
    task="qa",
    rank=11,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    limits={"llava": Limits(16), "qwen_vl": Limits(100, 1), "internvl": Limits(100)},
    rows=rows,
    headline=accuracy,  # also the mean of the two halves, as they are equally large
    details=details,
    stratum=lambda one: one.metadata["type"],  # a subset takes as many of either half
)
