"""Prefills of one batch under many schedules, each layer computed once for all schedules that agree up to it.

Two schedules have the same rows in a layer if their stages up to that layer are the same. So one of them is run to the
end, and where another parts from it, the rows that enter that layer are kept, with the attention of the layer below and
the cache so far; from there the others are run in the same way. A grid of schedules and the methods of a table are both
such sets.

    for track, prefill in prefills(model, prompt, tracks, ["a", "b"]): ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache, LayerCache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.pruning.intervention import Pruning, layers_of, looks_below
from himap.pruning.stage import Stage

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model


@dataclass(frozen=True)
class Track:
    """The stages of a prefill, the seed of what they draw, and whether positions are counted again after each."""

    stages: tuple[Stage, ...] = ()
    seed: int = 0
    renumbers: bool = False

    def parting(self, other: Track) -> int:
        """Return the first layer whose rows may differ from those of another track."""
        # with another seed any stage may differ: which criteria draw is not known here
        same = (self.seed, self.renumbers) == (other.seed, other.renumbers)
        # where a stage looks for its layer too: it must see the signal from the first of those layers on
        ours, theirs = layers_of(self.stages), layers_of(other.stages)
        return min(layer for layer in ours | theirs if not same or ours.get(layer) != theirs.get(layer))


@dataclass
class Prefill:
    """A prefilled batch: what was pruned, keys and values, logits [B, vocabulary] of the next token."""

    pruning: Pruning
    cache: Cache
    logits: Tensor


@dataclass
class _State:
    """A run before a layer: the rows that enter it, the attention of the layer below, and what earlier stages did."""

    layer: int
    rows: Rows
    cache: Cache
    below: LayerAttention | None
    kept: dict[int, list[list[int]]]
    acted: dict[int, list[int]]
    shifts: dict[int, Tensor]


class _Watch(Intervention):
    """Keeps what enters the layers at which tracks part; it comes before the stages in the list of interventions."""

    def __init__(self, partings: dict[int, list[Track]]) -> None:
        self.partings = partings
        self.entering: dict[int, tuple[Rows, LayerAttention | None]] = {}

    def wants_attention(self, layer: int) -> bool:
        return any(looks_below(layers_of(track.stages).get(layer)) for track in self.partings.get(layer, []))

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        if layer in self.partings:
            self.entering[layer] = (rows, below)
        return None


def sample_seed(seed: int, sample_id: str) -> int:
    """Return the sample's own seed, so that what is drawn does not depend on batches or order."""
    # not hash(), which differs from process to process; 7 bytes fit a generator's signed 64 bits
    digest = hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


@torch.no_grad()
def prefills(
    model: Model, prompt: Rows, tracks: Sequence[Track], sample_ids: Sequence[str], reserve: int = 0
) -> Iterator[tuple[Track, Prefill]]:
    """Yield every track with its prefill, whose cache has room for `reserve` further tokens."""
    start = _State(0, prompt, Cache(reserve), None, {}, {}, {})
    yield from _run(model, prompt, list(dict.fromkeys(tracks)), sample_ids, start)


def _run(
    model: Model, prompt: Rows, tracks: Sequence[Track], sample_ids: Sequence[str], state: _State
) -> Iterator[tuple[Track, Prefill]]:
    """Run the first of some tracks that agree so far to its end, then the others from where they part from it."""
    track, *others = tracks
    partings: dict[int, list[Track]] = {}
    for other in others:
        partings.setdefault(track.parting(other), []).append(other)
    seeds = [sample_seed(track.seed, name) for name in sample_ids]
    pruning = Pruning(model, track.stages, prompt, seeds, renumber=track.renumbers)
    pruning.kept, pruning.acted, pruning.shifts = dict(state.kept), dict(state.acted), dict(state.shifts)
    watch, cache = _Watch(partings), state.cache
    rows = forward(model, state.rows, cache, [watch, pruning], start=state.layer, below=state.below)
    # taken before the prefill is handed out, since decoding adds tokens to its cache
    branches = [
        _State(
            layer,
            *_between(watch, layer, cache),
            {stage: kept for stage, kept in pruning.kept.items() if stage < layer},
            {stage: acted for stage, acted in pruning.acted.items() if stage < layer},
            {stage: shift for stage, shift in pruning.shifts.items() if stage < layer},
        )
        for layer in partings
    ]
    yield track, Prefill(pruning, cache, next_token_logits(model, rows))
    for branch in branches:
        yield from _run(model, prompt, partings[branch.layer], sample_ids, branch)


def _between(watch: _Watch, layer: int, cache: Cache) -> tuple[Rows, Cache, LayerAttention | None]:
    """Return rows, cache and attention as they are before a layer."""
    rows, below = watch.entering[layer]
    return rows, _shared(cache, layer), below


def _shared(cache: Cache, layers: int) -> Cache:
    """Return a cache of the layers below `layers` that several runs may read.

    Each layer is a view without spare room, so that a run which adds tokens to it has to copy it first.
    """
    return Cache(cache.reserve, {index: _view(cache.layers[index]) for index in range(layers)})


def _view(layer: LayerCache) -> LayerCache:
    keys, values, positions, groups = layer.view()
    return LayerCache(keys, values, positions, groups, layer.length, layer.dense)
