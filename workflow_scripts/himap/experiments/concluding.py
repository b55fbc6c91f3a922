"""What a prefilled batch answers: greedy tokens, or the likeliest of the choices that a prompt offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import Rows, new_rows

if TYPE_CHECKING:
    from himap.experiments.answers import Question
    from himap.experiments.sharing import Prefill
    from himap.models.model import Model


def conclude(
    model: Model,
    questions: Sequence[Question],
    prompt: Rows,
    prefill: Prefill,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    rerank: bool = False,
) -> list[tuple[str, list[int]]]:
    """Return text and ids of a prefilled batch's answers: the likeliest choice where prompts have choices, else greedy tokens."""
    choices = [question.prompt.choices for question in questions]
    cache, logits = prefill.cache, prefill.logits
    if any(choices):
        texts = [
            likeliest(model, prompt, cache, logits, choices[b], b, [prefill.pruning.of([b])])
            for b in range(len(questions))
        ]
        return [(text, model.answer_ids(text)) for text in texts]
    done = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [prefill.pruning], rerank=rerank, min_new_tokens=min_new_tokens
    )
    return [(model.detokenize(ids), ids) for ids in done.ids]


def likeliest(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    choices: Sequence[str],
    b: int,
    interventions: Sequence[Intervention] = (),
) -> str:
    """Return the choice with the lowest mean token loss after prompt `b` of a batch: a sum would favor short ones.

    Interventions are on this prompt's rows alone.
    """
    losses = {choice: _choice_loss(model, prompt, cache, logits, b, choice, interventions) for choice in choices}
    return min(losses, key=losses.__getitem__).strip()


def _choice_loss(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    b: int,
    choice: str,
    interventions: Sequence[Intervention],
) -> float:
    """Return the mean loss of a choice's tokens: the first from the prompt's logits, the others from a run after the cache."""
    ids = torch.tensor(model.answer_ids(choice.strip()), device=logits.device)
    losses = -logits[b].log_softmax(-1)[ids[:1]]  # [1]
    if len(ids) > 1:
        # a cache of its own per choice: running one choice must leave the prompt's cache to the next
        alone = cache.of([b])
        before = prompt.sample(b)
        positions = before.positions[:, -1:] + 1 + torch.arange(len(ids) - 1, device=ids.device)[None]
        embedded = model.embed_tokens(ids[None, :-1]).to(prompt.hidden.dtype)  # 1 sample, n-1 tokens
        rows = new_rows(embedded, positions, before)
        hidden = forward(model, rows, alone, interventions).hidden[0]
        after = model.head(model.norm(hidden)).float().log_softmax(-1)  # [n-1, vocabulary]
        losses = torch.cat([losses, -after.gather(1, ids[1:, None])[:, 0]])
    return float(losses.mean())
