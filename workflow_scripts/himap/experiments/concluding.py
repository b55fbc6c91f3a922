"""What a prefilled batch answers: greedy tokens, or the likeliest of the choices that a prompt offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily
from himap.decoder.loop import Intervention
from himap.decoder.tokens import Rows
from himap.experiments.likelihood import log_probabilities
from himap.experiments.reranking import Reranking

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
    # a benchmark asks all of its questions in one way, so a batch has choices everywhere or nowhere
    choices = [question.prompt.choices for question in questions]
    cache, logits = prefill.cache, prefill.logits
    if any(choices):
        texts = [
            likeliest(model, prompt, cache, logits, choices[b], b, [prefill.pruning.of([b])])
            for b in range(len(questions))
        ]
        return [(text, model.answer_ids(text)) for text in texts]
    done = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [prefill.pruning], rerank=rerank, min_new_tokens=min_new_tokens,
        again=Reranking(),
    )  # fmt: skip
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

    def loss(choice: str) -> float:
        # tokenized as an answer begins, with the space or mark that the model itself would emit
        ids = model.answer_ids(choice.strip())
        known = log_probabilities(model, prompt, cache, logits, b, ids, interventions)  # [n, vocabulary]
        return -float(known.gather(1, torch.tensor(ids, device=known.device)[:, None]).mean())

    # min takes the first of equals, so that the order of choices decides a tie
    losses = {choice: loss(choice) for choice in choices}
    return min(losses, key=losses.__getitem__).strip()
