"""How likely a model finds given continuations of a prompt, after a prefill that may have been pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import Rows, new_rows

if TYPE_CHECKING:
    from himap.models.model import Model


def log_probabilities(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    b: int,
    ids: Sequence[int],
    interventions: Sequence[Intervention] = (),
) -> Tensor:
    """Return the logarithms [n, vocabulary] from which each of a continuation's ids is drawn, after prompt `b` of a batch.

    The first are the prompt's own `logits` [B, vocabulary], the others those of a run after its cache, which stays as it is.
    """
    first = logits[b : b + 1].log_softmax(-1)
    if len(ids) == 1:
        return first
    # a cache of its own: running one continuation must leave the prompt's to the next
    alone, before = cache.of([b]), prompt.sample(b)
    given = torch.tensor(list(ids[:-1]), device=logits.device)
    # behind the prompt's last token, whatever was dropped since
    positions = before.positions[:, -1:] + 1 + torch.arange(len(given), device=logits.device)[None]
    embedded = model.embed_tokens(given[None]).to(prompt.hidden.dtype)  # 1 sample, n-1 tokens
    hidden = forward(model, new_rows(embedded, positions, before), alone, interventions).hidden[0]
    return torch.cat([first, model.head(model.norm(hidden)).float().log_softmax(-1)])
