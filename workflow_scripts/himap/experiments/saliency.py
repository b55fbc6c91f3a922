"""Saliency of attention, layer by layer: how much each flow between token groups matters for the answer.

Two definitions, per head h with weights A and G = dL/dA: `paper` |sum_h A*G| (Eq. 1), and `released` mean_h |A*A*G|,
since the released code multiplies A with the gradient of a mask of ones on A, which is A*G already. Both are summed
over the nine blocks (query group x key group), from which every share of the paper follows. The loss is the
cross-entropy of the next token against a target id.

The backward pass goes layer by layer from stored layer inputs, all in fp32: one layer's map is in memory at a time,
a few heads of it at once, and no gradient of a weight is ever made. Autograd over the whole model would hold
the maps [heads, T, T] of all layers at once.

    found = saliency(model, prompt, target)  # prompt: Rows of one sample, target: a token id
    found.block("paper", "instruction", "image")  # [layers], how much image tokens tell the instruction
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.attention import attend, attention_weights, share_heads, visible
from himap.decoder.cache import Cache
from himap.decoder.cross import CrossLayer, attend_to_some
from himap.decoder.loop import Intervention, finish, forward, project
from himap.decoder.tokens import GROUPS, IMAGE, INSTRUCTION, SYSTEM

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows
    from himap.experiments.cut_runs import Undisturbed
    from himap.models.model import Model

DEFINITIONS = ("paper", "released")
ATTENTION = "attention"  # a further map, mean_h A: what is looked at, whether it matters or not
MAP_ELEMENTS = 1 << 22  # weights of a layer's map in memory at a time: 16 MB in fp32


@dataclass
class Saliency:
    """Sums over the blocks of one prompt's maps; groups are in the order system, image, instruction."""

    blocks: dict[str, Tensor]  # by definition: [layers, 3 query groups, 3 key groups]
    sizes: Tensor  # [3] tokens per group
    target: int

    def rows(self, definition: str) -> Tensor:
        """Return the flow into each group [layers, 3], per token of the group: the released code's modality shares."""
        return self.blocks[definition].sum(dim=2) / self.sizes.clamp(min=1)

    def columns(self, definition: str) -> Tensor:
        """Return the flow out of each group [layers, 3], per token of the group: the paper's Eqs. 2 to 4."""
        return self.blocks[definition].sum(dim=1) / self.sizes.clamp(min=1)

    def block(self, definition: str, query: str, key: str) -> Tensor:
        """Return the sum [layers] of one block, e.g. S_vv = block('paper', 'image', 'image')."""
        names = list(GROUPS)
        return self.blocks[definition][:, names.index(query), names.index(key)]


class Inputs(Intervention):
    """Keeps each layer's input [1, T, D]; from it a layer can be run again without the layers below it."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        self.hidden.append(rows.hidden)
        return None


def saliency(model: Model, prompt: Rows, target: int, definitions: tuple[str, ...] = DEFINITIONS) -> Saliency:
    """Return the saliency of one prompt for one next token."""
    return sums_of(prompt, target, layer_maps(model, prompt, target, definitions), definitions)


def saliency_of_run(model: Model, clean: Undisturbed, definitions: tuple[str, ...] = DEFINITIONS) -> Saliency:
    """Return the saliency of a prompt that has been run already, for the token that the run emitted."""
    prompt, target = clean.prompt, clean.ids[0]
    inputs = [clean.entering[layer].hidden for layer in range(len(model.layers))]
    gradient = _output_gradient(model, clean.leaving.hidden, target)
    return sums_of(prompt, target, maps_below(model, prompt, inputs, gradient, definitions), definitions)


def sums_of(
    prompt: Rows, target: int, layers: Iterable[tuple[Rows, dict[str, Tensor]]], definitions: tuple[str, ...]
) -> Saliency:
    """Return the sums over groups of tokens of each layer's maps, which come from the last layer to the first."""
    groups = group_masks(prompt)
    sizes = group_masks(prompt.joined()).sum(dim=1).cpu()
    sums: dict[str, list[Tensor]] = {name: [] for name in definitions}
    for keys, maps in layers:
        for name in definitions:
            # popped, so that only one layer's map is in memory
            sums[name].append(groups @ maps.pop(name) @ group_masks(keys).T)  # [3, T] [T, K] [K, 3]
    blocks = {name: torch.stack(parts[::-1]).cpu() for name, parts in sums.items()}  # layers came last to first
    return Saliency(blocks, sizes, target)


def group_masks(prompt: Rows) -> Tensor:
    """Return which tokens of one prompt are system, image, instruction, as numbers [3, T]."""
    return torch.stack([prompt.groups[0] == kind for kind in (SYSTEM, IMAGE, INSTRUCTION)]).float()


def layer_maps(
    model: Model, prompt: Rows, target: int, kinds: tuple[str, ...]
) -> Generator[tuple[Rows, dict[str, Tensor]], None, Tensor]:
    """Yield the keys of each layer and its maps [T, K], the last layer first; kinds are definitions of saliency, and `attention`.

    The keys are the prompt's own rows, or its picture tokens in a layer of cross-attention.
    """
    if prompt.positions.shape[0] != 1 or not prompt.dense:
        raise ValueError("saliency takes one prompt at a time")
    if not 0 <= target < model.dims.vocab:
        raise ValueError(f"target: {target} is no token id; allowed: 0 to {model.dims.vocab - 1}")
    inputs = Inputs()
    with torch.no_grad():
        out = forward(model, prompt, Cache(), [inputs])
    return (yield from maps_below(model, prompt, inputs.hidden, _output_gradient(model, out.hidden, target), kinds))


def input_gradient(model: Model, prompt: Rows, target: int) -> Tensor:
    """Return dL/dh [1, T, D] at the first layer's input."""
    layers = layer_maps(model, prompt, target, ())
    while True:
        try:
            next(layers)
        except StopIteration as end:
            return end.value


def maps_below(
    model: Model, prompt: Rows, inputs: list[Tensor], gradient: Tensor, kinds: tuple[str, ...]
) -> Generator[tuple[Rows, dict[str, Tensor]], None, Tensor]:
    """Yield the keys and maps of each layer from its input and the gradient [1, T, D] at the last one's output.

    The list of inputs is used up. The value of the generator is the gradient at the first layer's input.
    """
    for index in reversed(range(len(model.layers))):
        # popped, so that a layer's input is freed once it is used
        entering = prompt.with_hidden(inputs.pop().float())
        keys = prompt.memory if index in model.dims.cross and prompt.memory is not None else prompt
        gradient, maps = _layer_backward(model, index, entering, gradient, kinds)
        yield keys, maps
    return gradient


def in_fp32(layer: Any) -> Any:
    """Return the layer itself if it is fp32 already, else a copy of this one layer: products of gradients need the precision."""
    return layer if next(layer.parameters()).dtype == torch.float32 else copy.deepcopy(layer).float()


def _output_gradient(model: Model, hidden: Tensor, target: int) -> Tensor:
    """Return dL/dh [1, T, D] at the last layer's output: only the last token's row is not zero."""
    last = hidden[:, -1:].detach().float().requires_grad_()
    with torch.enable_grad():
        logits = in_fp32(model.head)(in_fp32(model.norm)(last))[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([target], device=hidden.device))
    gradient = torch.zeros_like(hidden, dtype=torch.float32)
    # the loss is that of the last token, and norm and head mix no rows
    gradient[:, -1:] = torch.autograd.grad(loss, last)[0]
    return gradient


def _layer_backward(
    model: Model,
    index: int,
    rows: Rows,
    gradient: Tensor,
    kinds: tuple[str, ...],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the gradient at a layer's input from that at its output, and the layer's maps [T, T].

    What the model adds after the layer (`Rows.deep`) depends on no hidden state, so the gradient passes it unchanged.
    """
    # a copy of one layer at a time: a whole model in fp32 would take twice its memory
    layer = in_fp32(model.layers[index])
    kind = "sdpa" if model.attention == "flash" else model.attention  # flash knows no fp32
    if isinstance(layer, CrossLayer):
        return _cross_backward(layer, rows, gradient, kinds, kind)
    scale, rotary = layer.self_attn.scaling, model.angles(rows, index)
    seen = visible(rows, rows.positions, rows.groups, model.window(index))
    mask = None if rows.run is None and model.window(index) is None else seen  # without a mask the kernel is faster
    with torch.enable_grad():
        hidden = rows.hidden.detach().requires_grad_()
        queries, keys, values = project(layer, layer.input_layernorm(hidden), rotary)
        attended = attend(queries, keys, values, scale=scale, mask=mask, causal=mask is None, kind=kind)
        output = finish(layer, rows.with_hidden(hidden), attended)
        # dL/dh at the layer's input, and dL/dO at its attention output, from which the maps follow without autograd
        below, upstream = torch.autograd.grad(output, (hidden, attended), gradient)
    with torch.no_grad():
        maps = _maps(queries.detach(), keys.detach(), values.detach(), upstream, scale, seen, kinds)
    return below, maps


def _cross_backward(
    layer: CrossLayer, rows: Rows, gradient: Tensor, kinds: tuple[str, ...], kind: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the same for a layer of cross-attention, with maps [T, M] of rows and picture tokens."""
    pictures = rows.memory
    assert pictures is not None
    seen = layer.sees(rows.positions, rows.groups, pictures)
    with torch.enable_grad():
        hidden = rows.hidden.detach().requires_grad_()
        queries = layer.queries(layer.input_layernorm(hidden))
        keys, values = layer.look_at(pictures.hidden.float())
        attended = attend_to_some(queries, keys, values, seen, layer.scaling, kind)
        output = finish(layer, rows.with_hidden(hidden), attended)
        below, upstream = torch.autograd.grad(output, (hidden, attended), gradient)
    nothing = ~seen.any(dim=2)  # [1, T]
    with torch.no_grad():
        maps = _maps(queries.detach(), keys, values, upstream, layer.scaling, seen | nothing[:, :, None], kinds)
    return below, {name: part.masked_fill(nothing[0][:, None], 0.0) for name, part in maps.items()}


def _maps(
    queries: Tensor, keys: Tensor, values: Tensor, upstream: Tensor, scale: float, seen: Tensor, kinds: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return one layer's maps [T, T], a few heads at a time: A from queries and keys, dL/dA = dL/dO · Vᵀ."""
    if not kinds:
        return {}
    heads, length, width = queries.shape[1], queries.shape[2], keys.shape[2]
    keys, values = share_heads(keys, heads), share_heads(values, heads)
    total = {name: queries.new_zeros(length, width) for name in kinds}
    step = max(1, MAP_ELEMENTS // max(1, length * width))
    for begin in range(0, heads, step):
        part = slice(begin, begin + step)
        weights = attention_weights(queries[:, part], keys[:, part], scale, seen)[0]  # [h, T, K]
        if ATTENTION in kinds:
            total[ATTENTION] += weights.sum(dim=0)
        # in place from here on: a second buffer of this size would halve the heads that fit
        product = (upstream[0, part] @ values[0, part].transpose(-1, -2)).mul_(weights)  # A * dL/dA
        if "paper" in kinds:
            total["paper"] += product.sum(dim=0)
        if "released" in kinds:
            total["released"] += product.mul_(weights).abs_().sum(dim=0)
    if "paper" in kinds:
        total["paper"].abs_()  # only now, over the sum of all heads: Eq. 1 takes the absolute value outside
    for name in {"released", ATTENTION} & set(kinds):
        # means over heads, where the paper's definition is a sum
        total[name] /= heads
    return total
