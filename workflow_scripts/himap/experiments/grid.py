"""Answers over a grid of two-stage schedules, at a fraction of the cost of running each of them.

Schedules share prefixes of the forward pass. The layers below the shallow stage are run once per batch, those between
the stages once per shallow stage; only what follows the deep stage, with its few image tokens, is run for every schedule.

    for row in answer_grid(model, questions, Grid((2, 3), (0.5,), (8,), (0.25, 0.125)), max_new_tokens=16): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import STEP, Cache, LayerCache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.experiments.answers import Question, conclude, encode, sample_seed
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import Point, two_stages
from himap.pruning.stage import Schedule, Stage

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model
    from himap.models.sizes import Dims


@dataclass(frozen=True)
class Grid:
    """Every combination of a shallow stage (k1, r1) and a later, deep stage (k2, r2) that keeps no more."""

    k1: Sequence[int]  # layers
    r1: Sequence[float]  # shares of the original image tokens that stay
    k2: Sequence[int]
    r2: Sequence[float]
    criteria: Sequence[str] = ("instruction_attention", "image_attention")  # of the shallow and of the deep stage

    def schedules(self, dims: Dims) -> dict[Point, list[Point]]:
        """Return the deep stages of each shallow stage; raise ValueError for a stage that does not fit the model."""
        schedules: dict[Point, list[Point]] = {}
        for shallow, deep in two_stages(self.k1, self.r1, self.k2, self.r2):
            Schedule(self.stages(shallow, deep)).check(dims)
            schedules.setdefault(shallow, []).append(deep)
        if not schedules:
            raise ValueError("the grid has no schedule whose deep stage comes after its shallow one and keeps no more")
        return schedules

    def stages(self, shallow: Point, deep: Point) -> tuple[Stage, Stage]:
        """Return one schedule's stages; a share written as `1` is a share here, never a count of one token."""
        first, second = self.criteria
        return Stage(shallow[0], float(shallow[1]), first), Stage(deep[0], float(deep[1]), second)


class GridRow(TypedDict):
    """A line of a grid's result file."""

    sample_id: str
    k1: int
    r1: float
    k2: int
    r2: float
    prediction: str


class _Entering(Intervention):
    """Keeps the rows as they enter each layer, after any stage that comes before it in the list of interventions."""

    def __init__(self) -> None:
        self.rows: dict[int, Rows] = {}

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        self.rows[layer] = rows
        return None


@torch.no_grad()
def answer_grid(
    model: Model,
    questions: Sequence[Question],
    grid: Grid,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    seed: int = 0,
) -> Iterator[GridRow]:
    """Yield a row for every schedule of a grid and every question of a batch."""
    prompt = encode(model, questions)
    seeds = [sample_seed(seed, question.sample_id) for question in questions]
    schedules = grid.schedules(model.dims)
    clean, below = _Entering(), Cache()
    forward(model, prompt, below, [clean], stop=max(k1 for k1, _ in schedules))
    for shallow, deep in schedules.items():
        start = max(0, shallow[0] - 1)  # the stage needs the attention of the layer below it
        first = Pruning(model, grid.stages(shallow, deep[0])[:1], prompt, seeds)
        between, cache = _Entering(), _shared(below, start)
        rows = clean.rows.get(start, prompt)  # the whole grid may prune before the first layer
        forward(model, rows, cache, [first, between], start=start, stop=max(k2 for k2, _ in deep))
        for k2, r2 in deep:
            second = Pruning(model, grid.stages(shallow, (k2, r2))[1:], prompt, seeds)
            cache_after = _shared(cache, k2 - 1, reserve=min(max_new_tokens, STEP))
            rows = forward(model, between.rows[k2 - 1], cache_after, [second], start=k2 - 1)
            logits = next_token_logits(model, rows)  # [B, vocabulary]
            answers = conclude(
                model,
                questions,
                prompt,
                cache_after,
                logits,
                second,
                max_new_tokens=max_new_tokens,
                min_new_tokens=min_new_tokens,
            )
            for question, (text, _) in zip(questions, answers, strict=True):
                yield {
                    "sample_id": question.sample_id,
                    "k1": shallow[0],
                    "r1": shallow[1],
                    "k2": k2,
                    "r2": r2,
                    "prediction": text,
                }


def _shared(cache: Cache, layers: int, reserve: int = 0) -> Cache:
    """Return a cache of the layers below `layers` that several runs may read.

    Each layer is a view without spare room, so that a run which adds tokens to it has to copy it first.
    """
    return Cache(reserve, {index: _view(cache.layers[index]) for index in range(layers)})


def _view(layer: LayerCache) -> LayerCache:
    keys, values, positions, groups = layer.view()
    return LayerCache(keys, values, positions, groups, layer.length, layer.dense)
