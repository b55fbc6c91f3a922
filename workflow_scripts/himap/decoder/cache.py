"""Keys and values of the tokens that each layer has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from himap.decoder.tokens import PADDING, Rows

STEP = 64  # tokens by which a cache grows while an answer gets longer, so that not every token copies it


@dataclass
class LayerCache:
    """Keys and values of one layer, with free capacity for the tokens to come."""

    keys: Tensor  # [B, Hkv, capacity, d]
    values: Tensor  # [B, Hkv, capacity, d]
    positions: Tensor  # [B, capacity]
    groups: Tensor  # [B, capacity]
    length: int  # how many of the columns are in use
    dense: bool  # no padding in them
    until: Tensor | None = None  # [B, length] of picture tokens from a second source, which decoding does not extend

    def view(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the columns in use: keys, values [B, Hkv, length, d], positions and groups [B, length]."""
        n = self.length
        return self.keys[:, :, :n], self.values[:, :, :n], self.positions[:, :n], self.groups[:, :n]

    def of(self, samples: Sequence[int]) -> LayerCache:
        """Return a copy with only some of the batch's samples."""
        places = list(samples)
        keys, values, positions, groups = (
            part[places] for part in (self.keys, self.values, self.positions, self.groups)
        )
        until = None if self.until is None else self.until[places]
        return LayerCache(keys, values, positions, groups, self.length, self.dense, until)

    def spread(self, samples: Sequence[int], room: int) -> LayerCache:
        """Return a copy in which sample b is what sample `samples[b]` is here, with room for so many further columns."""
        n, places = self.length, list(samples)
        shape = (len(places), self.keys.shape[1], n + room, self.keys.shape[3])
        keys, values = self.keys.new_empty(shape), self.values.new_empty(shape)
        for b, place in enumerate(places):  # one copy each; indexing would make a second one
            keys[b, :, :n], values[b, :, :n] = self.keys[place, :, :n], self.values[place, :, :n]
        positions = self.positions.new_full((len(places), n + room), -1)
        groups = self.groups.new_full((len(places), n + room), PADDING)
        positions[:, :n], groups[:, :n] = self.positions[places, :n], self.groups[places, :n]
        return LayerCache(keys, values, positions, groups, n, self.dense)

    def beside(self, other: LayerCache) -> LayerCache:
        """Return a copy in which another batch, of the same columns, follows this one."""
        keys, values, positions, groups = (torch.cat(parts) for parts in zip(self.view(), other.view(), strict=True))
        until = None if self.until is None or other.until is None else torch.cat([self.until, other.until])
        return LayerCache(keys, values, positions, groups, self.length, self.dense and other.dense, until)

    def shared(self) -> LayerCache:
        """Return a view without spare room, so that a run which adds tokens to it has to copy it first."""
        keys, values, positions, groups = self.view()
        return replace(self, keys=keys, values=values, positions=positions, groups=groups)

    def prefix(self, columns: int, times: int) -> LayerCache:
        """Return the first columns only, or all keys of a second source, repeated `times` over in the batch."""
        # Nothing is copied: with capacity equal to length, the next extension moves to a buffer of its own, so that
        # many runs can share one prefix.
        columns = columns if self.until is None else self.length
        keys, values, positions, groups = (
            part[:, :, :columns] if part.ndim == 4 else part[:, :columns] for part in self.view()
        )
        keys, values, positions, groups = (
            part.expand(times, *part.shape[1:]) for part in (keys, values, positions, groups)
        )
        until = None if self.until is None else self.until.expand(times, -1)
        return LayerCache(keys, values, positions, groups, columns, self.dense, until)


@dataclass
class Cache:
    """One LayerCache per layer; after pruning the layers have different lengths, since each holds only what it saw."""

    reserve: int = 0  # tokens that decoding will add; 0 keeps the prefill's own tensors and copies nothing
    layers: dict[int, LayerCache] = field(default_factory=dict)

    def extend(self, layer: int, keys: Tensor, values: Tensor, rows: Rows) -> LayerCache:
        """Append the rows' keys and values [B, Hkv, T, d] to the layer's cache, and return that cache."""
        entry, new = self.layers.get(layer), keys.shape[2]
        begin = entry.length if entry else 0
        if entry is None and self.reserve == 0:
            self.layers[layer] = LayerCache(keys, values, rows.positions, rows.groups, new, rows.dense)
            return self.layers[layer]
        if entry is None or entry.keys.shape[2] < begin + new:
            self.layers[layer] = entry = self._grow(entry, keys, rows, begin + new + self.reserve)
        entry.keys[:, :, begin : begin + new] = keys
        entry.values[:, :, begin : begin + new] = values
        entry.positions[:, begin : begin + new] = rows.positions
        entry.groups[:, begin : begin + new] = rows.groups
        entry.length, entry.dense = begin + new, entry.dense and rows.dense
        return entry

    def hold(self, layer: int, keys: Tensor, values: Tensor, pictures: Rows) -> LayerCache:
        """Keep keys and values [B, Hkv, M, d] of picture tokens, which all later rows look at, and return that cache."""
        self.layers[layer] = LayerCache(
            keys, values, pictures.positions, pictures.groups, keys.shape[2], pictures.dense, pictures.until
        )
        return self.layers[layer]

    def of(self, samples: Sequence[int]) -> Cache:
        """Return a copy with only some of the batch's samples."""
        return Cache(self.reserve, {index: layer.of(samples) for index, layer in self.layers.items()})

    def _grow(self, entry: LayerCache | None, keys: Tensor, rows: Rows, capacity: int) -> LayerCache:
        """Return a larger buffer that begins with the layer's present columns."""
        batch, heads, _, width = keys.shape
        larger = LayerCache(
            keys.new_empty(batch, heads, capacity, width),
            keys.new_empty(batch, heads, capacity, width),
            rows.positions.new_full((batch, capacity), -1),
            rows.groups.new_full((batch, capacity), PADDING),
            0,
            True,
        )
        if entry is not None:
            n = entry.length
            larger.keys[:, :, :n], larger.values[:, :, :n], larger.positions[:, :n], larger.groups[:, :n] = entry.view()
            larger.length, larger.dense = n, entry.dense
        return larger
