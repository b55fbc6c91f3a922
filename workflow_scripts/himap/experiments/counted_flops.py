"""Floating-point operations, counted on a real prefill instead of computed by formula.

The count includes what formulas leave out: the head, and the scoring of image tokens (for the criterion `gradient` a
whole backward pass). All rows run through the last layer, as in other implementations and in every formula; the prefill of
an evaluation leaves out what the next token does not need there (`forward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.experiments.sharing import Track, prefills
from himap.pruning.criteria import get
from himap.pruning.intervention import Pruning

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model
    from himap.pruning.stage import Schedule, Stage


def stages_on(model: Model, prompt: Rows, schedule: Schedule) -> tuple[Stage, ...]:
    """Return a schedule's stages as they act on one prompt; a prefill finds out where each input decides that itself."""
    if schedule.is_fixed:
        return schedule.stages
    _, done = next(prefills(model, prompt, [Track(schedule.stages, 0, schedule.renumbers)], ["counted"]))
    return done.pruning.as_acted(0)


def prefill_flops(model: Model, prompt: Rows, stages: Sequence[Stage]) -> float:
    """Return the operations of one prefill, decoder and head."""
    kind, model.attention = model.attention, "eager"  # the counter sees no multiplication inside a fused kernel
    # neither seeds nor positions change a count; merged tokens have no position of their own
    renumber = any(get(stage.criterion).merges for stage in stages)
    pruning = Pruning(model, stages, prompt, [0] * prompt.positions.shape[0], renumber=renumber)
    if prompt.pictures and any(criterion.needs_tower for criterion in pruning.criteria.values()):
        prompt.pictures.look()  # the tower is no part of a prefill, whoever looks at it
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            next_token_logits(model, forward(model, prompt, Cache(), [pruning]))
    finally:
        model.attention = kind
    return float(counter.get_total_flops())
