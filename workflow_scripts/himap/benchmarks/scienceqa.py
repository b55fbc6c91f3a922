"""ScienceQA, the questions with an image of the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import CENTER_CROP, Benchmark, Limits, every_family
from himap.benchmarks._prompts import ask_for_letter, letters, qwen_choice
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.choice import is_right, llava_letter, lmms_letter
from himap.metrics.summaries import accuracy, by_group, total
from himap.models.prompts import Prompt

SOURCE = Source(
    hub_id="lmms-lab/ScienceQA",
    config="ScienceQA-IMG",
    split="test",
    revision="69dd4d6b67373d38f96a5badd5d24d0eb5bcdc50",
    licence="CC BY-NC-SA 4.0",
    rows=2_017,
    columns={
        "image": "image?",  # the config ScienceQA-IMG has one in every row
        "question": "string",
        "choices": "list<string>",
        "answer": "int",  # the choice, counted from 0
        "hint": "string?",
    },
    unused={
        "task": "string?",
        "grade": "string?",
        "subject": "string?",
        "topic": "string?",
        "category": "string?",
        "skill": "string?",
        "lecture": "string?",
        "solution": "string?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a sample named by its row, since the set has no ids."""
    names = letters(row["choices"])
    if not 0 <= row["answer"] < len(names):
        raise ValueError(f"answer {row['answer']} is not one of the {len(names)} choices")
    return Sample(
        sample_id=str(index),
        question=row["question"],
        options=list(row["choices"]),
        references=[names[row["answer"]]],
        images=image_bytes(row),
        metadata=scalars(row, "hint", "subject", "topic", "category", "skill", "grade"),
    )


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the prompt: Qwen picks the letter of lowest loss, the others are asked for the letter."""
    return qwen_choice(one) if family == "qwen_vl" else ask_for_letter(one)


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return right or wrong by LLaVA's extraction, by lmms-eval's, and by plain equality with the letter (HiMAP's release)."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        gold, n = one.references[0], len(one.options)
        said = llava_letter(prediction)
        scored.append(
            {
                # A letter beyond the choices counts as wrong and not as unreadable.
                "score": float(is_right(said, gold, n)),
                "lmms_eval": float(is_right(lmms_letter(prediction), gold, n)),
                # HiMAP's release counts only the bare letter, which a model that writes "A." would lose.
                "exact": float(prediction == gold),
                "said": said,
                "truth": gold,
                "subject": one.metadata.get("subject") or "",
                "n_options": n,
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return the score per subject, by the other extractions, unreadable answers, and what needs no image or question."""
    from himap.metrics.statistics import floor_of_guessing, floor_of_most_common

    return {
        # "" where a copy has no subjects.
        **by_group(frame[frame["subject"] != ""], "subject"),
        "lmms_eval": total(frame, "lmms_eval"),
        "exact": total(frame, "exact"),
        "unreadable": float((frame["said"] == "").sum()),
        "floor_guessing": floor_of_guessing(frame["n_options"].tolist()),
        "floor_most_common": floor_of_most_common(frame["truth"].tolist()),
    }


BENCHMARK = Benchmark(
    name="scienceqa",
    title="ScienceQA",
    metric="accuracy",
    scale=100.0,
    chance=35.5,  # percent, the mean of one over the number of choices
    task="qa",
    rank=5,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    # 1,024 as in LLaVA's script, though the prompt asks for a letter; Qwen compares losses and generates nothing.
    limits=every_family(Limits(1024), qwen_vl=Limits(1)),
    image_modes=CENTER_CROP,
    contested="images",
    rows=rows,
    headline=accuracy,
    details=details,
)
