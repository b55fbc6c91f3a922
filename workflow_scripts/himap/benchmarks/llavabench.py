"""LLaVA-Bench (in the wild): open questions, graded by a language model against a text-only model's answers."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import CENTER_CROP, Benchmark, JudgeProtocol, Limits, every_family
from himap.benchmarks._prompts import bare_question
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics import judged

CATEGORIES = ("conv", "detail", "complex")

# What the official evaluator sends, word for word: a score is only comparable under the same instruction.
ROLE = "You are a helpful and precise assistant for checking the quality of the answer."
INSTRUCTION = (
    "We would like to request your feedback on the performance of two AI assistants in response to the user "
    "question displayed above. The user asks the question on observing an image. For your reference, the visual "
    "content in the image is represented with a few sentences describing the image. \n"
    "Please rate the helpfulness, relevance, accuracy, level of details of their responses. Each assistant "
    "receives an overall score on a scale of 1 to 10, where a higher score indicates better overall performance.\n"
    "Please first output a single line containing only two values indicating the scores for Assistant 1 and 2, "
    "respectively. The two scores are separated by a space.\n"
    "In the subsequent line, please provide a comprehensive explanation of your evaluation, avoiding any "
    "potential bias and ensuring that the order in which the responses were presented does not affect your "
    "judgment."
)

SOURCE = Source(
    hub_id="lmms-lab/llava-bench-in-the-wild",
    split="train",  # the hub's name for all 60 questions; none is for training
    revision="2c88d835d509b1372066db42ab7799255dbe9da2",
    licence="Apache-2.0 tag on the original",
    rows=60,
    columns={
        "question_id": "string|int",
        "question": "string",
        "category": "string",
        "gpt_answer": "string",  # by a GPT-4 that read the caption and saw no picture
        "caption": "string",
        "image": "image",
    },
    unused={
        "image_id": "string|int?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; its reference is the text-only model's answer, and the judge sees the caption in place of the image."""
    if row["category"] not in CATEGORIES:
        raise ValueError(f"category {row['category']!r} is not one of {', '.join(CATEGORIES)}")
    return Sample(
        sample_id=str(row["question_id"]),
        question=row["question"],
        references=[row["gpt_answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "category", "image_id", "caption"),
    )


def messages(one: Sample, prediction: str) -> list[dict[str, str]]:
    """Return caption, question, both answers and the instruction in the evaluator's sections."""
    sections = (
        f"[Context]\n{one.metadata['caption']}\n\n",
        f"[Question]\n{one.question}\n\n",
        # The reference always comes first, as in the evaluator: judges favor a place, so that swapping would change the scores.
        f"[Assistant 1]\n{one.references[0]}\n\n[End of Assistant 1]\n\n",
        f"[Assistant 2]\n{prediction}\n\n[End of Assistant 2]\n\n",
        f"[System]\n{INSTRUCTION}\n\n",
    )
    return [{"role": "system", "content": ROLE}, {"role": "user", "content": "".join(sections)}]


def rows(samples: list[Sample], verdicts: list[list[judged.Verdict]]) -> list[dict[str, Any]]:
    """Return both scores of each run, on the judge's scale of 1 to 10; unreadable ones are left out and counted."""
    scored = []
    for one, given in zip(samples, verdicts, strict=True):
        readable = [verdict[1] for verdict in given if verdict]  # [reference's score, model's score]
        scored.append(
            {
                "score": sum(readable) / len(readable) if readable else float("nan"),
                "category": one.metadata["category"],
                "unreadable": sum(verdict is None for verdict in given),
                **judged.run_columns(given, ("reference", "score")),
            }
        )
    return scored


def details(frame: Any) -> dict[str, float]:
    """Return the relative score per category and run, both sides' mean scores (times 10), spread over runs, unread verdicts."""
    import numpy as np

    every_run = [str(run) for run in judged.runs_of(frame)]
    estimate = judged.relative_estimate(frame)
    runs = judged.relative_scores(estimate.values.sum(axis=0))  # [runs]
    sides = {
        # Times 10, as the official script prints them.
        f"{side}_mean": float(np.nanmean(frame[[f"{name}_{run}" for run in every_run]].to_numpy()) * 10)
        for side, name in (("model", "score"), ("reference", "reference"))
    }
    return {
        "all": estimate.point(),
        **{str(name): judged.relative_estimate(part).point() for name, part in frame.groupby("category")},
        **{f"run_{run}": float(value) for run, value in zip(every_run, runs, strict=True)},
        **sides,
        "std": float(np.std(runs)),
        **judged.unreadable_counts(frame),
    }


BENCHMARK = Benchmark(
    name="llavabench",
    title="LLaVA-Bench",
    metric="relative score by a judge",
    scale=100.0,
    chance=None,
    task="open",
    rank=9,
    source=SOURCE,
    sample=sample,
    make_prompt=bare_question,
    limits=every_family(Limits(1024)),
    image_modes=CENTER_CROP,
    contested="images",
    rows=rows,
    headline=judged.relative_estimate,
    details=details,
    judge=JudgeProtocol(
        messages=messages,
        # As the official evaluator asks. A verdict that cannot be read is asked for again in the same words.
        temperature=0.2,
        max_tokens=1024,
        parse=judged.parse_pair,
        default_model="gpt-4-0314",
        default_runs=3,
        tries=3,
    ),
)
