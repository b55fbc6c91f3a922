"""OCRBench: 1,000 questions of ten kinds whose answers are text in a picture."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.ocr import ocr_match, ocr_match_folded
from himap.metrics.summaries import by_group, total

RECOGNITION = "text recognition"
# The hub's ten types and their part of the table: the first six are one.
PARTS = {
    "Regular Text Recognition": RECOGNITION,
    "Irregular Text Recognition": RECOGNITION,
    "Artistic Text Recognition": RECOGNITION,
    "Handwriting Recognition": RECOGNITION,
    "Digit String Recognition": RECOGNITION,
    "Non-Semantic Text Recognition": RECOGNITION,
    "Scene Text-centric VQA": "scene text",
    "Doc-oriented VQA": "documents",
    "Key Information Extraction": "key information",
    "Handwritten Mathematical Expression Recognition": "formulas",
}

SOURCE = Source(
    hub_id="echo840/OCRBench",
    split="test",
    revision="276bd0b",
    licence="MIT (code); the pictures keep the terms of their own data sets",
    rows=1_000,
    columns={
        "dataset": "string",
        "question": "string",
        "question_type": "string",
        "answer": "list<string>",
        "image": "image",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a question named by its row, since the set has no ids; every prediction would contain an empty answer."""
    if row["question_type"] not in PARTS:
        raise ValueError(f"question_type {row['question_type']!r} is not one of {', '.join(PARTS)}")
    # "" is in every text, so such a question would always be right.
    if not row["answer"] or not all(answer.strip() for answer in row["answer"]):
        raise ValueError(f"answer {row['answer']!r} holds no text or an empty one; every answer has to hold some")
    return Sample(
        sample_id=str(index),
        question=row["question"],
        references=list(row["answer"]),
        images=image_bytes(row),
        metadata=scalars(row, "dataset", "question_type"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each answer contains a reference, by the authors' rule and by lmms-eval's, and the answer's length."""
    return [
        {
            "score": float(ocr_match(prediction, one.references, one.metadata["dataset"])),
            "folded": float(ocr_match_folded(prediction, one.references, one.metadata["dataset"])),
            "length": float(len(prediction)),
            "part": PARTS[one.metadata["question_type"]],
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def headline(frame: Any) -> Any:
    """Return how many of 1,000 questions are right, of fewer in proportion; pictures are drawn."""
    from himap.metrics.statistics import mean_of

    # Papers print the number of right answers; for a subset it is scaled to 1,000, so that it stays comparable.
    return mean_of(frame["score"], 1000.0, clusters=frame.get("picture"), binary=True)


def details(frame: Any) -> dict[str, float]:
    """Return percent right per part, full-width letters folded, and the answers' mean length, which containment rewards."""
    return {
        **by_group(frame, "part"),
        "full_width_folded": total(frame, "folded", 1000.0),  # on the headline's scale, to be read beside it
        "characters": total(frame, "length", 1.0),
    }


BENCHMARK = Benchmark(
    name="ocrbench",
    title="OCRBench",
    metric="right of 1,000",
    scale=1000.0,
    chance=None,
    digits=0,  # a number of questions
    task="qa",
    rank=18,
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    limits=every_family(Limits(128), qwen_vl=Limits(100, 1)),
    rows=rows,
    headline=headline,
    details=details,
)
