"""Template of a benchmark: short answers, right if they equal one of the references.

Copy this file to `workflow_scripts/himap/benchmarks/<name>.py`, set `name` below to the file's name, and change the
parts. Then, in the config, an entry under `benchmarks:` (`mine: {source: data/mine.parquet}` for a local copy) and its
name in a table's `benchmarks`. `himap/benchmarks/_base.py` describes every field.
"""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes

SOURCE = Source(  # where the rows are; columns are checked before any model is loaded
    hub_id="someone/mine",
    split="test",
    licence="CC-BY-4.0",
    revision=None,  # pin a commit as soon as you know it
    columns={"id": "string", "image": "image", "question": "string", "answers": "list<string>"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return one row of the data as a sample; ids must be unique."""
    return Sample(
        sample_id=row["id"],
        question=row["question"],
        references=list(row["answers"]),
        images=image_bytes(row),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Score each answer: 1 if it equals a reference, apart from case and a final period."""
    return [
        {"score": float(plain(prediction) in map(plain, one.references))}
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def plain(text: str) -> str:
    """Return an answer without case, outer space and final period."""
    return text.strip().rstrip(".").lower()


def headline(frame: Any) -> Any:
    """Return the benchmark's number, with what its interval is drawn from."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"], binary=True)


def details(frame: Any) -> dict[str, float]:
    """Return further numbers for score.json."""
    return {"wrong": float((frame["score"] == 0).sum())}


BENCHMARK = Benchmark(
    name="mine",
    title="My benchmark",
    metric="exact match",
    scale=100.0,
    chance=None,  # what guessing gets, if that is defined
    task="qa",  # which schedule of a method applies: qa, caption or open
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    limits=every_family(Limits(16)),  # at most 16 new tokens
    rows=rows,
    headline=headline,
    details=details,
)
