"""Blocking whole paths without touching attention: rows that take their hidden states from another run, or leave, at a layer.

    clean, donor = (run_undisturbed(model, prompt, new_tokens=8) for prompt in (prompt, other))
    patched = resume(model, clean, 3, Patch(3, donor.entering[3], INSTRUCTION), new_tokens=8)

* *Patching*: the instruction rows (or the image rows) enter layer l as in a run on another picture. An answer that follows
  the other picture was carried by these rows.
* *Late arrival*: the instruction rows enter layer l as in a run of the text alone, so they meet the picture from l on.
* *Early departure*: the image rows leave before layer l.

Nothing changes below l, so each run starts at l from the clean run's rows (`resume`), which gives what the whole prompt
under the same intervention would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.experiments.answers import likeliest
from himap.experiments.disruption import Undisturbed, run_undisturbed

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.models.model import Model


class Patch(Intervention):
    """Lets the rows of one group enter one layer with the hidden states that another run had there."""

    def __init__(self, layer: int, donor: Rows, group: int):
        self.layer, self.donor, self.group = layer, donor, group

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows with the donor's hidden states in the group's places. Raise ValueError if they are not as many."""
        if layer != self.layer:
            return rows
        places, taken = rows.groups == self.group, self.donor.groups == self.group
        if int(places.sum()) != int(taken.sum()):
            raise ValueError(
                f"layer {layer}: {int(places.sum())} rows cannot take the hidden states of {int(taken.sum())}; "
                "both runs need prompts and pictures of one length"
            )
        hidden = rows.hidden.clone()
        hidden[places] = self.donor.hidden[taken]
        return rows.with_hidden(hidden)


class Departure(Intervention):
    """Lets all image rows leave before one layer."""

    def __init__(self, layer: int):
        self.layer = layer

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        """Return which rows go on into the layer: all but those of the picture, where they leave."""
        return rows.groups != IMAGE if layer == self.layer else None


@dataclass(frozen=True)
class Ending:
    """How a run ended: the logits [vocabulary] of its first answer token, and the answer's ids."""

    logits: Tensor
    ids: list[int]


def ending_of(run: Undisturbed) -> Ending:
    """Return how a clean run ended."""
    return Ending(run.logits[0], run.ids)


@torch.no_grad()
def resume(
    model: Model,
    clean: Undisturbed,
    layer: int,
    intervention: Intervention,
    new_tokens: int,
    under: Cache | None = None,
) -> Ending:
    """Run a clean run's rows again from a layer on, under an intervention at that layer.

    `under` is the cache of the layers below for generated tokens to look at, if not the clean run's.
    """
    cache = Cache(new_tokens)
    for index in range(layer):
        kept = (under or clean.cache).layers[index]
        cache.layers[index] = kept.prefix(kept.length, 1)
    rows = forward(model, clean.entering[layer], cache, [intervention], start=layer)
    logits = next_token_logits(model, rows)
    if clean.choices:
        return Ending(logits[0], model.answer_ids(likeliest(model, rows, cache, logits, clean.choices, 0)))
    if new_tokens == 1:  # nothing follows, so nothing is computed
        return Ending(logits[0], [int(logits[0].argmax())])
    return Ending(logits[0], continue_greedily(model, rows, cache, logits, new_tokens).ids[0])


def text_alone(model: Model, prompt: Rows, new_tokens: int, choices: Sequence[str] = ()) -> Undisturbed:
    """Return the run of a prompt whose picture was never there; its text keeps its positions."""
    return run_undisturbed(model, prompt.select(prompt.groups != IMAGE), new_tokens, choices)


def arrive_late(model: Model, clean: Undisturbed, text: Undisturbed, layer: int, new_tokens: int) -> Ending:
    """Return how a run ends whose instruction meets the picture from a layer on; `text` is the run without it."""
    return resume(model, clean, layer, Patch(layer, text.entering[layer], INSTRUCTION), new_tokens, under=text.cache)


def leave_early(model: Model, clean: Undisturbed, layer: int, new_tokens: int) -> Ending:
    """Return how a run ends whose image tokens leave before a layer."""
    return resume(model, clean, layer, Departure(layer), new_tokens)
