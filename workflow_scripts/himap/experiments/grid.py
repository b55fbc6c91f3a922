"""Answers over a grid of two-stage schedules, sharing all that schedules have in common.

The layers below the shallow stage are run once per batch, those between the stages once per shallow stage; only what
follows the deep stage, with its few image tokens, is run for every schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import STEP, Cache, LayerCache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.experiments.answers import Question, conclude, encode, sample_seed
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import two_stages
from himap.pruning.stage import check_stages

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model


class _Entering(Intervention):
    """Keeps the rows as they enter each layer, after any stage that stands before it in the list."""

    def __init__(self) -> None:
        self.rows: dict[int, Rows] = {}

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        self.rows[layer] = rows
        return None


def schedules(grid: dict[str, Any], layers: int) -> dict[tuple[int, float], list[tuple[int, float]]]:
    """The shallow stages (k1, r1) of a grid, each with its deep stages (k2, r2): later, and keeping no more."""
    found: dict[tuple[int, float], list[tuple[int, float]]] = {}
    for shallow, deep in two_stages(grid):
        check_stages(stages(grid, shallow, deep), layers)
        found.setdefault(shallow, []).append(deep)
    if not found:
        raise ValueError("the grid has no schedule whose deep stage comes after its shallow one and keeps no more")
    return found


def stages(grid: dict[str, Any], shallow: tuple[int, float], deep: tuple[int, float]) -> list[dict[str, Any]]:
    """One schedule of the grid as stages."""
    return [
        {"layer": layer, "keep": float(keep), "criterion": criterion}
        for (layer, keep), criterion in zip((shallow, deep), grid["criteria"], strict=True)
    ]


@torch.no_grad()
def answer_grid(
    model: Model,
    questions: Sequence[Question],
    grid: dict[str, Any],
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """For every schedule and question of a batch: {sample_id, k1, r1, k2, r2, prediction}."""
    prompt = encode(model, questions)
    seeds = [sample_seed(seed, question.sample_id) for question in questions]
    plan = schedules(grid, len(model.layers))
    clean, below = _Entering(), Cache()
    forward(model, prompt, below, [clean], stop=max(k1 for k1, _ in plan))
    for shallow, deep in plan.items():
        start = max(0, shallow[0] - 1)  # the stage needs the attention of the layer below it
        first = Pruning(model, stages(grid, shallow, deep[0])[:1], prompt, seeds)
        between, cache = _Entering(), _shared(below, start)
        rows = clean.rows.get(start, prompt)  # the whole grid may prune before the first layer
        forward(model, rows, cache, [first, between], start=start, stop=max(k2 for k2, _ in deep))
        for stage in deep:
            second = Pruning(model, stages(grid, shallow, stage)[1:], prompt, seeds)
            cache_after = _shared(cache, stage[0] - 1, reserve=min(max_new_tokens, STEP))
            rows = forward(model, between.rows[stage[0] - 1], cache_after, [second], start=stage[0] - 1)
            limits = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
            logits = next_token_logits(model, rows)
            answers = conclude(model, questions, prompt, cache_after, logits, second, **limits)
            for question, (text, _) in zip(questions, answers, strict=True):
                yield {
                    "sample_id": question.sample_id,
                    "k1": shallow[0],
                    "r1": shallow[1],
                    "k2": stage[0],
                    "r2": stage[1],
                    "prediction": text,
                }


def _shared(cache: Cache, layers: int, reserve: int = 0) -> Cache:
    """The cache of the layers below `layers`, to be read by several runs: who adds to a layer copies it first."""
    held = {index: _view(cache.layers[index]) for index in range(layers)}
    return Cache(reserve, held)


def _view(held: LayerCache) -> LayerCache:
    keys, values, positions, groups = held.view()
    return LayerCache(keys, values, positions, groups, held.length, held.dense)
