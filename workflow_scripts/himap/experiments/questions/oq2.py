"""Can K and R be chosen per input? Rules fitted to HiMAP's mean FLOPs, and what an oracle would save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._samples import BATCH, all_together, batches, divided, named
from himap.experiments.questions._schedules import REFERENCE, UNPRUNED, reference

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.experiments.answers import AnswerRow
    from himap.models.model import Model
    from himap.pruning.stage import Schedule


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield a row per test sample and schedule: its FLOPs by what it kept, its score, and whether the answer is the unpruned one."""
    from himap.experiments.answers import Asking, encode
    from himap.experiments.batches import answer_each

    # thresholds are fitted on samples that are not scored
    validation, test = divided(group, settings["validation_every"])
    if not validation or not test:
        return
    goal = reference(model)
    # all in memory at once: each threshold is fitted on every validation sample
    prompts = [encode(model, [asked.question for asked in some]) for some in batches(validation, BATCH)]
    schedules = [*fixed(model, goal, settings["budgets"]), *adaptive(model, prompts, goal, settings["policies"])]
    by_name = {asked.sample.sample_id: asked for asked in test}
    # items are samples with their benchmark, of which the model is asked the question alone
    asking = Asking(
        schedules,
        max_new_tokens=min(settings["new_tokens"], settings["max_new_tokens"]),
        question=lambda it: it.question,
    )
    answers: dict[str, dict[str, Row]] = {name: {} for name in by_name}
    for schedule, answer in answer_each(model, test, [asking]):
        answers[answer["sample_id"]][schedule.name] = row_of(model, by_name[answer["sample_id"]], schedule, answer)
    predictors = predicted_by(model, test, goal)
    for name, rows in answers.items():
        for policy, row in rows.items():
            # every schedule against the unpruned one, itself included
            same = int(row["answer"] == rows[UNPRUNED]["answer"])
            yield {**row, "policy": policy, "same": same, **predictors[name]}


def fixed(model: Model, goal: Schedule, budgets: Sequence[float]) -> list[Schedule]:
    """Return schedules that are the same for every input: none, the reference, and the reference's stages at shares of all FLOPs."""
    from himap.costs.formulas import flops
    from himap.pruning.budget import Budget, meet
    from himap.pruning.stage import Schedule

    whole = flops(model.dims, [])
    return [
        Schedule(name=UNPRUNED),
        Schedule(goal.stages, REFERENCE),
        *(
            Schedule(meet(model.dims, goal.stages, Budget("flops", share * whole)), f"fixed {share:g}")
            for share in budgets
        ),
    ]


def adaptive(model: Model, prompts: Sequence[Rows], goal: Schedule, policies: Sequence[str]) -> list[Schedule]:
    """Return the fitted schedules, one per policy."""
    from himap.experiments.fitting import fitted
    from himap.pruning.stage import Schedule

    return [Schedule(fitted(model, prompts, goal.stages, policy), policy) for policy in policies]


def row_of(model: Model, asked: Asked, schedule: Schedule, answer: AnswerRow) -> Row:
    """Return what a schedule cost and gave on one sample; costs as a share of the unpruned prefill's."""
    from himap.costs.formulas import ratio
    from himap.decoder.bitmaps import from_bitmap
    from himap.pruning.stage import as_acted

    counts = [len(from_bitmap(kept)) for kept in answer["kept"]]
    # answers of a fixed schedule do not say where its stages acted
    layers = answer.get("layers", [stage.layer for stage in schedule.stages])
    acted = as_acted(schedule.stages, counts, layers)
    return {
        **named(asked),
        "cost": ratio(model.dims, acted, n_image=answer["image_tokens"]),
        "score": asked.score(answer["prediction"]),
        "answer": answer["prediction"],
        "kept": " ".join(map(str, counts)),
        "acted": " ".join(map(str, layers)),
    }


def predicted_by(model: Model, samples: Sequence[Asked], goal: Schedule) -> dict[str, Row]:
    """Return by sample what might tell how many tokens it needs, all known before the first stage of a schedule is chosen."""
    from himap.decoder.tokens import INSTRUCTION
    from himap.experiments.answers import encode
    from himap.experiments.fitting import DEPTH_SIGNALS, signals

    # where the fitted rules read them too: one signal for each stage
    at = {signal: stage.layer for signal, stage in zip(DEPTH_SIGNALS, goal.stages, strict=False)}
    found: dict[str, Row] = {}
    for some in batches(samples, BATCH):
        rows = encode(model, [asked.question for asked in some])
        values = signals(model, rows, at)
        lengths = (rows.groups == INSTRUCTION).sum(dim=1).tolist()
        for b, asked in enumerate(some):
            found[asked.sample.sample_id] = {
                **{f"by_{signal}": numbers[b] for signal, numbers in values.items()},
                "by_question_length": lengths[b],
                # 0 means that the data do not say what the question is about
                "by_evidence": len(asked.evidence) or None,
            }
    return found


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: those of the schedules, most of which share layers, and those of the fit."""
    schedules = 2 + len(settings["budgets"]) + len(settings["policies"])
    return schedules * 0.6 + 2 * len(settings["policies"]) / settings["validation_every"]


def criteria(settings: Settings) -> list[str]:
    """Return those of the reference."""
    return ["instruction_attention", "image_attention"]


QUESTION = OpenQuestion(
    title="Can K and R be chosen per input?",
    about="Whether each input may find its own layers and counts: rules fitted to HiMAP's mean FLOPs, and what an oracle would save.",
    measure=measure,
    prefills=prefills,
    groups=all_together,
    criteria=criteria,
    limit=144,
    settings={
        "budgets": [0.28, 0.38, 0.6],
        "policies": ["mass", "depth"],
        "validation_every": 4,
        "new_tokens": 8,
    },
)
