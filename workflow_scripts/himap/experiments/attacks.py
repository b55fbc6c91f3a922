"""Attention that is led astray: scores that are weighted while the content stays, and pixels that draw attention to empty cells.

    Weighted(model, stages, prompt, seeds, evidence, weight=8.0)  # an intervention like `Pruning`
    attacked = attack(model, ids, pixels, stage, evidence, free, target)

* *Weighted scores*: the attention that tokens without evidence receive counts so many times as much where tokens are ranked.
  Hidden states are untouched, so whatever changes the answer is the ranking.
* *Attack*: projected gradient on the pixels of cells without evidence. It lowers the evidence's scores in relation to theirs
  and keeps the model's own next token. Its control is noise of the same size in the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE
from himap.pruning.criteria import Criterion, View
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows
    from himap.models.model import Model

PULL = 4.0  # a step is this share of the largest change, one part in so many


class Weighted(Pruning):
    """Stages whose attention scores count `weight` times at image tokens without evidence; scores of another sort stay."""

    def __init__(
        self, model: Model, stages: Sequence[Stage], prompt: Rows, seeds: Sequence[int],
        evidence: Sequence[Sequence[int]], weight: float,
    ):  # fmt: skip
        super().__init__(model, stages, prompt, seeds)
        # [B, N] by original image index, which stays valid after earlier drops
        factors = torch.full((len(evidence), max(self.image_tokens)), weight, device=prompt.hidden.device)
        for b, tokens in enumerate(evidence):
            factors[b, list(tokens)] = 1.0
        self.criteria = {layer: _weighted(criterion, factors) for layer, criterion in self.criteria.items()}


def _weighted(criterion: Criterion, factors: Tensor) -> Criterion:
    """Return a criterion whose scores of image tokens are multiplied by factors [B, N], if it looks at attention."""

    def score(view: View) -> Tensor:
        scores: Tensor = criterion.score(view)
        return scores * factors.gather(1, view.rows.image_index.clamp(min=0))

    return replace(criterion, score=score) if criterion.needs_attention else criterion


class _Scores(Intervention):
    """Keeps the scores by which a stage would rank the image tokens, and drops none."""

    def __init__(self, model: Model, stage: Stage, prompt: Rows):
        self.pruning, self.layer = Pruning(model, [stage], prompt, [0]), stage.layer
        self.scores = torch.zeros(0)

    def wants_attention(self, layer: int) -> bool:
        return self.pruning.wants_attention(layer)

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        if layer == self.layer:
            self.scores = self.pruning.scores(layer, rows, below)[0, rows.groups[0] == IMAGE]  # [N]
        return None


def scores_and_logits(model: Model, ids: Sequence[int], pixels: Tensor, stage: Stage) -> tuple[Tensor, Tensor]:
    """Return a stage's scores [N] of the image tokens and the logits [1, vocabulary] of the next token, both with their graph."""
    prompt = model.embed([ids], [model.encode_images(pixels)])
    look = _Scores(model, stage, prompt)
    logits = next_token_logits(model, forward(model, prompt, Cache(), [look]))
    return look.scores, logits


def attack(
    model: Model, ids: Sequence[int], pixels: Tensor, stage: Stage, evidence: Sequence[int], free: Tensor, target: int,
    *, size: float, steps: int,
) -> Tensor:  # fmt: skip
    """Return pixels [1, 3, H, W] changed by at most `size` in the cells `free` [N], which draw a stage's scores away from the evidence.

    Raise ValueError if the gradient does not reach the pixels.
    """
    # `area` [H, W] is 1 where pixels may change
    area, change = pixels_of(free, pixels), torch.zeros_like(pixels)
    wanted = torch.tensor([target], device=pixels.device)
    for _ in range(steps):
        given = (pixels + change).requires_grad_()
        with torch.enable_grad():
            scores, logits = scores_and_logits(model, ids, given, stage)
            # logarithms: what counts is how many times the free cells draw what the evidence does
            logs = scores.clamp(min=1e-9).log()
            # the last term keeps the model's own answer: only what is dropped is to change
            loss = logs[list(evidence)].mean() - logs[free].mean() + torch.nn.functional.cross_entropy(logits, wanted)
            if not loss.requires_grad:
                raise ValueError(f"{model.name}: no gradient reaches the pixels through this model's vision tower")
            # only the pixels' gradient is made, none of a weight
            loss.backward(inputs=[given])
        assert given.grad is not None
        # the sign alone, as in projected gradient descent under a bound on the largest change
        change = within(change - size / PULL * given.grad.sign() * area, pixels, size)
    return pixels + change


def noise(pixels: Tensor, free: Tensor, *, size: float, seed: int) -> Tensor:
    """Return pixels with a random change of `size` up or down in the cells `free` [N]."""
    # drawn on the processor, so that every device gets the same noise
    drawn = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed)).to(pixels)
    return pixels + within((drawn - 0.5).sign() * size * pixels_of(free, pixels), pixels, size)


def within(change: Tensor, pixels: Tensor, size: float) -> Tensor:
    """Return a change of pixels of at most `size` that stays between the darkest and the brightest value of the picture."""
    changed = (pixels + change.clamp(-size, size)).clamp(float(pixels.min()), float(pixels.max()))
    return changed - pixels


def pixels_of(cells: Tensor, pixels: Tensor) -> Tensor:
    """Return where some cells [N] of a square grid lie in pixels [1, 3, H, W], as 1 and 0 [H, W]."""
    side = round(len(cells) ** 0.5)
    height, width = (length // side for length in pixels.shape[-2:])
    grid = cells.view(side, side).to(pixels)
    return grid.repeat_interleave(height, dim=0).repeat_interleave(width, dim=1)
