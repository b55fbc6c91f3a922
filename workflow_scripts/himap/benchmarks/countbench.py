"""CountBenchQA: how many of something a picture shows, two to ten, each number about as often as the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes
from himap.metrics.counts import count_of, first_count
from himap.metrics.summaries import accuracy, by_group, total
from himap.models.families import CHAT_TEMPLATE
from himap.models.prompts import Prompt

REQUEST = "Look at the image carefully and count the objects. Answer with just a number, without any additional text. "
SMALLEST, LARGEST = 2, 10

SOURCE = Source(
    hub_id="vikhyatk/CountBenchQA",
    split="test",
    revision="76d600309e9d6147bd3713b4cd431518ac1206c8",
    licence="not stated; pictures of LAION-400M",
    rows=491,
    columns={"image": "image", "question": "string", "number": "int"},
    unused={"text": "string?"},  # the caption, which says the number: never a part of what is asked
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a question named by its row, since the set has no ids."""
    if not SMALLEST <= row["number"] <= LARGEST:
        raise ValueError(f"number {row['number']} is not one of {SMALLEST} to {LARGEST}")
    return Sample(
        sample_id=str(index), question=row["question"], references=[str(row["number"])], images=image_bytes(row)
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the short-answer prompt; models with a chat template are asked for a number, as in lmms-eval."""
    if family in CHAT_TEMPLATE:
        return Prompt(REQUEST + one.question)
    return question_then(SHORT_ANSWER)(one, family, options)


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each answer is the number, or next to it, how far off it is, and whether its first number is right."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        truth, said, first = int(one.references[0]), count_of(prediction), first_count(prediction)
        scored.append(
            {
                "score": float(said == truth),
                "off_by_one": float(said is not None and abs(said - truth) <= 1),
                # NaN is left out of the mean error: no distance is known of an answer that is no number.
                "error": float("nan") if said is None else float(abs(said - truth)),
                "first_number": float(first == truth),
                "truth": one.references[0],
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return the share per count and of near misses, the mean error, unreadable answers, and what one answer to all would get."""
    from himap.metrics.statistics import floor_of_most_common

    return {
        **by_group(frame, "truth", prefix="of_"),
        "off_by_one": total(frame, "off_by_one"),
        "mean_error": total(frame, "error", 1.0),
        "first_number": total(frame, "first_number"),
        "unreadable": float(frame["error"].isna().sum()),
        "floor_most_common": floor_of_most_common(frame["truth"].tolist()),
    }


BENCHMARK = Benchmark(
    name="countbench",
    title="CountBench",
    metric="exact count",
    scale=100.0,
    chance=None,
    task="qa",
    rank=22,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    limits=every_family(Limits(16), qwen_vl=Limits(10, 1)),
    rows=rows,
    headline=accuracy,
    details=details,
)
