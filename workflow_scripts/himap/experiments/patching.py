"""Blocking whole paths without touching attention: rows that take their hidden states from another run, or leave, at a layer.

    clean, donor = (run_undisturbed(model, prompt, new_tokens=8) for prompt in (prompt, other))
    patched = resume(model, clean, Patch(3, donor.entering[3], INSTRUCTION), new_tokens=8)

* *Patching*: the instruction rows (or the image rows) enter layer l as in a run on another picture. An answer that follows
  the other picture was carried by these rows.
* *Late arrival*: the instruction rows enter layer l as in a run of the text alone, so they meet the picture from l on.
* *Early departure*: the image rows leave before layer l.

Nothing changes below l, nor in front of the first row that takes another state or leaves, so each run starts there from the
clean run's rows and keys (`resume`), which gives what the whole prompt under the same intervention would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.cross import CrossLayer
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.experiments.concluding import likeliest
from himap.experiments.cut_runs import Undisturbed, run_undisturbed
from himap.experiments.disruption import first_that_sees

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.models.model import Model


class Change(Intervention):
    """What happens to the rows of one group when they enter one layer."""

    layer: int
    group: int


class Patch(Change):
    """Lets the rows of one group enter one layer with the hidden states that another run had there."""

    def __init__(self, layer: int, donor: Rows, group: int):
        self.layer, self.donor, self.group = layer, donor, group

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows with the donor's hidden states in the group's places. Raise ValueError if they are not as many."""
        if layer != self.layer:
            return rows
        if self.group == IMAGE and rows.memory is not None:  # the picture is beside the rows
            return replace(
                rows, memory=Patch(layer, self.donor.memory or self.donor, IMAGE).enter(layer, rows.memory, below)
            )
        # A resumed run has only the last rows of the prompt, and the donor all: groups are matched, not columns.
        places, taken = rows.groups == self.group, self.donor.groups == self.group
        if int(places.sum()) != int(taken.sum()):
            raise ValueError(
                f"layer {layer}: {int(places.sum())} rows cannot take the hidden states of {int(taken.sum())}; "
                "both runs need prompts and pictures of one length"
            )
        hidden = rows.hidden.clone()
        hidden[places] = self.donor.hidden[taken]
        # what a model adds to image rows after later layers belongs to their picture too
        return replace(rows, hidden=hidden, deep=self.donor.deep if self.group == IMAGE else rows.deep)


class Departure(Change):
    """Lets all image rows leave before one layer."""

    group = IMAGE

    def __init__(self, layer: int):
        self.layer = layer

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows that go on into the layer: all but those of the picture, where they leave."""
        return rows.without_images() if layer == self.layer else rows


@dataclass(frozen=True)
class Ending:
    """How a run ended: the logits [vocabulary] of its first answer token, and the answer's ids."""

    logits: Tensor
    ids: list[int]


@torch.no_grad()
def resume(model: Model, clean: Undisturbed, change: Change, new_tokens: int, under: Cache | None = None) -> Ending:
    """Run a clean run's rows again from the layer and the row on that a change concerns.

    `under` is the cache of the layers below for generated tokens to look at, if not the clean run's.
    """
    layer, is_image = change.layer, change.group == IMAGE
    column = _first_changed(model, clean.prompt, change)
    # prefixes are views, so that generated tokens go to a cache of their own
    below, cache = (under or clean.cache).layers, Cache(new_tokens)
    cache.layers = {index: below[index].prefix(below[index].length, 1) for index in range(layer)}
    for index in range(layer, len(model.layers)):
        # The cached picture keys are of the clean run's picture. Another picture needs its own, so do not reuse them.
        if not (is_image and isinstance(model.layers[index], CrossLayer)):
            cache.layers[index] = clean.cache.layers[index].prefix(column, 1)
    rows = forward(model, clean.entering[layer].after(column), cache, [change], start=layer)
    logits = next_token_logits(model, rows)
    if clean.choices:
        return Ending(logits[0], model.answer_ids(likeliest(model, rows, cache, logits, clean.choices, 0)))
    if new_tokens == 1:  # nothing follows, so nothing is computed
        return Ending(logits[0], [int(logits[0].argmax())])
    return Ending(logits[0], continue_greedily(model, rows, cache, logits, new_tokens).ids[0])


def _first_changed(model: Model, prompt: Rows, change: Change) -> int:
    """Return the first row of a prompt whose state a change can reach."""
    if change.group != IMAGE:
        return int((prompt.groups[0] == change.group).nonzero()[0])
    # Rows before a picture do not see it, except in models whose cross-attention shows it to them too.
    if any(isinstance(layer, CrossLayer) and layer.blind_see_all for layer in model.layers):
        return 0
    return first_that_sees(prompt, 0)


def text_alone(model: Model, prompt: Rows, new_tokens: int, choices: Sequence[str] = ()) -> Undisturbed:
    """Return the run of a prompt whose picture was never there; its text keeps its positions."""
    return run_undisturbed(model, prompt.without_images(), new_tokens, choices)


def arrive_late(model: Model, clean: Undisturbed, text: Undisturbed, layer: int, new_tokens: int) -> Ending:
    """Return how a run ends whose instruction meets the picture from a layer on; `text` is the run without it."""
    return resume(model, clean, Patch(layer, text.entering[layer], INSTRUCTION), new_tokens, under=text.cache)


def leave_early(model: Model, clean: Undisturbed, layer: int, new_tokens: int) -> Ending:
    """Return how a run ends whose image tokens leave before a layer."""
    return resume(model, clean, Departure(layer), new_tokens)
