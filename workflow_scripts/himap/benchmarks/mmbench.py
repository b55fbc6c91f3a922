"""MMBench in English, dev split of July 2023, on which LLaVA was scored: a question is right if all its rotations are.

Each question is asked two to four times, its options moved by one place each time. The rows of a question have the same
index but for millions, which count the rotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import OPTION_LETTER, PromptMaker, lettered, qwen_choice
from himap.benchmarks._sample import Sample, Source, image_bytes
from himap.metrics.choice import free_letter, is_right
from himap.metrics.summaries import by_group, total
from himap.models.prompts import Prompt

# The index of a rotated copy is that of its question plus a multiple of this.
ROTATION = 1_000_000
ABSENT = ("", "nan", "none")  # what an option or a hint may read where there is none
OPTIONS = ("A", "B", "C", "D")

SOURCE = Source(
    hub_id="lmms-lab/MMBench_EN",
    split="dev",
    revision="c4fb51578b3bfbc3df92ff2c0afdea4bae31ae62",
    licence="Apache-2.0 (benchmark); none given for this copy",
    rows=4_377,
    columns={
        "index": "int|string",
        "question": "string",
        "hint": "string?",
        "answer": "string",
        **dict.fromkeys(OPTIONS, "string?"),
        "category": "string?",
        "image": "image",
    },
    unused={"l2-category": "string?", "L2-category": "string?"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return one rotation as published: its options end at the first that is missing, some rotations are missing too."""
    number, options = index_of(row["index"]), options_of(row)
    if row["answer"] not in OPTIONS:
        raise ValueError(f"answer {row['answer']!r} is not one of {', '.join(OPTIONS)}")
    if not options:
        raise ValueError("option A is missing")
    facts = {
        "question_id": number % ROTATION,
        "rotation": number // ROTATION,
        "category": row["category"],
        "l2_category": row["l2-category"] or row["L2-category"],  # the copies write it in two ways
    }
    return Sample(
        sample_id=str(number),
        question=row["question"],
        options=options,
        references=[row["answer"]],
        images=image_bytes(row),
        metadata={**facts, "hint": None if is_absent(row["hint"]) else row["hint"]},
    )


def index_of(value: int | str) -> int:
    """Return a row's index, which some of the copies hold as text."""
    if isinstance(value, str) and not value.isdigit():
        raise ValueError(f"index {value!r} is not a number")
    return int(value)


def options_of(row: Mapping[str, Any]) -> list[str]:
    """Return the options up to the first that is missing."""
    count = next((at for at, name in enumerate(OPTIONS) if is_absent(row[name])), len(OPTIONS))
    # Options behind a gap are dropped with it.
    return [row[name] for name in OPTIONS[:count]]


def is_absent(cell: str | None) -> bool:
    """Return whether a cell is empty; the tables were written from data frames, so that empty ones may read 'nan'."""
    return cell is None or cell.strip().lower() in ABSENT


def asking(suffix: str) -> PromptMaker:
    """Return LLaVA's prompt with a suffix: hint, question, options; Qwen picks the letter of lowest loss."""

    def make(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
        if family == "qwen_vl":
            return qwen_choice(one)
        hint = [one.metadata["hint"]] if one.metadata.get("hint") else []
        return Prompt("\n".join([*hint, one.question, lettered(one.options), suffix]))

    return make


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether each rotation is answered right, by the rules that need no language model."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        gold, n = one.references[0], len(one.options)
        said = free_letter(prediction, one.options)
        scored.append(
            {
                "score": float(is_right(said, gold, n)),
                "said": said,
                "question": one.metadata["question_id"],
                "rotation": one.metadata["rotation"],
                "category": one.metadata.get("l2_category") or "",
                "n_options": n,
            }
        )
    return scored


def questions(frame: Any) -> Any:
    """Return one row per question: whether all its rotations are right, and the chance that all are by guessing."""
    # The minimum of 0 and 1 is 1 only if all rotations are right. Guesses are independent, so their chances multiply.
    return frame.groupby("question", sort=False).agg(
        score=("score", "min"), category=("category", "first"), guessed=("n_options", lambda n: 1 / prod(n.tolist()))
    )


def headline(frame: Any) -> Any:
    """Return the share of questions with all rotations right; a question counts in its first row, pictures are drawn."""
    import numpy as np

    from himap.metrics.statistics import Estimate

    # A question has one row per rotation. Only its first row counts, so that questions with more rotations weigh no more.
    first = ~frame["question"].duplicated().to_numpy()
    right = frame.groupby("question")["score"].transform("min").to_numpy()  # [rows], equal within a question
    values = np.stack([right * first, first.astype(float)], axis=1)  # [rows, 2]: right questions, questions
    pictures = frame["picture" if "picture" in frame else "question"].to_numpy(dtype=str)
    return Estimate(values, lambda sums: 100.0 * sums[..., 0] / sums[..., 1], pictures, binary=True, top=100.0)


def details(frame: Any) -> dict[str, float]:
    """Return the same per category, accuracy of the first rotation and of all rows, unreadable answers, the floor."""
    whole = questions(frame)
    return {
        **by_group(whole[whole["category"] != ""], "category"),
        "questions": float(len(whole)),
        "first_rotation": total(frame[frame["rotation"] == 0], "score"),
        "all_rows": total(frame, "score"),
        "unreadable": float((frame["said"] == "").sum()),
        "floor_guessing": total(whole, "guessed"),
    }


BENCHMARK = Benchmark(
    name="mmbench",
    title="MMBench",
    metric="circular accuracy",
    scale=100.0,
    chance=2.6,  # percent, the mean of `guessed` over all questions
    task="qa",
    rank=16,
    source=SOURCE,
    sample=sample,
    make_prompt=asking(OPTION_LETTER),
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(1024), qwen_vl=Limits(1)),
    short_limits={"scripts=internvl": {"internvl": Limits(100)}},
    rows=rows,
    headline=headline,
    details=details,
    group=lambda one: str(one.metadata["question_id"]),
    group_size=4,  # rotations at most
)
