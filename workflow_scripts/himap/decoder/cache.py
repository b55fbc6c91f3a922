"""Keys and values of the tokens that a layer has seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from himap.decoder.tokens import PADDING, Rows

if TYPE_CHECKING:
    pass

STEP = 64  # tokens by which a cache grows while an answer gets longer


@dataclass
class LayerCache:
    """Keys and values that one layer holds, with room for the tokens to come."""

    keys: Tensor  # [B, Hkv, capacity, d]
    values: Tensor
    positions: Tensor  # [B, capacity]
    groups: Tensor
    length: int
    dense: bool

    def view(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is held: keys, values [B, Hkv, length, d], positions and groups [B, length]."""
        n = self.length
        return self.keys[:, :, :n], self.values[:, :, :n], self.positions[:, :n], self.groups[:, :n]

    def prefix(self, columns: int, times: int) -> LayerCache:
        """The first columns only, repeated `times` over in the batch; a later extension copies, so it can be shared."""
        keys, values, positions, groups = (
            part[:, :, :columns] if part.ndim == 4 else part[:, :columns] for part in self.view()
        )
        keys, values, positions, groups = (
            part.expand(times, *part.shape[1:]) for part in (keys, values, positions, groups)
        )
        return LayerCache(keys, values, positions, groups, columns, self.dense)


@dataclass
class Cache:
    """One LayerCache per layer; each holds exactly what its layer kept."""

    reserve: int = 0  # tokens that decoding will add
    layers: dict[int, LayerCache] = field(default_factory=dict)

    def extend(self, layer: int, keys: Tensor, values: Tensor, rows: Rows) -> LayerCache:
        """Append the rows' keys and values [B, Hkv, T, d] to what the layer holds."""
        held, new = self.layers.get(layer), keys.shape[2]
        begin = held.length if held else 0
        if held is None and self.reserve == 0:
            self.layers[layer] = LayerCache(keys, values, rows.positions, rows.groups, new, rows.dense)
            return self.layers[layer]
        if held is None or held.keys.shape[2] < begin + new:
            self.layers[layer] = held = self._grown(held, keys, rows, begin + new + self.reserve)
        held.keys[:, :, begin : begin + new] = keys
        held.values[:, :, begin : begin + new] = values
        held.positions[:, begin : begin + new] = rows.positions
        held.groups[:, begin : begin + new] = rows.groups
        held.length, held.dense = begin + new, held.dense and rows.dense
        return held

    def _grown(self, held: LayerCache | None, keys: Tensor, rows: Rows, capacity: int) -> LayerCache:
        """A larger buffer with what was held at its front."""
        batch, heads, _, width = keys.shape
        grown = LayerCache(
            keys.new_empty(batch, heads, capacity, width),
            keys.new_empty(batch, heads, capacity, width),
            rows.positions.new_full((batch, capacity), -1),
            rows.groups.new_full((batch, capacity), PADDING),
            0,
            True,
        )
        if held is not None:
            n = held.length
            grown.keys[:, :, :n], grown.values[:, :, :n], grown.positions[:, :n], grown.groups[:, :n] = held.view()
            grown.length, grown.dense = n, held.dense
        return grown
