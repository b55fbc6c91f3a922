"""What the next batches need, made by a thread while the device works on the present one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from himap.models.model import Model

T = TypeVar("T")


def ahead(items: Iterable[T], room: Callable[[], int]) -> Iterator[T]:
    """Yield the items while a thread makes up to `room` of those that come next."""
    # A thread is enough: decoders of pictures and kernels of torch let others run.
    source, end = iter(items), object()
    coming: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        while True:
            # one more than there is room for: the item that is yielded next
            while len(coming) <= room():
                # `end`, since a StopIteration would become a RuntimeError inside of this generator
                coming.append(pool.submit(next, source, end))
            item = coming.popleft().result()
            if item is end:
                return
            yield item
    finally:
        # also where the caller stops early, so that nothing is decoded for nobody
        pool.shutdown(cancel_futures=True)


def has_core_for_it(model: Model) -> bool:
    """Return whether a core is left for the thread: a job of one core would only switch between the two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > 1 and (model.device.type != "cpu" or torch.get_num_threads() > 1)
