"""Floating-point operations as counted on a real prefill, the cost of scoring image tokens included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.pruning.intervention import Pruning

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model


def prefill_flops(model: Model, prompt: Rows, stages: Sequence[dict[str, Any]]) -> float:
    """Operations of one prefill, decoder and head; attention is run in its plain form, which every counter knows."""
    kind, model.attention = model.attention, "eager"
    pruning = Pruning(model, stages, prompt, [0] * prompt.positions.shape[0])
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            next_token_logits(model, forward(model, prompt, Cache(), [pruning]))
    finally:
        model.attention = kind
    return float(counter.get_total_flops())
