"""Stages at work: the intervention that scores image tokens at chosen layers and drops the lowest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.costs.formulas import keep_count
from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.pruning.criteria import View, get

if TYPE_CHECKING:
    from himap.models.model import Model


class Pruning(Intervention):
    """Drops image tokens before the layers of its stages; remembers which were kept at the first prefill."""

    def __init__(self, model: Model, stages: Sequence[dict[str, Any]], prompt: Rows, seeds: Sequence[int]):
        self.model = model
        self.stages = {stage["layer"]: stage for stage in stages}
        self.criteria = {layer: get(stage["criterion"]) for layer, stage in self.stages.items()}
        self.seeds = list(seeds)
        self.image_tokens: list[int] = (prompt.groups == IMAGE).sum(dim=1).tolist()
        self.kept: dict[int, list[list[int]]] = {}

    def wants_attention(self, layer: int) -> bool:
        return layer in self.criteria and self.criteria[layer].needs_attention

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        is_image = rows.groups == IMAGE
        if layer not in self.stages or rows.hidden.shape[1] == 1:
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
        scores = self.criteria[layer].score(view)
        keep = ~is_image | highest(scores, is_image, self._counts(layer))
        if layer not in self.kept:
            self.kept[layer] = [row[k & i].tolist() for row, k, i in zip(rows.image_index, keep, is_image, strict=True)]
        return keep

    def _counts(self, layer: int) -> list[int]:
        return [keep_count(self.stages[layer]["keep"], total) for total in self.image_tokens]

    def _loss_gradient(self, layer: int, rows: Rows) -> Callable[[], Tensor]:
        """The gradient criterion's backward pass: from the model's own next token to the hidden states entering `layer`."""

        def gradient() -> Tensor:
            with torch.enable_grad():
                hidden = rows.hidden.detach().requires_grad_()
                out = forward(self.model, rows.with_hidden(hidden), Cache(), start=layer)
                logits = next_token_logits(self.model, out)
                loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=-1), reduction="sum")
                loss.backward(inputs=[hidden])  # not autograd.grad, which an operation counter around it cannot follow
            assert hidden.grad is not None
            return hidden.grad

        return gradient


def highest(scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
    """Mask [B, T] of the `counts` highest scores among the chosen tokens of each sample; the earlier one wins a tie."""
    order = scores.masked_fill(~among, float("-inf")).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return among & (rank < torch.tensor(counts, device=scores.device)[:, None])
