"""How the time and memory of methods are measured.

Methods in turns, and the device is waited for at both ends of every interval: turns, since a machine's speed drifts, and
waiting, since a GPU's calls return before its work is done.

Questions are timed from their decoded pixels on: vision tower and projector, prefill, answer, one question at a time and in
batches, padded to the longest. Each method is run once untimed on the first batch before anything counts; that run
gives its peak memory. All methods use the kernel of attention that torch takes for this device and batch, and it is named;
the unpruned model may be timed with the eager kernel in addition. Ratios between methods of one run are what can be
compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from math import prod
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from himap.costs.formulas import flops, ideal_speedup, image_tokens_per_layer
from himap.decoder.cache import STEP, Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import forward
from himap.decoder.tokens import PADDING, Rows
from himap.experiments.answers import Question, encode, prompt_ids
from himap.experiments.counted_flops import prefill_flops, stages_on
from himap.experiments.kernels import EAGER, attention, kernel_of
from himap.experiments.machine import peak_memory
from himap.experiments.pictures import pictures_of, pixels_of
from himap.experiments.sharing import sample_seed
from himap.pruning.criteria import get as criterion_named
from himap.pruning.intervention import Pruning

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.models.model import Model
    from himap.pruning.stage import Schedule


class Tokens(TypedDict):
    """The tokens of a batch, in the mean of its questions."""

    image_tokens: float  # that enter the decoder
    text_tokens: float
    tokens_per_layer: float  # image tokens that a layer processes, in the mean of the layers
    ideal_speedup: float  # of the prefill, if time grew with tokens


class Timing(Tokens):
    """Seconds of the parts of a batch, and what they were spent on."""

    seconds_vision: float  # vision tower and projector
    seconds_prefill: float
    seconds_scoring: float  # of the prefill: scoring image tokens, choosing among them and dropping the others
    seconds_answer: float
    seconds_total: float
    steps: int  # forward passes after the prefill, one for each further token of the longest answer
    generated_tokens: int
    cache_mb: float  # keys and values of the prompts


class Cost(TypedDict):
    """What a method costs beside time."""

    kernel: str  # of attention
    peak_mb: float | None  # of an untimed run of the first batch, beyond the loaded model
    tflops_formula: float  # of one prefill, over the whole prompt of the first question
    tflops_counted: float  # the same as counted, head and scoring included


class TimingRow(Timing, Cost):
    """A line of a latency file."""

    sample_id: str  # of the batch's first question
    method: str
    round: int
    batch_size: int


@dataclass(frozen=True)
class Arm:
    """A method as it is timed, with the kernel that it is told to use."""

    method: str
    schedule: Schedule
    attention: str


@dataclass(frozen=True)
class Protocol:
    """How answers are timed: how long they get, and what is run beside one question at a time."""

    max_new_tokens: int
    rounds: int
    seed: int = 0
    min_new_tokens: int = 0
    batches: Sequence[int] = ()  # further batch sizes
    eager: bool = False  # time the unpruned model with the eager kernel too


class TimedPruning(Pruning):
    """Pruning that notes the seconds of its stages."""

    seconds = 0.0

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows that go on, after the device has finished what its stage asked for."""
        if layer not in self.at:
            return rows
        # waits for the layers below first, whose time would count as scoring
        begin = now(self.model.device)
        left = super().enter(layer, rows, below)
        self.seconds += now(self.model.device) - begin
        return left


def now(device: torch.device) -> float:
    """Return the time in seconds once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def looks_at_tower(schedule: Schedule) -> bool:
    """Return whether a stage scores tokens by what the vision tower makes of them."""
    return any(criterion_named(stage.criterion).needs_tower for stage in schedule.stages)


@torch.no_grad()
def time_batch(model: Model, questions: Sequence[Question], schedule: Schedule, protocol: Protocol) -> Timing:
    """Time questions that go through the model together; decoding their image files is not part of it."""
    each: list[Any] = [pixels_of(model, question, schedule.image_grid) for question in questions]
    pixels: Any = torch.cat(each) if isinstance(each[0], Tensor) else list(chain(*each))
    # Pixels are made; the clock starts when the device has nothing left to do.
    begin = now(model.device)
    # Only where a criterion looks at it: the others must not pay for what it takes.
    view = model.view_tower if looks_at_tower(schedule) else None
    tower = None if view is None else view(pixels)  # in one run with the features
    seen = iter(model.see(pixels, tower))
    pictures = [list(islice(seen, len(question.images))) for question in questions]
    encoded = now(model.device)
    ids = [
        prompt_ids(model, question, [picture.layout for picture in tokens])
        for question, tokens in zip(questions, pictures, strict=True)
    ]
    prompt = model.embed(ids, pictures)
    # padding may still be asked for and is computed then, inside of the prefill's time
    prompt.pictures = pictures_of(model, questions, pixels, pictures, tower)
    seeds = [sample_seed(protocol.seed, question.sample_id) for question in questions]
    pruning = TimedPruning(model, schedule.stages, prompt, seeds, renumber=schedule.renumbers)
    cache = Cache(reserve=min(protocol.max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, [pruning]))
    # read now, since decoding adds to the cache and calls the stages again
    prefilled, scoring, cache_mb = now(model.device), pruning.seconds, megabytes(cache)
    answer = continue_greedily(
        model, prompt, cache, logits, protocol.max_new_tokens, [pruning],
        rerank=schedule.rerank, min_new_tokens=protocol.min_new_tokens,
    )  # fmt: skip
    done = now(model.device)
    lengths = list(map(len, answer.ids))
    return {
        "seconds_vision": encoded - begin,
        "seconds_prefill": prefilled - encoded,
        "seconds_scoring": scoring,
        "seconds_answer": done - prefilled,
        "seconds_total": done - begin,
        "steps": max(lengths) - 1,  # the first token comes from the prefill
        "generated_tokens": sum(lengths),
        **_tokens(model, schedule, prompt, pruning),
        "cache_mb": cache_mb,
    }


def _tokens(model: Model, schedule: Schedule, prompt: Rows, pruning: Pruning) -> Tokens:
    """Return the tokens of a batch in the mean of its questions, and the speed-up that they promise."""
    dims, image = model.dims, pruning.image_tokens
    rows = (prompt.groups != PADDING).sum(dim=1).tolist()
    # Pictures beside the sequence are no rows of it.
    text = [total - n if prompt.memory is None else total for total, n in zip(rows, image, strict=True)]
    left, ideal = [], []
    for b, (n_image, n_text) in enumerate(zip(image, text, strict=True)):
        stages = pruning.as_acted(b)
        n_full = n_image
        if schedule.image_grid:  # a smaller image has fewer tokens from the start
            # how many the unpruned model would have had, in proportion to the grids
            n_full = round(n_image * dims.tokens_per_image / prod(schedule.image_grid))
        left.append(fmean(image_tokens_per_layer(dims, stages, n_image)))
        speedup = ideal_speedup(dims, stages, n_image=n_image, n_text=n_text)
        # against the whole image, since the smaller one saves tokens before any stage
        ideal.append(speedup * (n_full + n_text) / (n_image + n_text))
    return {
        "image_tokens": fmean(image),
        "text_tokens": fmean(text),
        "tokens_per_layer": fmean(left),
        "ideal_speedup": fmean(ideal),
    }


def megabytes(cache: Cache) -> float:
    """Return the megabytes of the keys and values that a cache holds, room for tokens to come left out."""
    parts = (part for layer in cache.layers.values() for part in layer.view()[:2])
    return sum(part.numel() * part.element_size() for part in parts) / 1e6


def time_methods(
    model: Model, questions: Sequence[Question], schedules: Mapping[str, Schedule], protocol: Protocol
) -> Iterator[TimingRow]:
    """Yield one row per batch size, round, batch and method; the methods take turns within a batch.

    Every batch size has as many questions as there are, at least one full batch.
    """
    # A model that is told to use the eager kernel is timed with the best one all the same: that is what is compared.
    best = "sdpa" if model.attention == EAGER else model.attention
    arms = arms_of(schedules, best, protocol.eager)
    # counted once and untimed: the counter slows a run and takes its fused kernels away
    operations = {name: tflops(model, questions[0], schedule) for name, schedule in schedules.items()}
    for size in dict.fromkeys((1, *protocol.batches)):
        batches = in_batches(questions, size)
        try:
            with attention(model, best):
                kernel = kernel_of(model, encode(model, batches[0]))
            costs = [describe(model, batches[0], arm, protocol, operations[arm.method], kernel) for arm in arms]
        except torch.OutOfMemoryError:
            if size == 1:
                # not even one question fits, and there is no smaller batch
                raise
            print(f"batches of {size} do not fit in memory and are left out", file=sys.stderr, flush=True)
            torch.cuda.empty_cache()
            continue
        for number in range(protocol.rounds):
            for batch in batches:
                for arm, cost in zip(arms, costs, strict=True):
                    with attention(model, arm.attention):
                        measured = time_batch(model, batch, arm.schedule, protocol)
                    yield {
                        "sample_id": batch[0].sample_id, "method": arm.method, "round": number, "batch_size": size,
                        **measured, **cost,
                    }  # fmt: skip


def arms_of(schedules: Mapping[str, Schedule], best: str, eager: bool) -> list[Arm]:
    """Return every method with the best kernel, and the unpruned model with the eager one where that is asked for."""
    arms = [Arm(name, schedule, best) for name, schedule in schedules.items()]
    # a smaller image drops nothing in a stage, but is no unpruned model either
    plain = [arm for arm in arms if not arm.schedule.stages and not arm.schedule.image_grid]
    return arms + [replace(arm, attention=EAGER) for arm in plain if eager]


def count_rows(questions: int, schedules: Mapping[str, Schedule], protocol: Protocol) -> int:
    """Return how many rows `time_methods` yields if every batch fits in memory."""
    arms = len(arms_of(schedules, "", protocol.eager))
    sizes = dict.fromkeys((1, *protocol.batches))
    return sum(protocol.rounds * arms * batch_count(questions, size) for size in sizes)


def batch_count(questions: int, size: int) -> int:
    """Return how many batches of a size some questions fill, at least one."""
    return max(1, questions // size)


def in_batches(questions: Sequence[Question], size: int) -> list[list[Question]]:
    """Return full batches of the questions; those of a first batch that lacks some come twice."""
    # batches of 8 of 5 questions repeat the first three
    endless = cycle(questions)
    return [list(islice(endless, size)) for _ in range(batch_count(len(questions), size))]


def describe(
    model: Model, batch: Sequence[Question], arm: Arm, protocol: Protocol, operations: tuple[float, float], best: str
) -> Cost:
    """Run an arm untimed, which compiles kernels and fills caches, and return what it costs beside time."""
    with attention(model, arm.attention):
        peak = peak_memory(lambda: time_batch(model, batch, arm.schedule, protocol), model.device)
    kernel = EAGER if arm.attention == EAGER else best
    return {"kernel": kernel, "peak_mb": peak, "tflops_formula": operations[0], "tflops_counted": operations[1]}


def tflops(model: Model, question: Question, schedule: Schedule) -> tuple[float, float]:
    """Return the operations of a question's prefill in TFLOPs, by formula over the whole prompt and as counted."""
    prompt = encode(model, [question], schedule.image_grid)
    image, text, padding = prompt.counts()
    stages = stages_on(model, prompt, schedule)
    formula = flops(model.dims, stages, "prompt", n_image=image, n_text=text, n_padding=padding)
    return formula / 1e12, prefill_flops(model, prompt, schedule.stages) / 1e12
