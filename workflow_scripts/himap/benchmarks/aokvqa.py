"""A-OKVQA, multiple choice on the validation split, in LLaVA's format or in FastV's."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import ask_for_letter, letters, qwen_choice
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.choice import chosen_option, llava_letter
from himap.metrics.summaries import accuracy, total
from himap.models.prompts import Prompt

SOURCE = Source(
    hub_id="HuggingFaceM4/A-OKVQA",
    split="validation",
    revision="d1b0efa",  # the first digits of a commit; `samples.source` looks up the rest
    licence="Apache-2.0; images from COCO 2017",
    rows=1_145,
    columns={
        "image": "image",
        "question_id": "string",
        "question": "string",
        "choices": "list<string>",
        "correct_choice_idx": "int?",  # counted from 0; null on the test split
        "direct_answers": "string|list<string>?",  # of ten annotators; kept, but not scored here
    },
    unused={
        "difficult_direct_answer": "bool?",
        "rationales": "list<string>?",
    },
)


def as_list(answers: str | list[str] | None) -> list[str]:
    """Return the direct answers, which one copy of the set stores as a string that looks like a Python list."""
    if not isinstance(answers, str):
        return list(answers or [])
    try:
        # Single quotes, so it is no JSON; `literal_eval` runs no code.
        parsed = ast.literal_eval(answers)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"direct_answers {answers[:60]!r} is not a list of strings") from error
    return [str(answer) for answer in parsed]


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; its reference is the letter of the correct choice, which the test split lacks."""
    names, right = letters(row["choices"]), row["correct_choice_idx"]
    if right is not None and not 0 <= right < len(names):
        raise ValueError(f"correct_choice_idx {right} is not one of the {len(names)} choices")
    return Sample(
        sample_id=row["question_id"],
        question=row["question"],
        options=list(row["choices"]),
        references=[] if right is None else [names[right]],
        images=image_bytes(row),
        metadata=scalars(row, "difficult_direct_answer", "image_id")
        | {"direct_answers": as_list(row["direct_answers"])},
    )


def fastv_prompt(one: Sample, family: str) -> Prompt:
    """Return FastV's wording, which begins with a newline and lists the options on one line."""
    options = " ".join(f"({letter}) {text}" for letter, text in zip(letters(one.options), one.options, strict=True))
    text = (
        f"\nAnalyse the image and choose the best answer for the following question:\n{one.question}\n"
        f"Options: {options}\nJust output the letter of the correct answer."
    )
    # FastV's frame is a LLaVA template; Qwen was not asked by its script, so it gets the words in its own chat.
    return Prompt(text, style="chat" if family == "qwen_vl" else "fastv")


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the prompt by protocol; in LLaVA's, Qwen is asked in the form of its own ScienceQA script."""
    if options["protocol"] == "fastv":
        return fastv_prompt(one, family)
    return qwen_choice(one) if family == "qwen_vl" else ask_for_letter(one)


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return whether the letter, or the choice's own text, is the right choice; FastV counts any output with the letter."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        gold = one.references[0]
        # Texts and not letters are compared, so that an answer in the option's own words counts.
        right = chosen_option(gold, one.options)
        # LLaVA's rule for ScienceQA, since LLaVA has no script for A-OKVQA.
        said = chosen_option(llava_letter(prediction), one.options)
        if said is None and prediction.strip() in one.options:
            said = prediction.strip()
        scored.append(
            {
                "score": float(said == right),
                # "A" is in "All" and "Answer" too; FastV's answers are one token long, so this mattered little there.
                "fastv": float(gold in prediction),
                "unreadable": float(said is None),
                "truth": gold,
                "n_options": len(one.options),
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return FastV's counting, unreadable answers, and what needs no image or question."""
    from himap.metrics.statistics import floor_of_guessing, floor_of_most_common

    return {
        "fastv": total(frame, "fastv"),
        "unreadable": float(frame["unreadable"].sum()),
        "floor_guessing": floor_of_guessing(frame["n_options"].tolist()),
        "floor_most_common": floor_of_most_common(frame["truth"].tolist()),
    }


BENCHMARK = Benchmark(
    name="aokvqa",
    title="A-OKVQA",
    metric="multiple-choice accuracy",
    scale=100.0,
    chance=25.0,
    task="qa",
    rank=6,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    options={"protocol": ("llava", "fastv")},
    contested="protocol",
    own_form=("qwen_vl",),
    limits=every_family(Limits(16), qwen_vl=Limits(1)),
    # FastV's script generates one token. Qwen compares losses in LLaVA's form, but writes an answer in this one.
    short_limits={"protocol=fastv": every_family(Limits(1), qwen_vl=Limits(16))},
    rows=rows,
    headline=accuracy,
    details=details,
)
