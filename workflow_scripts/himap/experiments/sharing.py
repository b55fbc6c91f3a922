"""Prefills of one batch under many schedules, each layer computed once for all schedules that agree up to it.

Two schedules have the same rows in a layer if their stages up to that layer are the same. So one of them is run to the
end, and where another parts from it, the rows that enter that layer are kept, with the attention of the layer below and
the cache so far; from there the others are run in the same way. A grid of schedules and the methods of a table are both
such sets. Where prompts of a batch are about the same picture, the layers that no stage precedes run once for what these
prompts begin with (`beginnings`).

    for track, prefill in prefills(model, prompt, tracks, ["a", "b"]): ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.experiments import beginnings
from himap.experiments.beginnings import Beginnings, Entering, Watch
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
        # by layer, for every layer at which a stage may act or look
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
    # without repetitions, in their order
    tracks = list(dict.fromkeys(tracks))
    common = beginnings.find(prompt)
    if common is None or all(track.stages and Track().parting(track) == 0 for track in tracks):
        yield from _run(model, prompt, tracks, sample_ids, _State(0, prompt, Cache(reserve), None, {}, {}, {}))
    else:
        yield from _run_after(common, model, prompt, tracks, sample_ids, Cache(reserve))


def _run_after(
    common: Beginnings, model: Model, prompt: Rows, tracks: Sequence[Track], sample_ids: Sequence[str], cache: Cache
) -> Iterator[tuple[Track, Prefill]]:
    """Run a track without stages to its end and keep what enters the layers where others begin to prune; then run the others."""
    partings: dict[int, list[Track]] = {}
    for track in tracks:
        if track.stages:
            partings.setdefault(Track().parting(track), []).append(track)
    plain = [track for track in tracks if not track.stages]
    stop = len(model.layers) if plain else max(partings) + 1  # a layer is entered before it is watched
    rows, entering = beginnings.run(model, prompt, common, cache, lambda: _watch(model, partings), stop)
    branches = [_State(layer, *_between(entering, layer, cache), {}, {}, {}) for layer in partings]
    for track in plain:
        pruning = Pruning(model, (), prompt, [sample_seed(track.seed, name) for name in sample_ids])
        yield track, Prefill(pruning, cache, next_token_logits(model, rows))
    for branch in branches:
        yield from _run(model, prompt, partings[branch.layer], sample_ids, branch)


def _run(
    model: Model, prompt: Rows, tracks: Sequence[Track], sample_ids: Sequence[str], state: _State
) -> Iterator[tuple[Track, Prefill]]:
    """Run the first of some tracks that agree so far to its end, then the others from where they part from it."""
    track, *others = tracks
    partings: dict[int, list[Track]] = {}
    for other in others:
        # by the first layer at which they differ from the track that runs now
        partings.setdefault(track.parting(other), []).append(other)
    seeds = [sample_seed(track.seed, name) for name in sample_ids]
    pruning = Pruning(model, track.stages, prompt, seeds, renumber=track.renumbers)
    # what earlier layers did in the run that this one branches off from
    pruning.kept, pruning.acted, pruning.shifts = dict(state.kept), dict(state.acted), dict(state.shifts)
    watch, cache = _watch(model, partings), state.cache
    rows = forward(model, state.rows, cache, [watch, pruning], start=state.layer, below=state.below, last_column=True)
    # taken before the prefill is handed out, since decoding adds tokens to its cache
    branches = [
        _State(
            layer,
            *_between(watch.entering, layer, cache),
            {stage: kept for stage, kept in pruning.kept.items() if stage < layer},
            {stage: acted for stage, acted in pruning.acted.items() if stage < layer},
            {stage: shift for stage, shift in pruning.shifts.items() if stage < layer},
        )
        for layer in partings
    ]
    yield track, Prefill(pruning, cache, next_token_logits(model, rows))
    for branch in branches:
        yield from _run(model, prompt, partings[branch.layer], sample_ids, branch)


def _watch(model: Model, partings: Mapping[int, Sequence[Track]]) -> Watch:
    """Return a watch of the layers at which tracks part, with the attention that their stages there rank by."""

    def wants(layer: int) -> bool:
        at = [layers_of(track.stages) for track in partings[layer]]
        # A cross-attention below the parting is the last that a later stage may have below it.
        later = [stage for stages in at for first, stage in stages.items() if first > layer and model.dims.cross]
        return any(map(looks_below, [*(stages.get(layer) for stages in at), *later]))

    return Watch(list(partings), wants)


def _between(entering: Entering, layer: int, cache: Cache) -> tuple[Rows, Cache, LayerAttention | None]:
    """Return rows, cache and attention as they are before a layer."""
    rows, below = entering[layer]
    return rows, shared(cache, layer), below


def shared(cache: Cache, layers: int) -> Cache:
    """Return a cache of the layers below `layers` that several runs may read."""
    return Cache(cache.reserve, {index: cache.layers[index].shared() for index in range(layers)})
