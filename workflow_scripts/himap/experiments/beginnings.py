"""What prompts of a batch begin with in common, the system sentences and a picture, sent through the layers once for all of them.

No row sees a later one, so the rows of a common beginning are the same in every prompt until a stage drops some of them
by what the question asks. The rest of each prompt runs after the keys and values of its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, PADDING, Rows

if TYPE_CHECKING:
    from himap.models.model import Model

Entering = dict[int, tuple[Rows, LayerAttention | None]]  # by layer: the rows, and the attention of the layer below


class Watch(Intervention):
    """Keeps what enters some layers; it comes before the stages in the list of interventions."""

    def __init__(self, layers: Sequence[int], wants: Callable[[int], bool]) -> None:
        self.layers, self.wants = layers, wants
        self.entering: Entering = {}

    def wants_attention(self, layer: int) -> bool:
        return layer in self.layers and self.wants(layer)

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        if layer in self.layers:
            self.entering[layer] = (rows, below)
        return None


@dataclass(frozen=True)
class Beginnings:
    """The distinct beginnings of a batch's prompts, all of one length."""

    length: int  # tokens of each
    firsts: list[int]  # a sample that has it, for each beginning
    of: list[int]  # the beginning of each sample


def find(prompt: Rows) -> Beginnings | None:
    """Return the beginnings of a batch's prompts; None if no two prompts share one that holds all image tokens."""
    is_image, size = prompt.groups == IMAGE, prompt.groups.shape[1]
    # A picture beside the rows is no part of any beginning.
    if prompt.memory is not None or not bool(is_image.any(dim=1).all()):
        return None
    starts = (prompt.groups == PADDING).sum(dim=1)
    lengths = size - is_image.flip(1).int().argmax(dim=1) - starts  # up to the last image token
    length = int(lengths[0])
    # what the last token sees decides the answer, so at least that one is no part of a beginning
    if bool((lengths != length).any()) or int(starts.max()) + length >= size:
        return None
    begins = starts.tolist()
    firsts: list[int] = []
    of: list[int] = []
    for b in range(len(begins)):
        alike = (n for n, first in enumerate(firsts) if _begin_alike(prompt, (first, b), begins, length))
        of.append(next(alike, len(firsts)))
        if of[b] == len(firsts):
            firsts.append(b)
    return Beginnings(length, firsts, of) if len(firsts) < len(begins) else None


def _begin_alike(prompt: Rows, pair: tuple[int, int], begins: Sequence[int], length: int) -> bool:
    """Return whether the first tokens of two samples are the same in all that a layer knows of them."""
    a, b = pair
    for part in (prompt.hidden, prompt.groups, prompt.rotary):
        if part is not None:
            first, second = (part[n, begins[n] : begins[n] + length] for n in pair)
            if not torch.equal(first, second):
                return False
    return prompt.deep is None or torch.equal(prompt.deep[a], prompt.deep[b])


def run(
    model: Model, prompt: Rows, beginnings: Beginnings, cache: Cache, watch: Callable[[], Watch], stop: int
) -> tuple[Rows, Entering]:
    """Send a batch of prompts through the layers below `stop`, each beginning once, and fill the cache of the batch.

    Return the last column of the rows that come after the beginnings, and what enters the watched layers as if nothing had been shared.
    """
    before, early, late = Cache(), watch(), watch()
    # one sample for each beginning
    first = prompt.of(beginnings.firsts)
    forward(model, first.select(_places(first) <= beginnings.length), before, [early], stop=stop, last_column=True)
    # Padded on the left again: questions of unequal length must end in the same column.
    rest = prompt.select(_places(prompt) > beginnings.length)
    width = rest.groups.shape[1]
    for layer, entry in before.layers.items():
        # each sample gets a copy, since its question's keys are written behind it
        cache.layers[layer] = entry.spread(beginnings.of, width + cache.reserve)
    rest = forward(model, rest, cache, [late], stop=stop, last_column=True)
    columns = _columns(prompt, beginnings.length, width)

    def joined(begun: Tensor, after: Tensor, dim: int) -> Tensor:
        """Return what belongs to the beginnings and to the rest in the columns of the whole prompts."""
        # [B, length + width, …]: beginnings first, then the padded rest
        both = torch.cat([begun[beginnings.of], after], dim=dim)
        # the columns' shape [B, T], spread over heads and widths
        shape = [-1 if axis in (0, dim) else 1 for axis in range(both.ndim)]
        return both.take_along_dim(columns.reshape(columns.shape[0], *shape[1:]), dim=dim)

    entering: Entering = {}
    for layer, (rows, below) in late.entering.items():
        begun, begun_below = early.entering[layer]
        attention = None
        if below is not None and begun_below is not None:
            queries, keys = (
                joined(getattr(begun_below, name), getattr(below, name), dim=2) for name in ("queries", "keys")
            )
            attention = replace(below, queries=queries, keys=keys, rows=prompt)
        entering[layer] = (prompt.with_hidden(joined(begun.hidden, rows.hidden, dim=1)), attention)
    return rest, entering


def _places(rows: Rows) -> Tensor:
    """Return the place of each token [B, T] in its own prompt, from 1."""
    return (rows.groups != PADDING).cumsum(dim=1)


def _columns(prompt: Rows, length: int, width: int) -> Tensor:
    """Return for the columns [B, T] of whole prompts those of a beginning, then of the left-padded rest [B, length + width]."""
    size = prompt.groups.shape[1]
    place = _places(prompt) - 1  # -1 in padding
    column = torch.arange(size, device=place.device)
    # in the rest, columns count from the right, where all prompts end together
    return torch.where(place < length, place.clamp(min=0), column - size + length + width)
