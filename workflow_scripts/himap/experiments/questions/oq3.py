"""Is the redundancy in the encoder or in the decoder? The cost of dropping at the tower's output, and what kept tokens tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._dropped import Dropping, left, look_at_all
from himap.experiments.questions._samples import BATCH, all_together, batches, divided, named, one_of_each

if TYPE_CHECKING:
    from torch import Tensor

    from himap.experiments.answers import AnswerRow
    from himap.models.model import Model
    from himap.pruning.stage import Schedule, Stage

UNPRUNED, TOWER, DECODER, STAGES = "unpruned", "tower", "decoder", "stages"
GRADIENT_TOKENS = 4096  # image tokens of a batch whose gradient is taken: every layer's states stay in memory for it
AS_HIMAP = 0.0  # the dose of schedules of HiMAP's own FLOPs


@dataclass(frozen=True)
class Arm:
    """A schedule: where it drops tokens, by what, and the dose: the share that is kept at the tower's output for the same FLOPs."""

    where: str
    criterion: str = ""
    dose: float = 1.0
    stages: tuple[Stage, ...] = ()

    @property
    def name(self) -> str:
        """Return a name that no other arm has."""
        return f"{self.where} {self.criterion} {self.dose:g}"


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield the answers under every arm, what kept tokens say of dropped ones, and the concentration of the gradient.

    Raise ValueError for a model whose image tokens are beside the sequence.
    """
    if model.dims.cross:
        raise ValueError(
            f"oq3 compares image tokens from layer to layer, and in {model.name} no layer changes them: text looks at them "
            "by cross-attention. Leave it out of questions.oq3.models"
        )
    validation, test = divided(group, settings["validation_every"])
    if not validation or not test:
        return
    listed = arms(model, settings)
    answers = answered(model, test, listed, settings)
    yield from (arm_row(asked, arm, answers, model) for asked in test for arm in listed)
    pictures = look_at_all(model, [*validation, *test], layers_of(model, settings), settings["components"])
    fitted = [arm for arm in listed if is_fitted(arm)]
    masks = known_masks(fitted, answers) | masks_of(model, validation, fitted, settings)
    for dropping in droppings(fitted, answers, masks):
        yield from left(validation, test, dropping, pictures, settings)
    # nothing is fitted for it, and a backward pass is dear
    yield from concentration(model, [asked for (asked,) in one_of_each(validation, settings)], settings)


# ---- where tokens may go


def arms(model: Model, settings: Settings) -> list[Arm]:
    """Return for each dose every criterion at the tower's output, and layer and stages of the decoder at the same FLOPs where they can."""
    from himap.costs.formulas import flops
    from himap.experiments.questions._schedules import of_equal_cost, reference
    from himap.pruning.stage import Stage

    dims, goal = model.dims, reference(model).stages
    first, *_ = goal
    listed = [Arm(UNPRUNED), Arm(STAGES, "himap", AS_HIMAP, goal)]
    for dose in (AS_HIMAP, *settings["keep"]):
        # "random": costs do not depend on the criterion
        target = flops(dims, goal if dose == AS_HIMAP else [Stage(0, float(dose), "random")])
        # 0.5 is a placeholder that `of_equal_cost` replaces by the share that meets the target
        candidates = [Arm(TOWER, name, dose, (Stage(0, 0.5, name),)) for name in usable(model, settings["criteria"])]
        candidates.append(Arm(DECODER, first.criterion, dose, (Stage(settings["decoder"], 0.5, first.criterion),)))
        candidates += [Arm(STAGES, "himap", dose, goal)] if dose != AS_HIMAP else []
        for arm in candidates:
            stages = of_equal_cost(dims, arm.stages, target)
            listed += [Arm(arm.where, arm.criterion, dose, stages)] if stages else []
    return listed


def usable(model: Model, criteria: Sequence[str]) -> list[str]:
    """Return the criteria that this model has: not each has a view of its tower."""
    from himap.pruning.criteria import get

    return [name for name in criteria if model.view_tower is not None or not get(name).needs_tower]


def answered(
    model: Model, samples: Sequence[Asked], listed: Sequence[Arm], settings: Settings
) -> dict[str, dict[str, AnswerRow]]:
    """Return by sample each arm's answer."""
    from himap.experiments.answers import Asking
    from himap.experiments.batches import answer_each

    asking = Asking(
        [schedule_of(arm) for arm in listed],
        max_new_tokens=min(settings["new_tokens"], settings["max_new_tokens"]),
        seed=settings["seed"],
        question=lambda asked: asked.question,
    )
    answers: dict[str, dict[str, AnswerRow]] = {asked.sample.sample_id: {} for asked in samples}
    for schedule, answer in answer_each(model, samples, [asking]):
        answers[answer["sample_id"]][schedule.name] = answer
    return answers


def schedule_of(arm: Arm) -> Schedule:
    """Return an arm's schedule; tokens that are merged have no position to keep."""
    from himap.pruning.criteria import get
    from himap.pruning.stage import Schedule

    merges = any(get(stage.criterion).merges for stage in arm.stages)
    return Schedule(arm.stages, arm.name, positions="renumber" if merges else "keep")


def arm_row(asked: Asked, arm: Arm, answers: Mapping[str, Mapping[str, AnswerRow]], model: Model) -> Row:
    """Return what an arm cost and gave on one sample."""
    from himap.costs.formulas import keep_count, ratio

    known = answers[asked.sample.sample_id]
    answer, whole = known[arm.name], known[Arm(UNPRUNED).name]
    return {
        "part": "arm", **named(asked), "where": arm.where, "criterion": arm.criterion, "dose": arm.dose,
        "cost": ratio(model.dims, arm.stages, n_image=answer["image_tokens"]),
        "kept": keep_count(arm.stages[-1].keep, answer["image_tokens"]) if arm.stages else answer["image_tokens"],
        "score": asked.score(answer["prediction"]), "same": int(answer["prediction"] == whole["prediction"]),
        "answer": answer["prediction"],
    }  # fmt: skip


# ---- what kept tokens say of dropped ones


def is_fitted(arm: Arm) -> bool:
    """Return whether an arm's dropped tokens are looked at: HiMAP's, and those of tower criteria of its FLOPs that merge nothing."""
    from himap.pruning.criteria import get

    return arm.dose == AS_HIMAP and (arm.where == STAGES or (arm.where == TOWER and not get(arm.criterion).merges))


def known_masks(fitted: Sequence[Arm], answers: Mapping[str, Mapping[str, AnswerRow]]) -> dict[str, dict[str, Tensor]]:
    """Return by sample and arm which image tokens each stage left [stages, n], as the answers say."""
    import torch

    from himap.decoder.bitmaps import unpacked

    def mask(answer: AnswerRow) -> Tensor:
        return torch.from_numpy(unpacked(answer["kept"], answer["image_tokens"]))

    return {name: {arm.name: mask(known[arm.name]) for arm in fitted} for name, known in answers.items()}


def masks_of(
    model: Model, samples: Sequence[Asked], fitted: Sequence[Arm], settings: Settings
) -> dict[str, dict[str, Tensor]]:
    """Return the same of samples whose answers are not asked for, from runs that end with an arm's last stage."""
    import torch

    from himap.decoder.cache import Cache
    from himap.decoder.loop import forward
    from himap.experiments.answers import encode
    from himap.experiments.sharing import sample_seed
    from himap.pruning.intervention import Pruning

    masks: dict[str, dict[str, Tensor]] = {asked.sample.sample_id: {} for asked in samples}
    for some in batches(samples, BATCH):
        prompt = encode(model, [asked.question for asked in some])
        seeds = [sample_seed(settings["seed"], asked.sample.sample_id) for asked in some]
        for arm in fitted:
            pruning = Pruning(model, arm.stages, prompt, seeds)
            with torch.no_grad():
                # no further than the last stage, since only what it keeps is asked for
                forward(model, prompt, Cache(), [pruning], stop=arm.stages[-1].layer + 1)
            for b, asked in enumerate(some):
                left = torch.zeros(len(arm.stages), pruning.image_tokens[b], dtype=torch.bool)
                for number, stage in enumerate(arm.stages):
                    left[number, pruning.kept[stage.layer][b]] = True
                masks[asked.sample.sample_id][arm.name] = left
    return masks


def droppings(
    fitted: Sequence[Arm], answers: Mapping[str, Mapping[str, AnswerRow]], masks: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[Dropping]:
    """Yield each of HiMAP's stages, and every criterion at the tower's output at HiMAP's FLOPs."""
    import torch

    for arm in fitted:
        himap = arm.where == STAGES
        same = {
            name: int(known[arm.name]["prediction"] == known[Arm(UNPRUNED).name]["prediction"])
            for name, known in answers.items()
        }
        for number in range(len(arm.stages)):
            kept = {name: known[arm.name][number] for name, known in masks.items()}
            # a stage drops from what the stage before it left
            before = {
                name: known[arm.name][number - 1] if number else torch.ones_like(kept[name])
                for name, known in masks.items()
            }
            dropped = {name: before[name] & ~mask for name, mask in kept.items()}
            yield Dropping(f"stage {number}" if himap else arm.criterion, himap, same, kept, dropped)


def layers_of(model: Model, settings: Settings) -> dict[str, int]:
    """Return the places in the decoder at which features are taken: its input, then layers evenly over the depth."""
    depth, points = len(model.layers), settings["points"]
    layers = sorted({round(index * depth / points) for index in range(1, points)})
    return {"input": 0, **{f"layer {layer}": layer for layer in layers}}


# ---- concentration


def concentration(model: Model, samples: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield for each sample and place on how few tokens the loss depends, and whether they are those of the decoder's input."""
    from himap.experiments.answers import encode
    from himap.experiments.redundancy import effective_number, influence, top_share
    from himap.metrics.ranks import spearman

    # fewer samples at a time where pictures have thousands of tokens
    size = max(1, min(BATCH, GRADIENT_TOKENS // model.dims.tokens_per_image))
    for some in batches(samples, size):
        prompt = encode(model, [asked.question for asked in some])
        for asked, values in zip(some, influence(model, prompt, layers_of(model, settings)), strict=True):
            for place, products in values.items():
                yield {
                    "part": "gradient", **named(asked), "where": place, "tokens": len(products),
                    "effective": effective_number(products), "top": top_share(products),
                    "agreement": spearman(products.tolist(), values["input"].tolist()),
                }  # fmt: skip


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: about 0.4 for each arm, one for its features, three for the gradient of a few."""
    arms_of_dose = len(settings["criteria"]) + 1
    return 3 + 0.4 * arms_of_dose + 0.2 * arms_of_dose * len(settings["keep"]) + 1 / settings["validation_every"]


def criteria(settings: Settings) -> list[str]:
    """Return those at the tower's output, and HiMAP's own."""
    return [*settings["criteria"], "instruction_attention", "image_attention"]


QUESTION = OpenQuestion(
    title="Is the redundancy in the encoder or in the decoder?",
    about="Whether dropped tokens repeat what kept ones say: dropping at the tower's output, regression and probes, concentration.",
    measure=measure,
    prefills=prefills,
    groups=all_together,
    criteria=criteria,
    limit=108,
    settings={
        "criteria": ["fastervlm", "divprune", "embedding_norm", "random"],
        "keep": [0.5, 0.25, 0.125, 0.0625],
        "decoder": 2,
        "validation_every": 4,
        "new_tokens": 8,
        "points": 4,
        "neighbors": 4,
        "penalty": 0.1,
        "components": 128,
    },
)
