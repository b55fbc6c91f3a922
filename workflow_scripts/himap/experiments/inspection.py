"""One prompt looked at from all sides: where its instruction looks, what matters, what each method keeps, what each layer does.

    look = inspect(model, Question("notebook", [png], Prompt("How many circles?")), [resolve("himap", model.dims)])

The result is plain numbers and texts, so that a page can be made from it, or saved, without the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.layout import Layout
from himap.decoder.loop import forward
from himap.decoder.tokens import GROUPS, IMAGE, INSTRUCTION, Rows, join_rows, new_rows
from himap.experiments.answers import Question, encode
from himap.experiments.cut_runs import run_undisturbed, sweep
from himap.experiments.saliency import ATTENTION, DEFINITIONS, group_masks, layer_maps
from himap.experiments.sharing import sample_seed
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Schedule, Stage

if TYPE_CHECKING:
    from himap.models.model import Model

MAPS = (ATTENTION, *DEFINITIONS)
FLOWS = ("img2txt", "img2img", "random")  # that are cut
EXTENTS = ("single", "suffix")
LIKELIEST = 5  # first tokens listed per method
CUT_TOKENS = 8  # of the answer after a cut
Chance = tuple[str, float]  # a token's text and its probability


@dataclass(frozen=True)
class Layer:
    """One layer's maps from the instruction to the picture, and the flows between the groups of tokens."""

    maps: dict[str, np.ndarray]  # by kind of MAPS: [n], per image token the sum over the instruction's tokens
    flows: dict[str, np.ndarray]  # by kind: [3, 3] sums, group that receives × group that gives, in the order of GROUPS


@dataclass(frozen=True)
class MethodAnswer:
    """One method's answer, how sure the model was of it, and which image tokens each stage kept."""

    method: str
    text: str
    tokens: list[Chance]  # of the answer, each after those before it
    likeliest: list[Chance]  # first tokens
    stages: tuple[Stage, ...]
    kept: list[list[int]]  # per stage
    image_tokens: int
    layout: Layout  # where the image tokens lie

    @property
    def probability(self) -> float:
        """Return the probability of the whole answer, its end included if it has ended."""
        return prod(chance for _, chance in self.tokens)


@dataclass(frozen=True)
class CutAnswer:
    """What is left of the unpruned answer when one flow is cut from a layer on, or in that layer alone."""

    layer: int
    flow: str
    extent: str
    text: str
    probability: float  # of the unpruned answer's first token


@dataclass(frozen=True)
class Inspection:
    """Everything that `inspect` found out about one prompt."""

    model: str
    question: str
    sizes: dict[str, int]  # tokens per group
    layout: Layout  # where the image tokens lie
    target: str  # the unpruned answer's first token, to which saliency refers
    clean: str  # the unpruned answer as far as the cut runs' answers go
    probability: float  # of the target
    layers: list[Layer]
    answers: list[MethodAnswer]
    cuts: list[CutAnswer]


def inspect(
    model: Model, question: Question, schedules: Sequence[Schedule], *, max_new_tokens: int = 64, seed: int = 0
) -> Inspection:
    """Return what one prompt does in a model, and what each schedule makes of it."""
    if len(question.images) != 1:
        raise ValueError(f"{question.where} has {len(question.images)} pictures; one at a time can be inspected")
    prompt, drawn = encode(model, [question]), sample_seed(seed, question.sample_id)
    clean = run_undisturbed(model, prompt, min(CUT_TOKENS, max_new_tokens))
    target, chances = clean.ids[0], clean.logits[0].softmax(-1)
    outcomes = sweep(
        model, clean, range(len(model.layers)), FLOWS, EXTENTS, new_tokens=min(CUT_TOKENS, max_new_tokens), seed=drawn
    )
    return Inspection(
        model=model.name,
        question=question.prompt.text,
        sizes={name: int((prompt.joined().groups == group).sum()) for name, group in GROUPS.items()},
        layout=prompt.layouts[0][0],
        target=token_text(model, target),
        clean=model.detokenize(clean.ids),
        probability=float(chances[target]),
        layers=layers_of(model, prompt, target),
        answers=[ask(model, question, schedule, max_new_tokens, drawn) for schedule in schedules],
        cuts=[
            CutAnswer(cut.layer, cut.flow, cut.extent, model.detokenize(cut.ids), float(cut.logits.softmax(-1)[target]))
            for cut in outcomes
        ],
    )


def token_text(model: Model, token: int) -> str:
    """Return a token as text; the end of the answer, which has none, by name."""
    return "(end)" if token in model.end_ids else model.detokenize([token])


def told_apart(model: Model, tokens: Sequence[int]) -> list[str]:
    """Return tokens as texts; those that read alike, such as one with and one without a space before it, with their ids."""
    texts = [token_text(model, token) for token in tokens]
    return [
        f"{text} (id {token})" if texts.count(text) > 1 else text for text, token in zip(texts, tokens, strict=True)
    ]


def layers_of(model: Model, prompt: Rows, target: int) -> list[Layer]:
    """Return every layer's maps from instruction to picture and its flows, for one next token."""
    groups = group_masks(prompt)  # [3, T]
    asking, total = prompt.groups[0] == INSTRUCTION, int((prompt.joined().groups == IMAGE).sum())
    layers = [
        Layer(
            {name: as_numbers(to_image(maps[name][asking].sum(dim=0), keys, total)) for name in MAPS},
            {name: as_numbers(groups @ maps[name] @ group_masks(keys).T) for name in MAPS},
        )
        for keys, maps in layer_maps(model, prompt, target, MAPS)
    ]
    # the backward pass comes from the last layer
    return layers[::-1]


def to_image(sums: Tensor, keys: Rows, total: int) -> Tensor:
    """Return what goes to each of `total` image tokens of what goes to a layer's keys [K]; zero where they are none of them."""
    seen = keys.groups[0] == IMAGE
    return sums[seen] if bool(seen.any()) else sums.new_zeros(total)


def as_numbers(tensor: Tensor) -> np.ndarray:
    """Return a tensor as NumPy's array on the processor."""
    return tensor.detach().float().cpu().numpy()


@torch.no_grad()
def ask(model: Model, question: Question, schedule: Schedule, max_new_tokens: int, seed: int) -> MethodAnswer:
    """Return a schedule's answer with the probability of each of its tokens."""
    schedule.check(model.dims)
    prompt = encode(model, [question], schedule.image_grid)
    pruning = Pruning(model, schedule.stages, prompt, [seed], renumber=schedule.renumbers)
    done = generate(model, prompt, max_new_tokens, [pruning], rerank=schedule.rerank)
    chances = done.first_logits[0].softmax(-1).topk(LIKELIEST)
    ids = done.ids[0]
    return MethodAnswer(
        method=schedule.name,
        text=model.detokenize(ids),
        tokens=[
            (token_text(model, token), chance)
            for token, chance in zip(ids, token_chances(model, prompt, schedule, ids, seed), strict=True)
        ],
        likeliest=list(zip(told_apart(model, chances.indices.tolist()), chances.values.tolist(), strict=True)),
        stages=pruning.as_acted(0),
        kept=[kept[0] for _, kept in sorted(pruning.kept.items())],
        image_tokens=int((prompt.joined().groups == IMAGE).sum()),
        layout=prompt.layouts[0][0],
    )


def token_chances(model: Model, prompt: Rows, schedule: Schedule, ids: Sequence[int], seed: int) -> Iterator[float]:
    """Yield the probability of each token of an answer, as the schedule's own way of decoding sees it."""
    pruning = Pruning(model, schedule.stages, prompt, [seed], renumber=schedule.renumbers)
    cache = Cache(reserve=len(ids))
    text, newest = prompt, prompt
    for number, token in enumerate(ids):
        if schedule.rerank:  # no cache: tokens are ranked again with the answer so far
            logits = next_token_logits(model, forward(model, text, Cache(), [pruning]))
        else:
            logits = next_token_logits(model, forward(model, newest, cache, [pruning]))
        yield float(logits[0].softmax(-1)[token])
        embedded = model.embed_tokens(torch.tensor([[token]], device=model.device)).to(prompt.hidden.dtype)
        newest = new_rows(embedded, prompt.positions[:, -1:] + number + 1, prompt)
        text = join_rows(text, newest)
