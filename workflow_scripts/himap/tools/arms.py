"""Two ways of computing the same answers, timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himap.models.model import Model

EXACT = "torch.float32"  # number formats with fewer digits may answer differently in another batch


@dataclass(frozen=True)
class Compared:
    """What two arms took, by name, and how many of their answers are the same."""

    clock: str
    seconds: Mapping[str, list[float]]
    equal_answers: float  # share of all

    @property
    def medians(self) -> dict[str, float]:
        """Return each arm's median."""
        return {name: statistics.median(values) for name, values in self.seconds.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the measurement as it is written to a file."""
        return {self.clock: dict(self.seconds), "equal_answers": self.equal_answers}


def compare(arms: Mapping[str, Callable[[], Any]], model: Model, rounds: int) -> Compared:
    """Time two arms in turns. Raise ValueError if their answers differ in float32; with fewer digits their share is reported.

    An answer is an entry of what an arm returns, a dict by method or a list by question.
    """
    from himap.experiments.latency import now

    # On a CPU the processor's own seconds, which others on the machine lengthen little; a GPU works beside the
    # processor.
    is_gpu = model.device.type != "cpu"
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    answers: dict[str, Any] = {}
    # A GPU's first round compiles kernels and asks the driver for memory, so it does not count.
    for number in range(-int(is_gpu), rounds):
        for name, arm in arms.items():
            begin = now(model.device) if is_gpu else time.process_time()
            answers[name] = arm()  # of the last round; greedy answers are the same in all
            end = now(model.device) if is_gpu else time.process_time()
            if number >= 0:
                seconds[name].append(end - begin)
    first, second = answers.values()
    keys = list(first) if isinstance(first, dict) else range(len(first))  # methods, or the places of questions
    equal = [first[key] == second[key] for key in keys]
    # An arm that is fast because it answers something else would be no gain.
    if not all(equal) and str(model.dtype) == EXACT:
        raise ValueError(f"{equal.count(False)} of {len(equal)} answers of the arms {' and '.join(arms)} differ")
    return Compared("seconds" if is_gpu else "processor_seconds", seconds, statistics.fmean(equal))
