"""Does phased processing hold where image tokens are not in the sequence? When the picture reaches the text, over relative depth,
and whether one model's schedule serves another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._samples import group_of, named

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.experiments.cut_runs import Undisturbed
    from himap.experiments.disruption import Cut
    from himap.models.model import Model
    from himap.pruning.stage import Stage

FLOW, RANDOM, SPARED, HIMAP = "img2alltxt", "random", "spared", "himap"
SINGLE, SUFFIX, PREFIX = "single", "suffix", "prefix"


def by_question(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return together the samples that ask the same about different pictures."""
    groups: dict[str, list[Asked]] = {}
    for asked in samples:
        groups.setdefault(group_of(asked), []).append(asked)
    return list(groups.values())


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield what cuts leave of an answer, and the saliency of each layer, for the first picture that the model answers right.

    Only one picture of a question is measured, so that no question counts twice, and none where no answer counts.
    """
    from himap.experiments.answers import encode
    from himap.experiments.cut_runs import run_undisturbed

    for asked in group:
        prompt = encode(model, [asked.question])
        clean = run_undisturbed(model, prompt, settings["max_new_tokens"], asked.question.prompt.choices)
        if not settings["only_correct"] or asked.score(model.detokenize(clean.ids)) >= 0.5:
            # `beside`: whether text looks at the picture by cross-attention
            common = {**named(asked), "layers": len(model.layers), "beside": int(bool(model.dims.cross))}
            yield from ({**common, **row} for row in under_cuts(model, asked, clean, settings))
            yield from ({**common, **row} for row in salient(model, clean))
            yield from ({**common, **row} for row in under_schedules(model, asked, clean, settings))
            return


# ---- what cuts leave


def boundaries(settings: Settings, layers: int) -> list[int]:
    """Return the layers at which the depth is divided into an upper and a lower part; the middle is always one of them."""
    points = settings["points"]
    # as a set: in a shallow model rounded boundaries may coincide
    return sorted({round(index * layers / points) for index in range(points)} | {middle(layers)})


def middle(layers: int) -> int:
    """Return the first layer of the second half."""
    return (layers + 1) // 2


def looking(model: Model, settings: Settings) -> list[int]:
    """Return the layers at which single cuts are made: of those that look at the picture as many as there are boundaries."""
    layers = list(model.dims.cross or range(len(model.layers)))
    points = min(settings["points"], len(layers))
    # evenly over those layers, whose distances may be uneven in a model with cross-attention
    return [layers[index * len(layers) // points] for index in range(points)]


def under_cuts(model: Model, asked: Asked, clean: Undisturbed, settings: Settings) -> Iterator[Row]:
    """Yield how the answer ends under every cut: whether it stays, and how much of the likeliest tokens."""
    from himap.experiments.cut_runs import run_cuts, top5_overlap

    length = settings["new_tokens"]
    listed = list(planned(model, asked, clean.prompt, settings))
    for number, logits, ids in run_cuts(
        model, clean, [cut for *_, cut in listed], block=settings["block"], new_tokens=length, seed=settings["seed"]
    ):
        flow, extent, layer, _ = listed[number]
        yield {
            "part": "cut", "flow": flow, "extent": extent, "layer": layer, "same": int(ids[:length] == clean.ids[:length]),
            "overlap": top5_overlap(logits, clean.logits[0]), "answer": model.detokenize(ids),
        }  # fmt: skip


def planned(model: Model, asked: Asked, prompt: Rows, settings: Settings) -> Iterator[tuple[str, str, int, Cut]]:
    """Yield each cut with its flow, extent and layer: the flow at every boundary, its controls above and below the middle.

    A cut of all layers is listed as a suffix from the first one on; it is a prefix too.
    """
    from himap.experiments.disruption import Cut

    layers = len(model.layers)
    about = tuple(asked.tokens_about(prompt.layouts[0]))
    for flow, spared, places in (
        (FLOW, (), boundaries(settings, layers)),
        (SPARED, about, [0, middle(layers)] if about else []),
        (RANDOM, (), [middle(layers)] if has_other_rows(prompt) else []),
    ):
        # the same flow, but for the image tokens that the question is about
        kind = FLOW if flow == SPARED else flow
        for layer in places:
            yield flow, SUFFIX, layer, Cut(kind, layer, layers - 1, spared)
            if layer:
                yield flow, PREFIX, layer, Cut(kind, 0, layer - 1, spared)
    yield from ((FLOW, SINGLE, layer, Cut(FLOW, layer, layer)) for layer in looking(model, settings))


def has_other_rows(prompt: Rows) -> bool:
    """Return whether other rows than the instruction's see the picture, among which as many pairs can be drawn at random."""
    return prompt.memory is None


# ---- saliency


def salient(model: Model, clean: Undisturbed) -> Iterator[Row]:
    """Yield for each layer how much the answer depends on what the instruction, and the picture itself, see of the picture."""
    from himap.experiments.saliency import saliency_of_run

    sums = saliency_of_run(model, clean, ("paper",))
    flows = {"s_vt": ("instruction", "image")} | ({} if model.dims.cross else {"s_vv": ("image", "image")})
    for name, (query, key) in flows.items():
        values = sums.block("paper", query, key)
        # of the whole depth, so that models of other sizes can be compared
        shares = values / values.sum() if float(values.sum()) else values
        for layer, share in enumerate(shares.tolist()):
            if not model.dims.cross or layer in model.dims.cross:
                yield {"part": "saliency", "flow": name, "layer": layer, "share": share, "sum": float(values[layer])}


# ---- transfer of K and R


def under_schedules(model: Model, asked: Asked, clean: Undisturbed, settings: Settings) -> Iterator[Row]:
    """Yield whether the answer stays under HiMAP's stages at places of other models, by relative depth, and under random ones there."""
    from himap.costs.formulas import ratio
    from himap.experiments.answers import Asking, answer_prompt
    from himap.pruning.stage import Schedule

    carried = [
        (flow, places, stages_at(model, places, criterion))
        for places in settings["transfer"]
        for flow, criterion in ((HIMAP, ""), (RANDOM, "random"))
    ]
    # A model of three layers has no room for two stages at a quarter of its depth.
    carried = [each for each in carried if each[-1][-1].layer < len(model.layers)]
    schedules = [Schedule(stages, f"{flow} {places}") for flow, places, stages in carried]
    asking = Asking(schedules, settings["max_new_tokens"], seed=settings["seed"])
    pruned = answer_prompt(model, [asked.question], clean.prompt, schedules, asking)
    answers = {schedule.name: row["prediction"] for schedule, (row,) in pruned}
    whole = model.detokenize(clean.ids)
    for (flow, places, stages), schedule in zip(carried, schedules, strict=True):
        yield {
            "part": "pruned", "flow": flow, "extent": " ".join(map(fraction, places)), "layer": stages[0].layer,
            "same": int(answers[schedule.name] == whole), "cost": ratio(model.dims, stages), "answer": answers[schedule.name],
        }  # fmt: skip


def fraction(place: float) -> str:
    """Return a share of the depth as a person writes it: 1/16, 2/3."""
    return str(Fraction(place).limit_denominator(100))


def stages_at(model: Model, places: Sequence[float], criterion: str = "") -> tuple[Stage, ...]:
    """Return HiMAP's stages at other places, given as shares of the depth; where a criterion is named, both rank by it."""
    from himap.experiments.questions._schedules import reference

    layers = len(model.layers)
    moved: list[Stage] = []
    # A stage ranks by attention in the layer below it, which must be one that looks at the picture.
    lowest = model.dims.cross[0] + 1 if model.dims.cross else 1
    first, *_ = stages = reference(model).stages
    for stage, place in zip(stages, places, strict=True):
        layer = max(lowest, round(place * layers))
        # Image tokens beside the sequence attend to nothing, so text ranks them at the second stage too.
        own = first.criterion if model.dims.cross else stage.criterion
        moved.append(replace(stage, layer=layer, criterion=criterion or own))
        lowest = layer + 1  # in a model of few layers two places may be one
    return tuple(moved)


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample, if each is measured: a clean run, cuts of text rows alone that cost little, two random
    controls of half and of the whole depth, a backward pass with the maps of all layers, and two schedules for each transfer."""
    return 1 + 0.15 * 2 * settings["points"] + 1.5 + 4 + 0.5 * 2 * len(settings["transfer"])


def criteria(settings: Settings) -> list[str]:
    """Return those of the schedules that are carried over."""
    return ["instruction_attention", "image_attention", "random"]


QUESTION = OpenQuestion(
    title="Phased processing across architectures",
    about="When the picture reaches the text, over relative depth, whether image tokens are in the sequence or beside it.",
    measure=measure,
    prefills=prefills,
    groups=by_question,
    criteria=criteria,
    limit=120,
    settings={
        "points": 6,
        "new_tokens": 1,
        "only_correct": True,
        "block": "pre",
        # Where HiMAP's two stages act, as shares of the depth: K1 = 2 and K2 = 8 of 32 as in the paper, 3 and 8 of 12 as in the
        # embedded model, whose own layers were chosen on a validation split.
        "transfer": [[1 / 16, 1 / 4], [1 / 4, 2 / 3]],
    },
)
