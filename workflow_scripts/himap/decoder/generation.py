"""Greedy answers from the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import STEP, Cache
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import Rows, join_rows, new_rows

if TYPE_CHECKING:
    from himap.models.model import Model


def next_token_logits(model: Model, rows: Rows) -> Tensor:
    """Logits [B, vocabulary] in fp32 after the last token of each sequence."""
    return model.head(model.norm(rows.hidden[:, -1])).float()


@dataclass
class Generation:
    """Answers of a batch: token ids without what follows the end token, and the logits of the first step."""

    ids: list[list[int]]
    first_logits: Tensor  # [B, vocabulary]
    cache: Cache


@torch.no_grad()
def generate(
    model: Model,
    prompt: Rows,
    max_new_tokens: int,
    interventions: Sequence[Intervention] = (),
    *,
    rerank: bool = False,
    min_new_tokens: int = 0,
) -> Generation:
    """Greedy answers. With `rerank` every token re-runs the whole text without a cache, as the released code does."""
    cache = Cache(reserve=0 if rerank else min(max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, interventions))
    return continue_greedily(
        model, prompt, cache, logits, max_new_tokens, interventions, rerank=rerank, min_new_tokens=min_new_tokens
    )


@torch.no_grad()
def continue_greedily(
    model: Model,
    prompt: Rows,
    cache: Cache,
    first_logits: Tensor,
    max_new_tokens: int,
    interventions: Sequence[Intervention] = (),
    *,
    rerank: bool = False,
    min_new_tokens: int = 0,
) -> Generation:
    """Go on from a prefilled cache and its next-token logits until all answers ended or the limit is reached."""
    answers: list[list[int]] = [[] for _ in range(first_logits.shape[0])]
    running = set(range(len(answers)))
    positions = prompt.positions[:, -1:]  # [B, 1] of the newest token
    text, logits, ends = prompt, first_logits, sorted(model.end_ids)
    for step in range(max_new_tokens):
        if step < min_new_tokens:
            logits = logits.index_fill(1, torch.tensor(ends, device=logits.device, dtype=torch.long), float("-inf"))
        chosen = logits.argmax(dim=-1)
        for b, token in enumerate(chosen.tolist()):
            if b in running:
                answers[b].append(token)
                if token in model.end_ids:
                    running.discard(b)
        if not running or step == max_new_tokens - 1:
            break
        positions = positions + 1
        newest = new_rows(model.embed_tokens(chosen[:, None]).to(text.hidden.dtype), positions)
        if rerank:
            text = join_rows(text, newest)
            logits = next_token_logits(model, forward(model, text, Cache(), interventions))
        else:
            logits = next_token_logits(model, forward(model, newest, cache, interventions))
    return Generation(answers, first_logits, cache)
