"""DocVQA, single pages, validation split (the test answers are not public)."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.anls import anls

SOURCE = Source(
    hub_id="lmms-lab/DocVQA",
    config="DocVQA",
    split="validation",
    revision="539088e",
    licence="Apache-2.0 tag on the copy; images from UCSF Industry Documents",
    rows=5_349,
    columns={
        "questionId": "string",
        "question": "string",
        "image": "image",
        "answers": "list<string>?",  # null on the test split
    },
    unused={
        "question_types": "list<string>?",
        "docId": "int?",
        "ucsf_document_id": "string?",
        "ucsf_document_page_no": "string?",
        "data_split": "string?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; several answers may be right."""
    return Sample(
        sample_id=row["questionId"],
        question=row["question"],
        references=list(row["answers"] or []),
        images=image_bytes(row),
        metadata=scalars(row, "docId", "ucsf_document_page_no", "question_types"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return the similarity to the closest answer."""
    return [
        {
            "score": anls(prediction, one.references),
            # Joined, since a list is no value for a column that groups; "" where a copy lacks the types.
            "question_types": ",".join(one.metadata.get("question_types") or []),
        }
        for one, prediction in zip(samples, predictions, strict=True)
    ]


def headline(frame: Any) -> Any:
    """Return the mean similarity."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"], clusters=frame.get("picture"))


def details(frame: Any) -> dict[str, float]:
    """Return the score per question type; a question may have several."""
    # A question of two types counts in the means of both; the headline counts it once.
    named = frame.assign(type=frame["question_types"].str.split(",")).explode("type")
    means = named[named["type"] != ""].groupby("type")["score"].mean() * 100.0
    return {str(name): float(mean) for name, mean in means.items()}


BENCHMARK = Benchmark(
    name="docvqa",
    title="DocVQA",
    metric="ANLS",
    scale=100.0,
    chance=None,
    task="qa",
    rank=12,
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(32), qwen_vl=Limits(100, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(100)}},
    rows=rows,
    headline=headline,
    details=details,
    picture=("docId", "ucsf_document_page_no"),  # a page, not the whole document
)
