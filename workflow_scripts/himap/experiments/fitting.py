"""Thresholds of stages that each input finds, fitted so that samples cost on average what a fixed schedule costs.

    stages = fitted(model, prompts, goal, "mass")  # prompts: batches of Rows, goal: the stages of the fixed schedule

Stage after stage, one run shows what its threshold decides on (scores where it acts, the signal at every layer), and the
threshold is found by bisection at which the mean FLOPs of the stages so far meet those of the goal's. Answers play no part
in it, so nothing is fitted to what is reported; the samples must still be others than those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.costs.formulas import Drop, flops, keep_count
from himap.decoder.cache import Cache
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import INSTRUCTION
from himap.pruning.adaptive import SIGNALS, After, Mass, holding
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows
    from himap.models.model import Model
    from himap.pruning.criteria import View

POLICIES = ("mass", "depth", "both")
DEPTH_SIGNALS = ("instruction_share", "image_entropy")  # of the first stage, and of those after it
LEAST = 2  # tokens that a stage keeps
HALVINGS = 40


def fitted(model: Model, prompts: Sequence[Rows], goal: Sequence[Stage], policy: str) -> tuple[Stage, ...]:
    """Return stages like the goal's whose count (`mass`), layer (`depth`) or both each input finds, at the goal's mean FLOPs.

    Where no threshold of a layer's rule meets them, the same share of tokens for every input makes up for the rest.
    """
    stages: tuple[Stage, ...] = ()
    ranges = layer_ranges([stage.layer for stage in goal], len(model.layers))
    for number, stage in enumerate(goal):
        total = [n for rows in prompts for n in image_counts(rows)]
        # of all stages so far, so that a later stage makes up for what an earlier one missed
        target = fmean(flops(model.dims, goal[: number + 1], n_image=n) for n in total)
        if policy != "mass":
            first, last = ranges[number]
            after = After(DEPTH_SIGNALS[min(number, 1)], 1.0, last)
            stage = Stage(first, stage.keep, stage.criterion, None, after)
            seen = observed(model, prompts, (*stages, stage))
            # A higher threshold is undercut at an earlier layer, so the cost falls with it.
            below = bisected(lambda value, seen=seen: seen.cost(below=value), target, rising=False)  # type: ignore[misc]
            stage = replace(stage, after=replace(after, below=below))
            # Layers are whole numbers and meet the target only roughly; the share of tokens takes up what is left.
            keep = bisected(lambda share, seen=seen, at=below: seen.cost(below=at, keep=share), target, rising=True)  # type: ignore[misc]
            stage = replace(stage, keep=keep)
        if policy != "depth":
            # all of the mass for the observing run; the threshold follows from what it sees
            stage = replace(stage, keep=1.0, mass=Mass(1.0, LEAST))
            seen = observed(model, prompts, (*stages, stage))
            share = bisected(lambda value, seen=seen: seen.cost(mass=value), target, rising=True)  # type: ignore[misc]
            stage = replace(stage, mass=Mass(share, LEAST))
        stages = (*stages, stage)
    return stages


class _Watched(Pruning):
    """Stages the last of which drops nothing, and notes instead what its threshold decides on."""

    def __init__(self, model: Model, stages: Sequence[Stage], prompt: Rows):
        super().__init__(model, stages, prompt, [0] * len(prompt.groups))
        self.signal: list[Tensor] = []  # per layer at which the last stage looks: [B]
        self.seen: list[Tensor] = [torch.zeros(0) for _ in prompt.groups]  # per sample, of the image tokens there

    def _due(self, stage: Stage, layer: int, view: View, below: LayerAttention | None) -> Tensor:
        if stage is not self.stages[-1] or stage.after is None or stage.mass is not None:
            return super()._due(stage, layer, view, below)
        assert below is not None
        self.signal.append(SIGNALS[stage.after.signal](below, view.is_image, view.is_instruction))
        return view.is_image.new_zeros(len(view.is_image))

    def _left(self, stage: Stage, rows: Rows, view: View, due: Tensor) -> Rows:
        if stage is not self.stages[-1]:
            return super()._left(stage, rows, view, due)
        scores: Tensor = self.criteria[stage.layer].score(view)
        # noted at the layer at which the stage acts for this sample
        for b in due.nonzero()[:, 0].tolist():
            self.seen[b] = scores[b, view.is_image[b]]
        return rows


class _Sample:
    """What one sample showed: what earlier stages did to it, and what the last one's threshold decides on."""

    def __init__(self, pruning: _Watched, b: int):
        *earlier, self.stage = pruning.stages
        self.total = pruning.image_tokens[b]
        self.before = [Drop(pruning.acted[stage.layer][b], len(pruning.kept[stage.layer][b])) for stage in earlier]
        self.signal = [float(value[b]) for value in pruning.signal]
        self.seen = pruning.seen[b]
        self.layer = pruning.acted.get(self.stage.layer, [self.stage.layer] * (b + 1))[b]

    def drop(self, mass: float | None, below: float | None, keep: float | None) -> Drop:
        """Return what the last stage would do under thresholds."""
        layer = self.layer if below is None else self.layer_below(below)
        if mass is None:
            return Drop(layer, keep_count(self.stage.keep if keep is None else keep, self.total))
        everything = torch.ones_like(self.seen, dtype=torch.bool)[None]
        return Drop(layer, max(LEAST, int(holding(self.seen[None], everything, mass))))

    def layer_below(self, below: float) -> int:
        """Return the layer at which the signal has sunk below a share of its peak so far."""
        # the signal was read at every layer up to the latest, so its first value belongs to this one
        first_seen = self.stage.latest - len(self.signal) + 1
        for number, value in enumerate(self.signal):
            layer = first_seen + number
            if layer >= self.stage.layer and value < below * max(self.signal[: number + 1]):
                return layer
        return self.stage.latest


class Observed:
    """What samples showed of the last of some stages, so that its cost under any threshold follows without a run."""

    def __init__(self, model: Model, samples: Sequence[_Sample]):
        self.model, self.samples = model, samples

    def cost(self, *, mass: float | None = None, below: float | None = None, keep: float | None = None) -> float:
        """Return the mean FLOPs of all stages under thresholds of the last."""
        return fmean(
            flops(self.model.dims, [*sample.before, sample.drop(mass, below, keep)], n_image=sample.total)
            for sample in self.samples
        )


@torch.no_grad()
def observed(model: Model, prompts: Sequence[Rows], stages: Sequence[Stage]) -> Observed:
    """Return what the samples of some batches show of the last stage."""
    samples = []
    for rows in prompts:
        pruning = _Watched(model, stages, rows)
        # no layer above the last stage changes what it decides on
        forward(model, rows, Cache(), [pruning], stop=stages[-1].latest + 1)
        samples += [_Sample(pruning, b) for b in range(len(rows.groups))]
    return Observed(model, samples)


def image_counts(rows: Rows) -> list[int]:
    """Return the number of image tokens of each sample."""
    counts: list[int] = (rows.image_index >= 0).sum(dim=1).tolist()
    return counts


def layer_ranges(layers: Sequence[int], depth: int) -> list[tuple[int, int]]:
    """Return between which layers each stage may act: halfway to the stages beside it, the last one as far on as back."""
    middles = [(first + second) // 2 for first, second in pairwise(layers)]
    begins = [1, *(middle + 1 for middle in middles)]
    last = min(depth - 2, 2 * layers[-1] - begins[-1])
    return list(zip(begins, [*middles, max(last, layers[-1])], strict=True))


def bisected(cost: Callable[[float], float], target: float, *, rising: bool) -> float:
    """Return the threshold in (0, 1] whose cost is nearest to a target; the cost rises or falls with it."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # too dear where cost rises with the threshold, or cheap enough where it falls: go on in the lower half
        low, high = (low, middle) if (cost(middle) > target) == rising else (middle, high)
    # 0 is no threshold; `low` is still 0 where even the smallest costs too much
    return min((value for value in (low, high) if value > 0), key=lambda value: abs(cost(value) - target))


class _Listener(Intervention):
    """Reads one signal from the attention below one layer."""

    def __init__(self, signal: str, layer: int):
        self.signal, self.layer, self.values = signal, layer, torch.zeros(0)

    def wants_attention(self, layer: int) -> bool:
        return layer == self.layer

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        if layer == self.layer and below is not None:
            self.values = SIGNALS[self.signal](below, rows.image_index >= 0, rows.groups == INSTRUCTION)
        return None


@torch.no_grad()
def signals(model: Model, rows: Rows, at: dict[str, int]) -> dict[str, list[float]]:
    """Return each signal of every sample of an unpruned batch, from the attention below a layer."""
    listeners = [_Listener(signal, layer) for signal, layer in at.items()]
    forward(model, rows, Cache(), listeners, stop=max(at.values()) + 1)
    return {listener.signal: listener.values.tolist() for listener in listeners}
