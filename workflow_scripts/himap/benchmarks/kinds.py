"""Kinds of questions: the embedded world's own set, with the same question about three pictures; no published one has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, ask_for_letter, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.summaries import accuracy, by_group
from himap.models.prompts import Prompt

SOURCE = Source(
    hub_id="",  # drawn by himap/mini, not published
    split="test",
    licence="MIT, as this project",
    rows=432,
    columns={
        "group": "string",
        "kind": "string",
        "context": "string",
        "question": "string",
        "options": "list<string>",
        "answer": "string",
        "image": "image",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; its number is its id."""
    return Sample(
        sample_id=str(index),
        question=row["question"],
        options=list(row["options"]),
        references=[row["answer"]],
        images=image_bytes(row),
        # Under the name `hint`, so that the prompt makes a line "Context: ..." of it.
        metadata=scalars(row, "group", "kind") | ({"hint": row["context"]} if row["context"] else {}),
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Ask for the letter where there are options, else for a word."""
    return ask_for_letter(one) if one.options else question_then(SHORT_ANSWER)(one, family, options)


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return right or wrong, by the answer without case and final period."""
    return [
        {
            "score": float(prediction.strip().rstrip(".").lower() == one.references[0].lower()),
            "kind": one.metadata["kind"],
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def details(frame: Any) -> dict[str, float]:
    """Return the accuracy of each kind."""
    return by_group(frame, "kind")


BENCHMARK = Benchmark(
    name="kinds",
    title="Kinds of questions",
    metric="accuracy",
    scale=100.0,
    chance=None,
    task="qa",
    rank=98,  # behind all published ones
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    limits=every_family(Limits(16)),
    rows=rows,
    headline=accuracy,
    details=details,
    stratum=lambda one: str(one.metadata["kind"]),  # a subset has as many of each kind
)
