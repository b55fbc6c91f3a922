"""True importance of image tokens, by leaving them out: what becomes of the answer's log-probability.

    before = entering(model, prompt, layer=3)
    clean = log_probability(model, before.rows, 3, target, everything)  # of the answer's first token
    fallen = clean - log_probability(model, before.rows, 3, target, everything & ~left_out)

A token that is left out at layer l is there below l and gone from l on, as a stage of pruning drops it. Nothing changes
below l, so every run begins at l with the clean run's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE
from himap.experiments.sharing import shared
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows
    from himap.models.model import Model

AT_ONCE = 48  # runs in one batch …
ROWS_AT_ONCE = 40_000  # … with at most so many rows in all, since pictures of some models have thousands of tokens


@dataclass(frozen=True)
class Entering:
    """What enters a layer of an unpruned run: the rows, the attention of the layer below, and the cache of all layers below."""

    rows: Rows
    below: LayerAttention | None
    cache: Cache


class _Look(Intervention):
    """Keeps what enters one layer."""

    def __init__(self, layer: int):
        self.layer = layer
        self.seen: list[tuple[Rows, LayerAttention | None]] = []

    def wants_attention(self, layer: int) -> bool:
        return layer == self.layer

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        if layer == self.layer:
            self.seen.append((rows, below))
        return None


@torch.no_grad()
def entering(model: Model, prompt: Rows, layer: int, reserve: int = 0) -> Entering:
    """Return what enters a layer of a prompt's unpruned run; runs that go on from there have room for `reserve` tokens."""
    look, cache = _Look(layer), Cache(reserve)
    # one layer further than asked for: a layer's input is seen when it is entered
    forward(model, prompt, cache, [look], stop=layer + 1)
    return Entering(*look.seen[0], shared(cache, layer))


def scores(model: Model, prompt: Rows, at: Entering, layer: int, criterion: str, seed: int, keep: int) -> Tensor:
    """Return a criterion's scores [N] of a single prompt's image tokens, as a stage at this layer would rank them."""
    pruning = Pruning(model, [Stage(layer, keep, criterion)], prompt, [seed])
    return pruning.scores(layer, at.rows, at.below)[0, at.rows.groups[0] == IMAGE].float()


@torch.no_grad()
def log_probability(model: Model, rows: Rows, layer: int, target: int, kept: Tensor) -> Tensor:
    """Return the log-probability [n] of a next token where only the image tokens `kept` [n, N] go on into a layer."""
    found = []
    for part in kept.split(max(1, min(AT_ONCE, ROWS_AT_ONCE // rows.groups.shape[1]))):
        # all text stays
        stay = (rows.groups != IMAGE).expand(len(part), -1).clone()  # [n, T]
        stay[:, rows.groups[0] == IMAGE] = part.to(stay.device)
        # the cache is thrown away: only the next token is asked for
        left = forward(model, rows.repeated(len(part)).select(stay), Cache(), start=layer)
        found.append(next_token_logits(model, left).log_softmax(dim=-1)[:, target])
    return torch.cat(found)


def next_token(model: Model, rows: Rows, layer: int) -> int:
    """Return the token that the unpruned run says next."""
    with torch.no_grad():
        return int(next_token_logits(model, forward(model, rows, Cache(), start=layer))[0].argmax())


def left_out(parts: Sequence[Sequence[int]], total: int) -> Tensor:
    """Return for each part of the image tokens which tokens stay if it is left out [parts, total]."""
    stay = torch.ones(len(parts), total, dtype=torch.bool)
    for number, part in enumerate(parts):
        stay[number, list(part)] = False
    return stay


def best(values: Tensor, count: int) -> Tensor:
    """Return a mask of the `count` highest values [N]; the earlier wins a tie."""
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[values.argsort(descending=True, stable=True)[:count]] = True
    return mask
