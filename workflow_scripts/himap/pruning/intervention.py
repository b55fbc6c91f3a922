"""A schedule's stages as an intervention on the decoder loop.

Before the layer of a stage runs, `Pruning` scores the image tokens that are left and drops all but the highest; tokens
of text always stay. The loop computes the attention of the layer below only where a criterion asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.costs.formulas import keep_count
from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.pruning.criteria import View, get
from himap.pruning.stage import Stage

if TYPE_CHECKING:
    from himap.models.model import Model


class Pruning(Intervention):
    """Drops image tokens before the layers of its stages; remembers which were kept at the first prefill."""

    def __init__(self, model: Model, stages: Sequence[Stage], prompt: Rows, seeds: Sequence[int]):
        self.model = model
        self.stages = {stage.layer: stage for stage in stages}
        self.criteria = {layer: get(stage.criterion) for layer, stage in self.stages.items()}
        self.seeds = list(seeds)
        # counted here, since shares are of the original tokens and later rows no longer have them all
        self.image_tokens: list[int] = (prompt.groups == IMAGE).sum(dim=1).tolist()
        self.kept: dict[int, list[list[int]]] = {}  # by layer: per sample, indices of its image tokens

    def of(self, samples: Sequence[int]) -> Pruning:
        """Return the pruning of only some of the batch's samples; what was kept stays noted for the whole batch."""
        part = copy(self)
        part.seeds, part.image_tokens = ([values[b] for b in samples] for values in (self.seeds, self.image_tokens))
        return part

    def wants_attention(self, layer: int) -> bool:
        """Return whether a stage at this layer scores tokens by the attention of the layer below."""
        return layer in self.criteria and self.criteria[layer].needs_attention

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        """Return which rows [B, T] go on: text, and the image tokens with the highest scores."""
        is_image = rows.groups == IMAGE  # [B, T]
        if layer not in self.stages or rows.hidden.shape[1] == 1:  # a decoding step has no image token to drop
            return None
        view = View(
            layer=layer,
            rows=rows,
            attention=below,
            is_image=is_image,
            is_instruction=rows.groups == INSTRUCTION,
            seeds=self.seeds,
            grid=self.model.dims.grid,
            image_tokens=self.image_tokens,
            loss_gradient=self._loss_gradient(layer, rows),
        )
        scores = self.criteria[layer].score(view)  # [B, T]
        keep = ~is_image | highest(scores, is_image, self._counts(layer))  # [B, T]
        if layer not in self.kept:  # with `rerank`, later passes choose again; what is reported is the prompt's choice
            self.kept[layer] = [row[k & i].tolist() for row, k, i in zip(rows.image_index, keep, is_image, strict=True)]
        return keep

    def _counts(self, layer: int) -> list[int]:
        return [keep_count(self.stages[layer].keep, total) for total in self.image_tokens]

    def _loss_gradient(self, layer: int, rows: Rows) -> Callable[[], Tensor]:
        """Return the gradient criterion's backward pass, from the model's own next token to the states entering `layer`.

        It is a function, so that only the criterion that calls it pays for it.
        """

        def gradient() -> Tensor:
            with torch.enable_grad():
                hidden = rows.hidden.detach().requires_grad_()  # [B, T, D]
                out = forward(self.model, rows.with_hidden(hidden), Cache(), start=layer)
                logits = next_token_logits(self.model, out)  # [B, vocabulary]
                # a sum: a mean would make a sample's gradient depend on how many others are in its batch
                loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=-1), reduction="sum")
                loss.backward(inputs=[hidden])  # not autograd.grad, which an operation counter around it cannot follow
            assert hidden.grad is not None
            return hidden.grad

        return gradient


def highest(scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
    """Return a mask [B, T] of each sample's `counts` highest scores in `among` [B, T]; the earlier token wins a tie."""
    # stable, so that ties fall alike on every device and in every batch; topk promises no order among equals
    order = scores.masked_fill(~among, float("-inf")).argsort(dim=1, descending=True, stable=True)  # [B, T]
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)  # the inverse permutation: each token's place
    return among & (rank < torch.tensor(counts, device=scores.device)[:, None])
