"""POPE: is an object in the image? Three settings that share images and positive questions.

LLaVA's scores are on the questions of 2023: 90 fewer negative ones in the random setting, and "imange" for "image" after
"an". `version: llava` asks them; whichever is asked, `as_llava_f1` counts these questions alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from himap.benchmarks._base import Benchmark, Limits, every_family
from himap.benchmarks._prompts import SHORT_ANSWER, question_then
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics.detection import confusion, f1, rates
from himap.metrics.yes_no import pope_answer, pope_answer_lmms
from himap.models.prompts import Prompt

SETTINGS = ("random", "popular", "adversarial")

# Questions of the random setting that came after 2023: the number of the COCO picture and the objects that are not in it
ADDED = """
1171 spoon; 8749 horse; 23731 surfboard; 31773 vase; 34773 frisbee; 44993 pizza; 63953 zebra; 69189 zebra; 69863 stop sign;
88507 bicycle; 91954 backpack; 108189 umbrella; 120648 sandwich; 120792 microwave, surfboard; 121959 kite; 125572 sandwich;
131115 suitcase; 157084 bear; 159969 zebra; 172342 vase, pizza; 183965 frisbee; 188958 couch; 189694 bird; 190788 broccoli;
191964 truck; 199764 knife; 199940 orange; 205729 chair, bottle; 209755 cell phone; 217397 tv; 226097 dining table;
227227 laptop; 233426 bowl; 236370 stop sign, car; 239444 clock; 245642 bed; 259755 cat; 263594 tv; 265719 bird;
273450 carrot; 283168 traffic light; 288639 horse; 294475 handbag; 303534 wine glass; 307262 backpack; 312406 stop sign;
313162 bench; 314992 toothbrush; 316237 spoon; 318209 knife; 336872 car; 353096 train; 353180 wine glass, suitcase;
354088 handbag; 354976 giraffe; 356424 laptop; 379404 bird; 383185 tennis racket; 388237 fork; 390184 snowboard;
394535 bench; 397705 bottle; 405740 skis; 415727 cup; 429109 tennis racket; 442809 orange; 456178 couch;
465346 traffic light; 478736 clock; 489728 tie; 498100 bear; 500473 pizza; 511341 tie; 526368 microwave;
538054 stop sign, hot dog; 549390 oven; 550514 potted plant; 551908 bus; 553992 motorcycle; 555538 chair; 572075 cow;
574692 bear; 575755 bowl; 579415 boat
"""
# The spelling "imange" is read too, so that rows that already have the typo are recognized.
QUESTION = re.compile(r"is there an? (.+) in the imange\?|is there an? (.+) in the image\?", re.IGNORECASE)


def read_added() -> frozenset[tuple[int, str]]:
    """Return (picture, object) of every question in `ADDED`."""
    entries = (entry.strip().split(" ", 1) for entry in ADDED.split(";"))
    return frozenset((int(number), thing) for number, things in entries for thing in things.split(", "))


QUESTIONS_ADDED = read_added()


def was_added(category: str, picture: str, question: str) -> bool:
    """Return whether a question is missing from the files of 2023 that LLaVA's scores were measured on."""
    # A picture is named "COCO_val2014_000000353180", in some copies with ".jpg"; `ADDED` has just the number.
    asked, number = QUESTION.fullmatch(question.strip()), re.search(r"(\d+)(?:\.jpg)?$", picture)
    if category != "random" or asked is None or number is None:
        return False
    return (int(number[1]), (asked[1] or asked[2]).lower()) in QUESTIONS_ADDED


SOURCE = Source(
    hub_id="lmms-lab/POPE",
    split="test",
    revision="4db1276663dfa5eb8ad16a52d24c31a09e470896",
    licence="MIT (questions); images from COCO val2014",
    rows=9_000,
    columns={
        "id": "string",
        "question_id": "string",
        "question": "string",
        "answer": "string",
        "image_source": "string",
        "image": "image",
        "category": "string",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a sample named by the row's `id`, since `question_id` repeats in the three settings."""
    return Sample(
        sample_id=str(row["id"]),
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "question_id", "category", "image_source"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return what was said by the official rule and by lmms-eval's, whether it is right, whether LLaVA's files have it."""
    scored = []
    for one, prediction in zip(samples, predictions, strict=True):
        truth, category = one.references[0].strip().lower(), one.metadata["category"]
        if truth not in ("yes", "no") or category not in SETTINGS:
            raise ValueError(
                f"pope sample {one.sample_id}: answer {truth!r} in setting {category!r}; "
                f"expected yes or no in {', '.join(SETTINGS)}"
            )
        said = pope_answer(prediction)
        scored.append(
            {
                "score": float(said == truth),
                "said": said,
                "said_lmms_eval": pope_answer_lmms(prediction),
                "truth": truth,
                "category": category,
                "image": one.metadata["image_source"],
                # Kept per row, so that the F1 of 2023's questions follows from answers to today's without asking again.
                "in_llava": not was_added(category, one.metadata["image_source"], one.question),
            }
        )
    return scored


def headline(frame: Any) -> Any:
    """Return the mean of the settings' F1; images are drawn, because the settings ask about the same ones."""
    import numpy as np

    from himap.metrics.statistics import Estimate

    # F1 is no mean over samples, so each row contributes counts, and the statistic is computed from their sums.
    counts = confusion(frame["said"], frame["truth"])[:, :3]  # [n, TP FP FN]
    present = [name for name in SETTINGS if (frame["category"] == name).any()]
    # [n, 3 settings]: a row's counts are in the three columns of its own setting and 0 elsewhere.
    values = np.concatenate([counts * (frame["category"] == name).to_numpy()[:, None] for name in present], axis=1)

    def mean_f1(sums: np.ndarray) -> np.ndarray:
        return f1(sums.reshape(*sums.shape[:-1], len(present), 3)).mean(axis=-1)  # [..., 3 settings] -> [...]

    return Estimate(values, mean_f1, frame["image"].to_numpy(dtype=str), top=100.0)


def details(frame: Any) -> dict[str, float]:
    """Return five measures per setting, their mean, over all rows together, the latter by lmms-eval's reading; LLaVA's F1."""
    counts = confusion(frame["said"], frame["truth"])
    present = [name for name in SETTINGS if (frame["category"] == name).any()]
    measured = {name: rates(counts[(frame["category"] == name).to_numpy()].sum(0)) for name in present}
    measured["mean"] = {
        key: sum(measured[name][key] for name in present) / len(present) for key in measured[present[0]]
    }
    measured["pooled"] = rates(counts.sum(0))
    measured["lmms_eval_pooled"] = rates(confusion(frame["said_lmms_eval"], frame["truth"]).sum(0))
    numbers = {f"{name}_{key}": value for name, values in measured.items() for key, value in values.items()}
    return numbers | {"as_llava_f1": headline(frame[frame["in_llava"]]).point()}


def keep(row: dict[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether a row belongs to the version that is asked."""
    return options["version"] != "llava" or not was_added(row["category"], row["image_source"], row["question"])


def make_prompt(one: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the short-answer prompt, of LLaVA's version with the typo that every question with "an" had."""
    # "image" with its "a" turned into "an", like the article: the files of 2023 have it wherever the article is "an".
    if options["version"] == "llava" and " an " in one.question:
        one = replace(one, question=one.question.replace(" in the image?", " in the imange?"))
    return question_then(SHORT_ANSWER)(one, family, options)


BENCHMARK = Benchmark(
    name="pope",
    title="POPE",
    metric="F1, mean of three settings",
    scale=100.0,
    chance=200 / 3,  # F1 of always saying yes, where half of the answers are yes
    task="qa",
    rank=3,
    source=SOURCE,
    sample=sample,
    make_prompt=make_prompt,
    options={"scripts": ("llava", "internvl"), "version": ("hub", "llava")},
    row_options=("version",),
    sources={"version=llava": replace(SOURCE, rows=8_910)},  # 90 fewer
    contested="version",
    own_form=("qwen_vl",),
    keep=keep,
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(100)}},
    rows=rows,
    headline=headline,
    details=details,
    stratum=lambda one: one.metadata["category"],  # as many of each setting
    unit=lambda one: one.metadata["image_source"],  # of the same images
    picture=("image_source",),
)
