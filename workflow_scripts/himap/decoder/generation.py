"""Greedy generation on top of the loop over decoder layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.cache import STEP, Cache
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import Rows, join_rows, new_rows

if TYPE_CHECKING:
    from himap.models.model import Model


def next_token_logits(model: Model, rows: Rows) -> Tensor:
    """Return the logits [B, vocabulary] in fp32 after the last token of each sequence."""
    # Left padding puts every sequence's last token into the last column. Only that column goes through the head.
    return model.head(model.norm(rows.hidden[:, -1])).float()


def run_again(model: Model, text: Rows, interventions: Sequence[Intervention]) -> Rows:
    """Send all rows of prompt and answer through all layers, as the paper's released code does for every token."""
    return forward(model, text, Cache(), interventions)


@dataclass
class Generation:
    """Answers of a batch, as token ids up to and including the end token, and the logits of each first token."""

    ids: list[list[int]]
    first_logits: Tensor  # [B, vocabulary]
    cache: Cache  # of the rows that were in the batch to the end


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
    """Generate greedy answers.

    With `rerank` every token runs the prompt and the answer so far again without a cache, as the paper's released code
    does, so that the interventions rank the image tokens again for each token.
    """
    cache = Cache(reserve=0 if rerank else min(max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, interventions, last_column=True))
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
    again: Callable[[Model, Rows, Sequence[Any]], Rows] = run_again,
) -> Generation:
    """Continue from a prefilled cache and its next-token logits until all answers have ended or the limit is reached.

    `again` is how `rerank` runs prompt and answer so far: plainly, or with what its last call has left.
    """
    answers: list[list[int]] = [[] for _ in range(first_logits.shape[0])]
    present = list(range(len(answers)))  # whose answer each row of the batch is
    positions = prompt.positions[:, -1:]  # [B, 1] of the newest token
    last = replace(
        prompt.after(-1), deep=None, memory=None
    )  # of the prompt: from it, new tokens count their rotary places
    text, logits, ends = prompt, first_logits, sorted(model.end_ids)
    for step in range(max_new_tokens):
        if step < min_new_tokens:
            logits = logits.index_fill(1, torch.tensor(ends, device=logits.device, dtype=torch.long), float("-inf"))
        chosen = logits.argmax(dim=-1)
        for b, token in zip(present, chosen.tolist(), strict=True):
            if not _has_ended(answers[b], model):  # a row that stays in the batch after its end is ignored
                answers[b].append(token)
        running = [place for place, b in enumerate(present) if not _has_ended(answers[b], model)]
        if not running or step == max_new_tokens - 1:
            break
        # copying a cache costs about a step, so ended rows leave it only when they are half of the batch
        if len(running) < len(present) and (rerank or 2 * len(running) <= len(present)):
            remaining = [intervention.of(running) for intervention in interventions]
            if None not in remaining:
                interventions = [intervention for intervention in remaining if intervention is not None]
                present = [present[place] for place in running]
                chosen, positions, last = chosen[running], positions[running], last.of(running)
                text, cache = (text.of(running), cache) if rerank else (text, cache.of(running))
        positions = positions + 1  # counted from the full prompt, however many of its tokens were pruned
        newest = new_rows(model.embed_tokens(chosen[:, None]).to(text.hidden.dtype), positions, last)
        if rerank:
            text = join_rows(text, newest)
            logits = next_token_logits(model, again(model, text, interventions))
        else:
            logits = next_token_logits(model, forward(model, newest, cache, interventions))
    return Generation(answers, first_logits, cache)


def _has_ended(answer: Sequence[int], model: Model) -> bool:
    return bool(answer) and answer[-1] in model.end_ids
