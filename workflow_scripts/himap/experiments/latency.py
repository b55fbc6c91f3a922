"""The timing protocol: one example at a time, methods in turns, the device waited for at both ends of every interval.

An example is timed from its decoded pixels on: vision tower and projector, prefill, answer. Each method is run once
untimed on the first example before anything counts. Ratios between methods of one run are what can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from himap.costs.formulas import ideal_speedup
from himap.decoder.cache import STEP, Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import forward
from himap.experiments.answers import Question, pixels_of, prompt_ids, sample_seed
from himap.pruning.intervention import Pruning

if TYPE_CHECKING:
    from himap.models.model import Model


def now(device: torch.device) -> float:
    """Seconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.no_grad()
def time_example(
    model: Model,
    question: Question,
    method: dict[str, Any],
    max_new_tokens: int,
    seed: int = 0,
    *,
    min_new_tokens: int = 0,
) -> dict[str, Any]:
    """Seconds of one example's parts, and how many tokens it had."""
    pixels = pixels_of(model, question, method.get("image_grid")).to(model.device)
    begin = now(model.device)
    features = model.encode_images(pixels)
    encoded = now(model.device)
    ids = prompt_ids(model, question, features.shape[1])
    prompt = model.embed([ids], [features])
    pruning = Pruning(model, method["stages"], prompt, [sample_seed(seed, question.sample_id)])
    cache = Cache(reserve=min(max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, [pruning]))
    prefilled = now(model.device)
    answer = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [pruning],
        rerank=bool(method.get("rerank")), min_new_tokens=min_new_tokens,
    )  # fmt: skip
    done = now(model.device)
    n_image, n_all = features.shape[0] * features.shape[1], prompt.positions.shape[1]
    n_text, n_full = n_all - n_image, features.shape[0] * model.dims.tokens_per_image
    ideal = ideal_speedup(model.dims, method["stages"], n_image=n_image, n_text=n_text)
    return {
        "seconds_vision": encoded - begin,
        "seconds_prefill": prefilled - encoded,
        "seconds_answer": done - prefilled,
        "seconds_total": done - begin,
        "generated_tokens": len(answer.ids[0]),
        "image_tokens": n_image,
        "text_tokens": n_text,
        "ideal_speedup": ideal * (n_full + n_text) / n_all,  # a smaller image has fewer tokens from the start
    }


def time_methods(
    model: Model,
    questions: Sequence[Question],
    methods: dict[str, dict[str, Any]],
    *,
    max_new_tokens: int,
    rounds: int,
    seed: int = 0,
    min_new_tokens: int = 0,
) -> Iterator[dict[str, Any]]:
    """One row per round, example and method; the methods take turns within an example."""
    for method in methods.values():
        time_example(model, questions[0], method, max_new_tokens, seed, min_new_tokens=min_new_tokens)
    for number in range(rounds):
        for question in questions:
            for name, method in methods.items():
                measured = time_example(model, question, method, max_new_tokens, seed, min_new_tokens=min_new_tokens)
                yield {"sample_id": question.sample_id, "method": name, "round": number, **measured}
