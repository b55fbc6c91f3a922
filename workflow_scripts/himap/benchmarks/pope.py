"""POPE: is an object in the image? Three settings that share images and positive questions."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import (
    SHORT_ANSWER,
    Benchmark,
    Limits,
    Sample,
    Source,
    every_family,
    image_bytes,
    question_then,
    scalars,
)
from himap.metrics.detection import confusion, f1, rates
from himap.metrics.yes_no import pope_answer, pope_answer_lmms

SETTINGS = ("random", "popular", "adversarial")

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
    """`question_id` repeats in the three settings, so the row's `id` names the sample."""
    return Sample(
        sample_id=str(row["id"]),
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "question_id", "category", "image_source"),
    )


def rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """What was said by the official rule and by lmms-eval's, and whether it is right."""
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
            }
        )
    return scored


def headline(frame: Any) -> Any:
    """Mean of the settings' F1; images are drawn, because the settings ask about the same ones."""
    import numpy as np

    from himap.metrics.statistics import Estimate

    counts = confusion(frame["said"], frame["truth"])[:, :3]  # [n, TP FP FN]
    present = [name for name in SETTINGS if (frame["category"] == name).any()]
    values = np.concatenate([counts * (frame["category"] == name).to_numpy()[:, None] for name in present], axis=1)

    def mean_f1(sums: np.ndarray) -> np.ndarray:
        return f1(sums.reshape(*sums.shape[:-1], len(present), 3)).mean(axis=-1)

    return Estimate(values, mean_f1, frame["image"].to_numpy(dtype=str), top=100.0)


def details(frame: Any) -> dict[str, float]:
    """Five measures per setting, their mean, over all rows together, and the latter by lmms-eval's reading."""
    counts = confusion(frame["said"], frame["truth"])
    present = [name for name in SETTINGS if (frame["category"] == name).any()]
    measured = {name: rates(counts[(frame["category"] == name).to_numpy()].sum(0)) for name in present}
    measured["mean"] = {
        key: sum(measured[name][key] for name in present) / len(present) for key in measured[present[0]]
    }
    measured["pooled"] = rates(counts.sum(0))
    measured["lmms_eval_pooled"] = rates(confusion(frame["said_lmms_eval"], frame["truth"]).sum(0))
    return {f"{name}_{key}": value for name, values in measured.items() for key, value in values.items()}


BENCHMARK = Benchmark(
    name="pope",
    title="POPE",
    metric="F1, mean of three settings",
    scale=100.0,
    chance=200 / 3,
    task="qa",
    rank=3,
    source=SOURCE,
    sample=sample,
    make_prompt=question_then(SHORT_ANSWER),
    options={"scripts": ("llava", "internvl")},
    limits=every_family(Limits(128), qwen_vl=Limits(10, 1)),
    short_limits={"scripts=internvl": {"internvl": Limits(100)}},
    rows=rows,
    headline=headline,
    details=details,
    stratum=lambda one: one.metadata["category"],
    unit=lambda one: one.metadata["image_source"],
    picture=("image_source",),
)
