"""Any number of questions, answered batch by batch under one schedule or under many.

    rows = answer_all(model, questions, resolve("himap", model.dims), max_new_tokens=16)

A row depends on its question alone: not on the batch, its size or the order, nor on the schedules beside its own, so that
a run may be cut into parts, resumed, and repeated on another device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from himap.experiments import answers
from himap.experiments.ahead import ahead, has_core_for_it
from himap.experiments.answers import AnswerRow, Asking, Question, Ready
from himap.pruning.stage import Schedule

if TYPE_CHECKING:
    from himap.models.model import Model

CPU_BATCH = 20  # larger batches gain nothing on a processor
FIRST_CUDA_BATCH = 8  # `auto` starts here and doubles


def answer_all(
    model: Model,
    questions: Iterable[Question],
    schedule: Schedule,
    *,
    batch_size: int | str = "auto",
    **options: Any,
) -> Iterator[AnswerRow]:
    """Yield the questions' rows under one schedule; the options are those of `Asking`."""
    rows = answer_each(model, questions, [Asking([schedule], **options)], batch_size=batch_size)
    return (row for _, row in rows)


def answer_each(
    model: Model,
    items: Iterable[Any],
    askings: Sequence[Asking],
    *,
    batch_size: int | str = "auto",
    is_done: Callable[[Schedule, str], bool] = lambda schedule, sample_id: False,
) -> Iterator[tuple[Schedule, AnswerRow]]:
    """Yield every item's row under every schedule that has not done it yet (schedule, sample id).

    `auto` grows the batch while memory allows; out of memory halves it and goes on.
    """
    for schedule in (schedule for asking in askings for schedule in asking.schedules):
        schedule.check(model.dims)
    if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size: {batch_size!r} is neither 'auto' nor a number of at least 1")
    size, ceiling = _first_size(model, batch_size), None if batch_size == "auto" else int(batch_size)
    waiting: list[Ready] = []
    answered: set[tuple[str, str]] = set()  # of those that wait, so that after a lack of memory nothing is repeated

    def is_wanted(schedule: Schedule, sample_id: str) -> bool:
        return (schedule.name, sample_id) not in answered and not is_done(schedule, sample_id)

    source = answers.readied(model, items, askings, is_wanted)
    if has_core_for_it(model):
        source = ahead(source, lambda: size)
    while True:
        # Refilled each time: after a lack of memory some are still waiting, and a larger batch takes more.
        waiting += islice(source, size - len(waiting)) if len(waiting) < size else []
        if not waiting:
            return
        try:
            batch = [each.item for each in waiting[:size]]
            pixels = {key: made for each in waiting[:size] for key, made in each.pixels.items()}
            for schedule, rows in answers.answer_in_parts(model, batch, askings, is_wanted, pixels):
                # noted one by one, since the caller may journal a row before the next part runs out of memory
                for row in rows:
                    answered.add((schedule.name, row["sample_id"]))
                    yield schedule, row
        except torch.OutOfMemoryError:
            if size == 1:
                raise ValueError(
                    "out of memory with a batch of one; use dtype bfloat16, a smaller model or a larger device"
                ) from None
            size = ceiling = max(1, size // 2)  # a ceiling: what has failed once is not tried again
            if batch_size != "auto":
                print(
                    f"a batch of {batch_size} does not fit in memory; going on with {size}. In half precision some answers depend "
                    "on the batch: set execution.batch_size to that and run again where methods are to be compared",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            # blocks of the failed batch's sizes would only be in the way of smaller ones
            torch.cuda.empty_cache()
            continue
        waiting = waiting[size:]
        answered.clear()
        if ceiling is None and _has_room(model):
            size *= 2


def _first_size(model: Model, batch_size: int | str) -> int:
    if batch_size == "auto":
        return FIRST_CUDA_BATCH if model.device.type == "cuda" else CPU_BATCH
    return int(batch_size)


def _has_room(model: Model) -> bool:
    """Return whether twice the last batch would fit: what it took beyond the weights is under a third of what is free."""
    if model.device.type != "cuda":
        return False
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    taken = torch.cuda.max_memory_allocated(model.device) - weights
    free = torch.cuda.get_device_properties(model.device).total_memory - weights
    # twice the batch takes up to two thirds of it; prompts to come may be longer
    return taken * 3 < free
