"""The released code's way of computing, written for this project, as the naive arm of `bench`. Nothing else uses it.

It has eager attention that returns the maps of all layers; no cache, so every generated token runs the vision tower and
the whole text again; logits at every position; one forward pass per layer and flow of a sweep; and saliency by one
backward pass through the maps of all layers, with gradients of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.attention import attention_weights, share_heads
from himap.decoder.loop import finish, project
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows, join_rows, new_rows
from himap.experiments.disruption import Cut, Disruption

if TYPE_CHECKING:
    from himap.models.model import Model


def run_text(
    model: Model,
    rows: Rows,
    *,
    ranks: Sequence[tuple[int, int]] = (),
    disruption: Disruption | None = None,
    ones: bool = False,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return logits [1, T, vocabulary], the maps of all layers [1, H, T, T], and with `ones` the masks multiplied into them.

    `ranks` has (layer, count) of two pruning stages: by attention from instruction tokens, then from image tokens. The
    released saliency is the gradient of masks of ones.
    """
    maps: list[Tensor] = []
    masks: list[Tensor] = []
    for index, layer in enumerate(model.layers):
        for number, (stage, count) in enumerate(ranks):
            if index == stage:
                # Ranked by the attention of the layer below.
                rows = _prune(rows, maps[-1], count, by=INSTRUCTION if number == 0 else IMAGE)
        length = rows.hidden.shape[1]
        rotary = model.angles(rows, index)
        # [1, H, T, h]; fewer heads of keys where they are shared.
        queries, keys, values = project(layer, layer.input_layernorm(rows.hidden), rotary)
        keys, values = share_heads(keys, queries.shape[1]), share_heads(values, queries.shape[1])
        seen = torch.ones(1, length, length, dtype=torch.bool, device=keys.device).tril()  # causal, [1, T, T]
        cut = disruption.cut(index, rows, rows.positions, rows.groups) if disruption else None
        # [1, H, T, T] of every layer: the memory that ours avoids.
        weights = attention_weights(queries, keys, layer.self_attn.scaling, seen if cut is None else seen & ~cut)
        weights = weights.to(values.dtype)
        if ones:
            masks.append(torch.ones_like(weights, requires_grad=True))
            # Times one changes nothing, but the gradient of these ones is what the release calls the gradient of the map.
            weights = weights * masks[-1]
        maps.append(weights)
        rows = rows.with_hidden(finish(layer, rows, weights @ values))
    return model.head(model.norm(rows.hidden)).float(), maps, masks


def _prune(rows: Rows, attention: Tensor, count: int, by: int) -> Rows:
    """Keep the `count` image tokens that receive the most attention from the tokens of one group."""
    is_image = rows.groups == IMAGE
    # Mean over heads, sum over the asking rows: [1, T].
    received = (attention.mean(dim=1) * (rows.groups == by)[:, :, None]).sum(dim=1)
    best = received.masked_fill(~is_image, float("-inf")).topk(count, dim=1).indices
    keep = ~is_image  # text always stays
    keep[0, best[0]] = True
    return rows.select(keep)


@torch.no_grad()
def answer(model: Model, ids: list[int], pixels: Tensor, new_tokens: int, **how: Any) -> list[int]:
    """Return greedy tokens without a cache: each runs tower, projector and the whole text."""
    generated: list[int] = []
    for _ in range(new_tokens):  # no cache: token n costs as much as the whole prompt
        rows = model.embed([ids], [model.encode_images(pixels)])
        if generated:
            tokens = torch.tensor([generated], device=rows.hidden.device)
            # Counted on after the prompt.
            positions = rows.positions[:, -1:] + 1 + torch.arange(len(generated), device=tokens.device)[None]
            rows = join_rows(rows, new_rows(model.embed_tokens(tokens), positions, rows))
        # Logits of all rows, of which one is read.
        generated.append(int(run_text(model, rows, **how)[0][0, -1].argmax()))
    return generated


def disrupted_answer(
    model: Model, ids: list[int], pixels: Tensor, prompt: Rows, cut: Cut, new_tokens: int
) -> list[int]:
    """Return the answer of one run of a sweep: one layer, one flow."""
    return answer(model, ids, pixels, new_tokens, disruption=Disruption([cut], prompt, [0]))


def saliency(model: Model, rows: Rows, target: int) -> list[Tensor]:
    """Return the released saliency maps of all layers [H, T, T]: |A · gradient of the mask of ones|."""
    # As in the release, although only maps are asked for: that is the memory which the comparison is about.
    model.module.requires_grad_(True)
    model.module.zero_grad()  # gradients of an earlier call would add up
    logits, maps, masks = run_text(model, rows, ones=True)
    torch.nn.functional.cross_entropy(logits[:, -1], torch.tensor([target], device=logits.device)).backward()
    salient = [(a * mask.grad).detach().abs()[0] for a, mask in zip(maps, masks, strict=True) if mask.grad is not None]
    model.module.zero_grad()
    model.module.requires_grad_(False)
    return salient
