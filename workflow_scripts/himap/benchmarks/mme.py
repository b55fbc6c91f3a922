"""MME: two questions per image, one to be answered yes and one no; 14 subtasks, in two groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, one_line
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.yes_no import mme_answer, mme_answer_lmms
from himap.models.prompts import Prompt

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
ENDING = "Please answer yes or no."

SOURCE = Source(
    hub_id="lmms-lab/MME",
    split="test",
    revision="d6c9023f017b564f7b3ccccf5348166bce8fdbcd",
    licence="academic research only; no redistribution without the authors' approval",
    rows=2_374,
    columns={"question_id": "string", "image": "image", "question": "string", "answer": "string", "category": "string"},
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; both questions of an image have one question_id, and the sample ids become <question_id>#1 and #2."""
    return Sample(
        sample_id=row["question_id"],
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "question_id", "category"),
    )


def pair(one: Sample) -> str:
    """Return the image that a question is about."""
    return f"{one.metadata['category']}/{one.metadata['question_id']}"


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the prompt: LLaVA's suffix replaces the question's ending, Qwen keeps the question, InternVL's script has both."""
    if family == "qwen_vl":  # its script writes the picture and the question, without the chat's "Picture 1: "
        return Prompt(one.question, style="chat_plain")
    if one_line(family, options):
        return Prompt(f"{one.question} {SHORT_ANSWER}")
    # Stripped again afterwards: "Are there two?  Please answer yes or no." has spaces before its ending.
    return Prompt(f"{one.question.strip().removesuffix(ENDING).strip()}\n{SHORT_ANSWER}")


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return right or wrong per question, by the official rule and by lmms-eval's."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        truth = one.references[0].strip().lower()
        if truth not in ("yes", "no"):
            raise ValueError(f"mme sample {one.sample_id}: the answer is {truth!r} where yes or no is expected")
        said = mme_answer(prediction)
        scored.append(
            {
                "score": float(said == truth),
                "lmms_eval": float(mme_answer_lmms(prediction) == truth),
                "said": said,
                "category": one.metadata["category"],
                "image": pair(one),
            }
        )
    return scored


def shares(frame: Any, column: str = "score") -> Any:
    """Return each question's part of its subtask's score, so that their sum is acc + acc+ in percent, summed over subtasks."""
    images = frame.groupby("image")[column]
    # acc+ asks for both answers of an image: their minimum, spread over its rows so that each image counts once.
    both = images.transform("min") / images.transform("size")  # [rows]
    questions = frame.groupby("category")[column].transform("size")  # of a row's subtask
    pictures = frame.groupby("category")["image"].transform("nunique")  # of a row's subtask
    return 100.0 * (frame[column] / questions + both / pictures)


def headline(frame: Any) -> Any:
    """Return perception and cognition summed; images are drawn within each subtask, since the score sums over subtasks."""
    from himap.metrics.statistics import Estimate

    values = shares(frame).to_numpy()[:, None]
    pictures, categories = (frame[key].to_numpy(dtype=str) for key in ("image", "category"))
    # Of the subtasks that are there: a cut file may lack some. Each gives 100 for acc and 100 for acc+.
    top = 200.0 * frame["category"].nunique()
    return Estimate(values, lambda sums: sums[..., 0], pictures, categories, top=top)


def details(frame: Any) -> dict[str, float]:
    """Return perception, cognition, sum, every subtask with its two accuracies, lmms-eval's sum, answers of neither kind."""
    scores = shares(frame).groupby(frame["category"]).sum()
    images = frame.groupby(["category", "image"])["score"].min().groupby("category").mean() * 100.0
    right = frame.groupby("category")["score"].mean() * 100.0
    # A category that is in neither group counts in the total alone.
    known = [name for name in (*PERCEPTION, *COGNITION) if name in scores]
    totals = {
        "perception": float(sum(scores.get(name, 0.0) for name in PERCEPTION)),
        "cognition": float(sum(scores.get(name, 0.0) for name in COGNITION)),
        "total": float(scores.sum()),
    }
    subtasks = {name: float(scores[name]) for name in known}
    accuracies = {f"{name}_acc": float(right[name]) for name in known} | {
        f"{name}_acc_plus": float(images[name]) for name in known
    }
    other = {
        "lmms_eval_total": float(shares(frame, "lmms_eval").sum()),
        "other_answers": float((frame["said"] == "other").sum()),
    }
    return {**totals, **subtasks, **accuracies, **other}


BENCHMARK = Benchmark(
    name="mme",
    title="MME",
    metric="acc + acc+, perception and cognition",
    scale=2800.0,  # 14 subtasks of 200
    chance=1050.0,  # a coin is right on half of the questions and on a quarter of the images: 14 * (50 + 25)
    task="qa",
    rank=4,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(128)),
    short_limits={"scripts=internvl": {"internvl": Limits(20)}},
    rows=rows,
    headline=headline,
    details=details,
    group=pair,
    group_size=2,
    stratum=lambda one: one.metadata["category"],
    rows_per_id=2,  # both questions of an image have its id
    picture=("category", "question_id"),
)
