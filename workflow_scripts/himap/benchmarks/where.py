"""Where: the embedded world's own questions where an object is, for what pruning does to localization."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes
from himap.metrics.summaries import accuracy

SOURCE = Source(
    hub_id="",  # drawn by himap/mini, not published
    split="test",
    licence="MIT, as this project",
    rows=300,
    columns={"question": "string", "answer": "string", "image": "image"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; its number is its id."""
    return Sample(
        sample_id=str(index),
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata={"kind": "where"},
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether row and column are right, and each of them alone."""
    marked = []
    for one, prediction in zip(samples, predictions, strict=True):
        # A reference is a row and a column, as "top left". Their order in the answer does not matter.
        words = prediction.lower().strip().rstrip(".").split()
        right = [word in words for word in one.references[0].split()]
        # Exactly two words, or an answer that lists all places would always be right.
        marked.append({"score": float(all(right) and len(words) == 2), "row": right[0], "column": right[1]})
    return marked


def details(frame: Any) -> dict[str, float]:
    """Return in how many percent of the answers the row and the column are right."""
    return {part: 100 * float(frame[part].mean()) for part in ("row", "column")}


BENCHMARK = Benchmark(
    name="where",
    title="Where",
    metric="accuracy",
    scale=100.0,
    chance=100 / 9,  # percent: three rows times three columns
    task="qa",
    rank=99,  # the last of all
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    limits=every_family(Limits(16)),
    rows=rows,
    headline=accuracy,
    details=details,
    stratum=lambda one: one.references[0],  # a subset has as many of each place
)
