"""Does early injection limit counting, reading and localization? Shallow against deep pruning at equal FLOPs, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.costs.formulas import flops, keep_count, ratio
from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._samples import batches
from himap.experiments.questions._schedules import UNPRUNED, of_equal_cost
from himap.pruning.stage import Schedule, Stage, layer_at

if TYPE_CHECKING:
    from himap.experiments.answers import AnswerRow
    from himap.models.model import Model
    from himap.models.sizes import Dims

SHALLOW, DEEP = "shallow", "deep"
SAMPLES_AT_ONCE = 8


@dataclass(frozen=True)
class Arm:
    """A schedule, the module that prunes in it, and its dose: what the shallow schedule of the same cost keeps."""

    module: str
    dose: float
    stages: tuple[Stage, ...] = ()

    @property
    def schedule(self) -> Schedule:
        """Return it as a schedule with a name of its own."""
        return Schedule(self.stages, name=f"{self.module} {self.dose:g}")


def arms(settings: Settings, dims: Dims) -> list[Arm]:
    """Return the unpruned model, a shallow schedule for each dose, and the deep one of equal FLOPs where there is one."""
    listed = [Arm(UNPRUNED, 1.0)]
    for keep in settings["keep"]:
        shallow = Stage(layer_at(settings["shallow"], dims.layers), float(keep), settings["criteria"][0])
        # the shallow stage keeps its share; the deep one is fitted to its cost
        listed.append(Arm(SHALLOW, keep, (shallow,)))
        # 0.5 is a placeholder: `of_equal_cost` finds the share that costs what the shallow stage does
        deep = Stage(layer_at(settings["deep"], dims.layers), 0.5, settings["criteria"][1])
        stages = of_equal_cost(dims, (deep,), flops(dims, [shallow]))
        listed += [Arm(DEEP, keep, stages)] if stages else []
    return listed


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield a row per sample and arm: its score, and how much of the evidence is left."""
    from himap.experiments.answers import Asking, answer_under_all

    listed = {arm.schedule.name: arm for arm in arms(settings, model.dims)}
    asking = Asking([arm.schedule for arm in listed.values()], settings["max_new_tokens"], seed=settings["seed"])
    answers = answer_under_all(model, [asked.question for asked in group], [asking], lambda *_: True)
    for schedule, rows in answers:
        arm = listed[schedule.name]
        for number, (asked, row) in enumerate(zip(group, rows, strict=True)):
            # the last sample of a group takes the first one's evidence
            other = group[(number + 1) % len(group)]  # whose evidence is a control that should find chance
            yield {
                "sample_id": asked.sample.sample_id, "picture": asked.benchmark.picture_of(asked.sample), "kind": asked.kind,
                "module": arm.module, "dose": arm.dose, "ratio": ratio(model.dims, arm.stages),
                "kept": keep_count(arm.stages[0].keep, row["image_tokens"]) if arm.stages else row["image_tokens"],
                "image_tokens": row["image_tokens"], "score": asked.score(row["prediction"]), "answer": row["prediction"],
                "recall": recall_of(row, asked), "recall_shuffled": recall_of(row, other),
            }  # fmt: skip


def recall_of(row: AnswerRow, asked: Asked) -> float | None:
    """Return the share of a sample's evidence that the last stage left of a picture."""
    from himap.decoder.bitmaps import unpacked
    from himap.decoder.layout import Layout
    from himap.metrics.evidence import recall

    if not row["kept"]:
        return None
    return recall(
        unpacked([row["kept"][-1]], row["image_tokens"])[0], asked.evidence, Layout.from_json(row["layouts"][0])
    )


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: a whole one, and for each dose about half a shallow and half a deep one."""
    return 1 + len(settings["keep"])


QUESTION = OpenQuestion(
    title="Early injection, counting, reading and localization",
    about="Whether pruning early costs counting, reading and localization more than recognition, at equal FLOPs.",
    measure=measure,
    prefills=prefills,
    groups=lambda samples, settings: batches(samples, SAMPLES_AT_ONCE),
    criteria=lambda settings: list(settings["criteria"]),
    settings={
        "shallow": 1 / 16,  # of the depth: layers 2 and 8 of 32, as the paper's K1 and K2
        "deep": 1 / 4,
        "keep": [0.75, 0.5, 0.25, 0.125, 0.0625],
        "criteria": ["instruction_attention", "image_attention"],
    },
)
