"""Cutting attention paths at chosen layers: what an answer loses with a path is what flowed through it.

    clean = run_undisturbed(model, prompt, new_tokens=8)
    for outcome in sweep(model, clean, range(32), ["img2txt", "random"], ["single", "suffix"]): ...

Flows: `img2txt` (instruction tokens see no image token), `img2img` (image tokens see no image token, themselves
included), `img2alltxt` (no token of text does: the marks around a picture too, which could hand it on, and where they see
it, the words before it), `random` (as many causal pairs as img2txt, drawn among all rows from the first image token on),
`random_img2img` (as many as img2img), `random_unmatched` (the released control: as many random rows as there are
instruction tokens, which cuts about half as many pairs). A generated token is a row of its own: img2txt takes all image
tokens from it, so `random` does too, `random_unmatched` as often as from any other row. Extents: `single` (that layer),
`suffix` (that layer and all after it: what the released code does), `prefix` (all layers below it, so that what
is cut may be seen only from that layer on), `window` (that layer and the next ones).

In a model whose text looks at image tokens by cross-attention, cuts take pairs of rows and image tokens in those layers;
between image tokens nothing flows there, and img2img cuts nothing.

A cut may spare some image tokens, such as those that the question is about: a control that takes nearly as many pairs.

Each cut runs from the layer and the row on that it can change; all before that is shared with the clean run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention, visible
from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, PADDING, Rows
from himap.experiments.concluding import likeliest
from himap.registry import unknown

if TYPE_CHECKING:
    from himap.models.model import Model

FLOWS = ("img2txt", "img2img", "img2alltxt", "random", "random_img2img", "random_unmatched")
EXTENTS = ("single", "suffix", "prefix", "window")
BLOCKS = ("pre", "post")  # before the softmax, so that the rest renormalizes, or after it (A = 0)


@dataclass(frozen=True)
class Cut:
    """One flow, cut in the layers first … last."""

    flow: str
    first: int
    last: int
    spared: tuple[int, ...] = ()  # image tokens, counted over all pictures of the prompt, that stay to be seen


def make_cut(flow: str, layer: int, extent: str, layers: int, window: int = 5) -> Cut:
    """Return the cut that these names describe; raise ValueError for an unknown name or a layer the model does not have."""
    if flow not in FLOWS:
        raise unknown("flow", flow, FLOWS)
    if extent not in EXTENTS:
        raise unknown("extent", extent, EXTENTS)
    if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < layers:
        raise ValueError(
            f"layer: {layer!r} is no layer to disrupt; allowed: 0 to {layers - 1} (the model has {layers})"
        )
    if extent == "window" and (not isinstance(window, int) or window < 1):
        raise ValueError(f"window: {window!r} is no number of layers; at least 1")
    last = {"single": layer, "suffix": layers - 1, "prefix": layer - 1, "window": min(layers, layer + window) - 1}[
        extent
    ]
    return Cut(flow, 0 if extent == "prefix" else layer, last)


class Disruption(Intervention):
    """Blocks the pairs of one cut per sample of the batch, before the softmax or after it."""

    def __init__(self, cuts: Sequence[Cut], prompt: Rows, seeds: Sequence[int], block: str = "pre"):
        if block not in BLOCKS:
            raise unknown("block", block, BLOCKS)
        self.cuts, self.seeds = list(cuts), list(seeds)
        self.after_softmax = block == "post"
        self.in_sequence = prompt.memory is None
        self.chances = [_share_of_rows(_looking(prompt, b)) for b in range(len(prompt.groups))]
        self.spared = [_spared_keys(prompt, b, cut) for b, cut in enumerate(cuts)]
        # drawn once from the prompt: a cut must block the same pairs at every layer and in every decoding step
        self.drawn = [_draw(prompt, b, cut, seed) for b, (cut, seed) in enumerate(zip(cuts, seeds, strict=True))]

    def cut(self, layer: int, rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor | None:
        """Return the pairs [B, Tq, Tk] that the batch's cuts block in this layer."""
        if not any(cut.first <= layer <= cut.last for cut in self.cuts):
            return None
        pairs = torch.zeros(*rows.groups.shape, key_groups.shape[1], dtype=torch.bool, device=key_groups.device)
        for b, cut in enumerate(self.cuts):
            if cut.first <= layer <= cut.last:
                pairs[b] = self._pairs(b, cut.flow, rows, key_positions[b], key_groups[b])
                if cut.spared:
                    pairs[b] &= ~torch.isin(self._keys(key_positions[b]), self.spared[b])
        return pairs

    def _keys(self, key_positions: Tensor) -> Tensor:
        """Return by what keys [Tk] are known: their position, or beside the sequence, where they have none, their column.

        A sweep drops no picture token, so columns count them.
        """
        return key_positions if self.in_sequence else torch.arange(len(key_positions), device=key_positions.device)

    def _pairs(self, b: int, flow: str, rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor:
        """Return the pairs [Tq, Tk] that one sample's flow blocks among these rows and keys."""
        if not bool((key_groups == IMAGE).any()):  # as in a layer that looks at no picture
            return torch.zeros(rows.groups.shape[1], len(key_groups), dtype=torch.bool, device=key_groups.device)
        if not flow.startswith("random"):
            return receivers(flow, rows.groups[b])[:, None] & (key_groups == IMAGE)[None, :]
        drawn = self.drawn[b]
        assert drawn is not None
        # pairs are drawn by position, since the rows of a resumed run or a decoding step are only some of the prompt's
        in_prompt = rows.positions[b] < drawn.shape[0]  # [Tq]; a generated token was not there when pairs were drawn
        if flow != "random_img2img":  # img2img leaves generated tokens alone, since none of them is an image token
            later = self._later(b, flow, rows.positions[b])[:, None] & (key_groups == IMAGE)[None, :]
        else:
            later = torch.zeros_like(in_prompt)[:, None]
        queries = rows.positions[b].clamp(0, drawn.shape[0] - 1)
        keys = self._keys(key_positions).clamp(0, drawn.shape[1] - 1)
        real = (rows.groups[b] != PADDING)[:, None] & (key_groups == IMAGE)[None, :]  # [Tq, Tk]
        return ((drawn[queries][:, keys] & in_prompt[:, None]) | (later & ~in_prompt[:, None])) & real

    def _later(self, b: int, flow: str, positions: Tensor) -> Tensor:
        """Return which rows [Tq] are cut off from the image if they were generated: all that a matched control must take."""
        if flow == "random":  # a row sees every image token, so only all of them are as many as img2txt cuts
            return torch.ones_like(positions, dtype=torch.bool)
        chance = self.chances[b]
        return torch.tensor(
            [_drawn_later(self.seeds[b], p, chance) for p in positions.tolist()], device=positions.device
        )


def receivers(flow: str, groups: Tensor) -> Tensor:
    """Return which rows a flow cuts off from the image tokens, by the rows' groups."""
    if flow == "img2alltxt":
        return (groups != IMAGE) & (groups != PADDING)
    return groups == (INSTRUCTION if flow == "img2txt" else IMAGE)


def _spared_keys(prompt: Rows, b: int, cut: Cut) -> Tensor:
    """Return by what keys the image tokens are known that a cut spares."""
    index = (prompt if prompt.memory is None else prompt.memory).image_index[b]
    is_spared = torch.isin(index, torch.tensor(cut.spared, dtype=index.dtype, device=index.device))
    return prompt.positions[b][is_spared] if prompt.memory is None else is_spared.nonzero()[:, 0]


def _looking(prompt: Rows, b: int) -> Tensor:
    """Return the groups of a sample's rows from the first one on that sees an image token."""
    return prompt.groups[b, first_that_sees(prompt, b) :]


def first_that_sees(prompt: Rows, b: int) -> int:
    """Return the first of a sample's rows that sees an image token: this token itself, or where a picture is looked at from."""
    if prompt.memory is None:
        return int((prompt.groups[b] == IMAGE).nonzero()[0])
    first = prompt.memory.positions[b][prompt.memory.groups[b] == IMAGE].min()
    return int((prompt.positions[b] >= first).nonzero()[0])


def _share_of_rows(groups: Tensor) -> float:
    """Return the share of the rows that see image tokens which `random_unmatched` draws."""
    return int((groups == INSTRUCTION).sum()) / len(groups)


def _drawn_later(seed: int, position: int, chance: float) -> bool:
    """Return whether a generated token at a position is drawn; the same in every batch and at every layer."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + 7_919 * max(0, position)) % (1 << 63))
    return bool(torch.rand(1, generator=generator) < chance)


def _draw(prompt: Rows, b: int, cut: Cut, seed: int) -> Tensor | None:
    """Draw the random pairs [P, K] of a control, by position in the prompt; None for the flows that draw nothing."""
    if not cut.flow.startswith("random"):
        return None
    alone, groups = prompt.sample(b), prompt.groups[b]
    kinds = groups[groups != PADDING].cpu()  # [P]
    sees = _image_pairs(alone).cpu()[-len(kinds) :]  # [P, K]
    # on the processor, so that every device draws the same; a prime keeps seeds and layers from falling together
    generator = torch.Generator().manual_seed((seed * 1_000_003 + cut.first) % (1 << 63))
    is_image, is_instruction = kinds == IMAGE, kinds == INSTRUCTION  # [P]
    first = int(sees.any(dim=1).nonzero()[0])
    order = torch.randperm(len(kinds) - first, generator=generator) + first  # rows before an image see none of it
    if cut.flow == "random_unmatched":
        chosen = torch.zeros_like(is_image)
        chosen[order[: int(is_instruction.sum())]] = True
        return (sees & chosen[:, None]).to(groups.device)
    receiver = is_image if cut.flow == "random_img2img" else is_instruction
    return _matched(sees, order, int((sees & receiver[:, None]).sum()), generator).to(groups.device)


def _image_pairs(alone: Rows) -> Tensor:
    """Return which tokens of one prompt see which image tokens [T, K], among its rows or beside them; other keys are not seen."""
    if alone.memory is None:
        rows = alone.after(int((alone.groups[0] != PADDING).nonzero()[0]))
        return visible(rows, rows.positions, rows.groups)[0] & (rows.groups[0] == IMAGE)[None, :]
    pictures = alone.memory
    assert pictures.until is not None
    places = alone.positions[0][:, None]
    return (pictures.positions <= places) & (places < pictures.until) & (pictures.groups == IMAGE)


def _matched(sees: Tensor, order: Tensor, target: int, generator: torch.Generator) -> Tensor:
    """Return pairs [P, P]: whole rows in a random order up to `target` pairs, and of the last row only the missing ones."""
    counts = sees.sum(dim=1)[order]  # pairs of each row
    whole = int((counts.cumsum(0) <= target).sum())
    pairs = torch.zeros_like(sees)
    pairs[order[:whole]] = sees[order[:whole]]
    missing = target - int(pairs.sum())
    if missing:
        row = order[whole]
        keys = sees[row].nonzero()[:, 0]
        pairs[row, keys[torch.randperm(len(keys), generator=generator)[:missing]]] = True
    return pairs


class _Recorder(Intervention):
    """Keeps the hidden states that enter each layer."""

    def __init__(self) -> None:
        self.entering: dict[int, Rows] = {}

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        self.entering[layer] = rows
        return None


@dataclass
class Undisturbed:
    """A clean run of one prompt, with everything that a disturbed run takes over from it."""

    prompt: Rows  # of one sample
    entering: dict[int, Rows]  # by layer: the rows as they enter it
    leaving: Rows  # the last layer
    cache: Cache
    logits: Tensor  # [1, vocabulary]
    ids: list[int]
    choices: Sequence[str] = ()  # whose likeliest is the answer; without any, tokens are generated


@torch.no_grad()
def run_undisturbed(model: Model, prompt: Rows, new_tokens: int, choices: Sequence[str] = ()) -> Undisturbed:
    """Run one prompt without a cut and keep what a sweep starts from; its answer is of the kind that the evaluation measures."""
    if prompt.positions.shape[0] != 1 or not prompt.dense:
        raise ValueError("a sweep takes one prompt at a time; its variants are the batch")
    recorder, cache = _Recorder(), Cache()
    leaving = forward(model, prompt, cache, [recorder])
    logits = next_token_logits(model, leaving)
    length = prompt.positions.shape[1]
    # the answer extends copies: the prompt's own cache is shared by all disturbed runs
    answering = Cache(new_tokens, {index: layer.prefix(length, 1) for index, layer in cache.layers.items()})
    if choices:
        ids = model.answer_ids(likeliest(model, prompt, answering, logits, choices, 0))
    else:
        ids = continue_greedily(model, prompt, answering, logits, new_tokens).ids[0]
    return Undisturbed(prompt, recorder.entering, leaving, cache, logits, ids, choices)


@dataclass(frozen=True)
class Outcome:
    """The answer of one disturbed run."""

    layer: int
    flow: str
    extent: str
    logits: Tensor  # [vocabulary] of the first generated token
    ids: list[int]


@torch.no_grad()
def sweep(
    model: Model,
    clean: Undisturbed,
    layers: Sequence[int],
    flows: Sequence[str],
    extents: Sequence[str],
    *,
    window: int = 5,
    block: str = "pre",
    new_tokens: int = 2,
    seed: int = 0,
) -> Iterator[Outcome]:
    """Yield the outcomes of one prompt with a cut at every layer, for every flow and extent."""
    for layer in layers:
        named = [(flow, extent) for flow in flows for extent in extents]
        cuts = [make_cut(flow, layer, extent, len(model.layers), window) for flow, extent in named]
        for number, logits, ids in run_cuts(model, clean, cuts, block=block, new_tokens=new_tokens, seed=seed):
            yield Outcome(layer, *named[number], logits, ids)


@torch.no_grad()
def run_cuts(
    model: Model, clean: Undisturbed, cuts: Sequence[Cut], *, block: str = "pre", new_tokens: int = 2, seed: int = 0
) -> Iterator[tuple[int, Tensor, list[int]]]:
    """Yield the number of each cut with the logits [vocabulary] of the first generated token, and the answer.

    A cut that begins at layer l changes nothing below l, and nothing in the columns before the first row it touches: such a
    run starts at l from the clean hidden states of the rows it can reach and sees clean keys and values in front of them.
    Cuts that start at the same place are one batch.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for number, cut in enumerate(cuts):
        groups.setdefault((cut.first, _first_column(clean.prompt, cut)), []).append(number)
    for (first, column), members in groups.items():
        answers = _resume(model, clean, first, column, [cuts[n] for n in members], block, new_tokens, seed)
        for number, (logits, ids) in zip(members, answers, strict=True):
            yield number, logits, ids


def _first_column(prompt: Rows, cut: Cut) -> int:
    """Return the first token whose state a cut can change: the first that is cut off from an image token."""
    if cut.flow == "img2txt":
        return int((prompt.groups[0] == INSTRUCTION).nonzero()[0])
    first = first_that_sees(prompt, 0)
    if cut.flow == "img2alltxt":
        # beside the sequence, words before the picture may see it too (`CrossLayer.blind_see_all`)
        return (
            0 if prompt.memory is not None else int(receivers(cut.flow, prompt.groups[0])[first:].nonzero()[0]) + first
        )
    return first


def _resume(
    model: Model, clean: Undisturbed, layer: int, column: int, cuts: list[Cut], block: str, new_tokens: int, seed: int
) -> list[tuple[Tensor, list[int]]]:
    """Run a batch of cuts from `layer` and `column` on; return first logits and answer of each."""
    times, length = len(cuts), clean.prompt.positions.shape[1]
    prompt = clean.prompt.repeated(times)
    disruption = Disruption(cuts, prompt, [seed] * times, block)
    cache = Cache(new_tokens)
    for index in range(layer, len(model.layers)):  # what no cut can reach: the columns before the first one changed
        cache.layers[index] = clean.cache.layers[index].prefix(column, times)
    rows = forward(model, clean.entering[layer].after(column).repeated(times), cache, [disruption], start=layer)
    logits = next_token_logits(model, rows)
    # later tokens also attend to the prompt in the layers below, where nothing was cut
    if new_tokens > 1 or clean.choices:
        for index in range(layer):
            cache.layers[index] = clean.cache.layers[index].prefix(length, times)
    if clean.choices:
        alone = [[Disruption([cut], clean.prompt, [seed], block)] for cut in cuts]
        texts = [likeliest(model, rows, cache, logits, clean.choices, b, alone[b]) for b in range(times)]
        return list(zip(logits, map(model.answer_ids, texts), strict=True))
    answers = continue_greedily(model, rows, cache, logits, new_tokens, [disruption])
    return list(zip(logits, answers.ids, strict=True))


def top5_overlap(first: Tensor, second: Tensor) -> float:
    """Return the score consistency of two runs: Jaccard overlap of their five likeliest next tokens."""
    tokens, others = set(first.topk(5).indices.tolist()), set(second.topk(5).indices.tolist())
    return len(tokens & others) / len(tokens | others)
