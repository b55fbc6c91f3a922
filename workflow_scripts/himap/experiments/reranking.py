"""Passes over a prompt and its growing answer that rank image tokens again, without running the layers below the first stage again.

No row sees a later one, so below the first stage only the newest token is new. Results are those of `forward` over all
rows; latency is measured with that, as the paper's released code runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from himap.decoder.cache import STEP, Cache
from himap.decoder.loop import forward
from himap.decoder.tokens import Rows
from himap.experiments.beginnings import Entering, Watch

if TYPE_CHECKING:
    from himap.models.model import Model
    from himap.pruning.intervention import Pruning


class Reranking:
    """Keeps what enters the layer of the first stage, and keys and values below it."""

    def __init__(self) -> None:
        self.cache = Cache(STEP)
        self.entering: Entering = {}

    def __call__(self, model: Model, text: Rows, interventions: Sequence[Pruning]) -> Rows:
        """Return the last column of some rows, of which the last one may be new since the call before."""
        first = min((layer for pruning in interventions for layer in pruning.at), default=0)
        if first == 0 or text.memory is not None:
            return forward(model, text, Cache(), interventions, last_column=True)
        batch, length = text.positions.shape
        if first not in self.entering or self.entering[first][0].positions.shape != (batch, length - 1):
            # the first call, or answers have ended and left the batch
            self.cache, self.entering = Cache(STEP), {}
        watch = Watch([first], lambda layer: any(pruning.wants_attention(layer) for pruning in interventions))
        fresh = text.after(-1) if self.entering else text
        # the layer that is watched is run only to be entered
        forward(model, fresh, self.cache, [watch], stop=first + 1, last_column=True)
        rows, below = watch.entering[first]
        if self.entering:
            before, before_below = self.entering[first]
            rows = text.with_hidden(torch.cat([before.hidden, rows.hidden], dim=1))
            if below is not None and before_below is not None:
                queries, keys = (
                    torch.cat([getattr(part, name) for part in (before_below, below)], dim=2)
                    for name in ("queries", "keys")
                )
                below = replace(below, queries=queries, keys=keys, rows=rows)
        self.entering = {first: (rows, below)}
        return forward(model, rows, Cache(), interventions, start=first, below=below, last_column=True)
