"""VizWiz-VQA, validation split: published tables mostly show test-dev, which only a server scores (EvalAI challenge 2185)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, one_line, qwen_question
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.summaries import by_group, total
from himap.metrics.vqa import m4c_normalize, soft_accuracy
from himap.models.prompts import Prompt

ANNOTATORS = 10  # for each question; soft accuracy leaves one out at a time
UNANSWERABLE = "unanswerable"  # as annotators and `m4c_normalize` write it
# As in LLaVA's file of questions.
HINT = "When the provided information is insufficient, respond with 'Unanswerable'."

SOURCE = Source(
    hub_id="lmms-lab/VizWiz-VQA",
    split="val",
    revision="d428a2dae984f79cf1b9d99467dfa883e0c30686",
    licence="CC-BY-4.0",
    rows=4_319,
    columns={
        "question_id": "string",
        "image": "image",
        "question": "string",
        "answers": "list<string>?",
    },
    unused={"category": "string?"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a question about a picture of its own; on the test split there are no answers."""
    return Sample(
        sample_id=row["question_id"],
        question=row["question"],
        references=list(row["answers"] or []),
        images=image_bytes(row),
        metadata=scalars(row, "category"),
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return LLaVA's prompt: the question with only its first letter in upper case, the hint, the suffix."""
    if family == "qwen_vl":
        return qwen_question(one.question)
    if one_line(family, options):
        return Prompt(f"{one.question} {HINT} {SHORT_ANSWER}")
    # `capitalize` also lowers all other letters, as for TextVQA.
    return Prompt("\n".join([one.question.capitalize(), HINT, SHORT_ANSWER]))


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return soft accuracy with M4C's normalizer on both sides, the answer's and that of giving up; ten answers each."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        if len(one.references) != ANNOTATORS:
            raise ValueError(
                f"vizwiz_val sample {one.sample_id}: {len(one.references)} answers; "
                f"the metric is defined for {ANNOTATORS}"
            )
        scored.append(
            {
                "score": soft_accuracy(prediction, one.references, m4c_normalize),
                # What "unanswerable" would have scored here: often the annotators' own answer.
                "of_giving_up": soft_accuracy(UNANSWERABLE, one.references, m4c_normalize),
                "gave_up": float(m4c_normalize(prediction) == UNANSWERABLE),
                "category": one.metadata.get("category") or "unknown",
            }
        )
    return scored


def headline(frame: Any) -> Any:
    """Return the mean soft accuracy."""
    from himap.metrics.statistics import mean_of

    return mean_of(frame["score"])


def details(frame: Any) -> dict[str, float]:
    """Return the score per category, how often the model gave up, and what it would get by always giving up."""
    return {
        **by_group(frame, "category"),
        "answered_unanswerable": total(frame, "gave_up"),
        "floor_unanswerable": total(frame, "of_giving_up"),
    }


BENCHMARK = Benchmark(
    name="vizwiz_val",
    title="VizWiz (val)",
    metric="soft accuracy",
    scale=100.0,
    chance=None,
    task="qa",
    rank=14,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(10)}},
    rows=rows,
    headline=headline,
    details=details,
    picture=None,  # each question has a picture of its own
)
