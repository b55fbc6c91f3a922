"""How seconds per example are measured.

One example at a time, methods in turns, and the device is waited for at both ends of every interval: turns, since a
machine's speed drifts, and waiting, since a GPU's calls return before its work is done.

An example is timed from its decoded pixels on: vision tower and projector, prefill, answer. Each method is run once
untimed on the first example before anything counts. Ratios between methods of one run are what can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, TypedDict

import torch

from himap.costs.formulas import ideal_speedup
from himap.decoder.cache import STEP, Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import forward
from himap.experiments.answers import Question, prompt_ids
from himap.experiments.pictures import pictures_of, pixels_of
from himap.experiments.sharing import sample_seed
from himap.pruning.criteria import get as criterion_named
from himap.pruning.intervention import Pruning

if TYPE_CHECKING:
    from himap.models.model import Model
    from himap.pruning.stage import Schedule


class Timing(TypedDict):
    """Seconds of an example's parts, and what they were spent on."""

    seconds_vision: float  # vision tower and projector
    seconds_prefill: float
    seconds_answer: float
    seconds_total: float
    generated_tokens: int
    image_tokens: int  # that enter the decoder
    text_tokens: int
    ideal_speedup: float  # of the prefill, if time grew with tokens


class TimingRow(Timing):
    """A line of a latency file."""

    sample_id: str
    method: str
    round: int


def now(device: torch.device) -> float:
    """Return the time in seconds once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def looks_at_tower(schedule: Schedule) -> bool:
    """Return whether a stage scores tokens by what the vision tower makes of them."""
    return any(criterion_named(stage.criterion).needs_tower for stage in schedule.stages)


@torch.no_grad()
def time_example(
    model: Model,
    question: Question,
    schedule: Schedule,
    max_new_tokens: int,
    seed: int = 0,
    *,
    min_new_tokens: int = 0,
) -> Timing:
    """Time one example under a schedule; decoding its image files is not part of it."""
    pixels = pixels_of(model, question, schedule.image_grid)
    begin = now(model.device)
    view = model.view_tower if looks_at_tower(schedule) else None
    tower = None if view is None else view(pixels)  # in one run with the features
    pictures = model.see(pixels, tower)
    encoded = now(model.device)
    prompt = model.embed([prompt_ids(model, question, [picture.layout for picture in pictures])], [pictures])
    prompt.pictures = pictures_of(model, [question], pixels, [pictures], tower)
    seeds = [sample_seed(seed, question.sample_id)]
    pruning = Pruning(model, schedule.stages, prompt, seeds, renumber=schedule.renumbers)
    cache = Cache(reserve=min(max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, [pruning]))
    prefilled = now(model.device)
    answer = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [pruning],
        rerank=schedule.rerank, min_new_tokens=min_new_tokens,
    )  # fmt: skip
    done = now(model.device)
    n_image, n_text, _ = prompt.counts()
    n_full = n_image
    if schedule.image_grid:  # a smaller image has fewer tokens from the start
        n_full = round(n_image * model.dims.tokens_per_image / prod(schedule.image_grid))
    ideal = ideal_speedup(model.dims, pruning.as_acted(0), n_image=n_image, n_text=n_text)
    return {
        "seconds_vision": encoded - begin,
        "seconds_prefill": prefilled - encoded,
        "seconds_answer": done - prefilled,
        "seconds_total": done - begin,
        "generated_tokens": len(answer.ids[0]),
        "image_tokens": n_image,
        "text_tokens": n_text,
        "ideal_speedup": ideal * (n_full + n_text) / (n_image + n_text),
    }


def time_methods(
    model: Model,
    questions: Sequence[Question],
    schedules: Mapping[str, Schedule],
    *,
    max_new_tokens: int,
    rounds: int,
    seed: int = 0,
    min_new_tokens: int = 0,
) -> Iterator[TimingRow]:
    """Yield one row per round, example and method; the methods take turns within an example."""
    for schedule in schedules.values():  # the first run compiles kernels and fills caches; it does not count
        time_example(model, questions[0], schedule, max_new_tokens, seed, min_new_tokens=min_new_tokens)
    for number in range(rounds):
        for question in questions:
            for name, schedule in schedules.items():
                measured = time_example(model, question, schedule, max_new_tokens, seed, min_new_tokens=min_new_tokens)
                yield {"sample_id": question.sample_id, "method": name, "round": number, **measured}
