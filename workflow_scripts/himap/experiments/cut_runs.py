"""Many cuts of one prompt (`disruption`): each runs from the layer and the row on that it can change, the rest is shared.

clean = run_undisturbed(model, prompt, new_tokens=8)
for outcome in sweep(model, clean, range(32), ["img2txt", "random"], ["single", "suffix"]): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import INSTRUCTION, Rows
from himap.experiments.concluding import likeliest
from himap.experiments.disruption import Cut, Disruption, first_that_sees, make_cut, receivers

if TYPE_CHECKING:
    from himap.models.model import Model

# Runs of a batch and tokens of all its prompts, at most: each run holds keys and values of its own, 0.5 MB for each token in
# a decoder of 7 billion parameters.
TOGETHER, TOKENS = 16, 12_000


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
    named = [(layer, flow, extent) for layer in layers for flow in flows for extent in extents]
    cuts = [make_cut(flow, layer, extent, len(model.layers), window) for layer, flow, extent in named]
    for number, logits, ids in run_cuts(model, clean, cuts, block=block, new_tokens=new_tokens, seed=seed):
        yield Outcome(*named[number], logits, ids)


@torch.no_grad()
def run_cuts(
    model: Model, clean: Undisturbed, cuts: Sequence[Cut], *, block: str = "pre", new_tokens: int = 2, seed: int = 0
) -> Iterator[tuple[int, Tensor, list[int]]]:
    """Yield the number of each cut with the logits [vocabulary] of the first generated token, and the answer.

    A cut that begins at layer l changes nothing below l, and nothing in the columns before the first row it touches: such a
    run starts at l from the clean hidden states of the rows it can reach and sees clean keys and values in front of them.
    Cuts that start at the same column are one batch, which each joins at its own layer.
    """
    groups: dict[int, list[int]] = {}
    for number in sorted(range(len(cuts)), key=lambda number: cuts[number].first):
        # Cuts that start at the same column have rows of the same shape.
        groups.setdefault(_first_column(clean.prompt, cuts[number]), []).append(number)
    size = max(1, min(TOGETHER, TOKENS // clean.prompt.positions.shape[1]))
    for column, members in groups.items():
        for begin in range(0, len(members), size):
            batch = members[begin : begin + size]
            answers = _resume(model, clean, column, [cuts[n] for n in batch], block, new_tokens, seed)
            for number, (logits, ids) in zip(batch, answers, strict=True):
                yield number, logits, ids


def _first_column(prompt: Rows, cut: Cut) -> int:
    """Return the first token whose state a cut can change: the first that is cut off from an image token."""
    if cut.flow == "img2txt":
        return int((prompt.groups[0] == INSTRUCTION).nonzero()[0])
    # rows before the picture see nothing that could be cut
    first = first_that_sees(prompt, 0)
    if cut.flow == "img2alltxt":
        # beside the sequence, words before the picture may see it too (`CrossLayer.blind_see_all`)
        return (
            0 if prompt.memory is not None else int(receivers(cut.flow, prompt.groups[0])[first:].nonzero()[0]) + first
        )
    return first


class _Joining(Intervention):
    """Lets each cut's run join the batch at the first layer that it changes, with the clean rows that enter it."""

    def __init__(self, clean: Undisturbed, column: int, firsts: Sequence[int], cache: Cache) -> None:
        self.clean, self.column, self.firsts, self.cache = clean, column, firsts, cache

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        begun, present = sum(first <= layer for first in self.firsts), len(rows.groups)
        # what no cut can reach: the columns before the first one changed
        self.cache.layers[layer] = self.clean.cache.layers[layer].prefix(self.column, begun)
        if begun == present:
            return rows
        entering = self.clean.entering[layer].after(self.column)
        # all are rows of one prompt, so only their hidden states differ
        joined = torch.cat([rows.hidden, entering.hidden.expand(begun - present, -1, -1)])
        return entering.repeated(begun).with_hidden(joined)


def _resume(
    model: Model, clean: Undisturbed, column: int, cuts: list[Cut], block: str, new_tokens: int, seed: int
) -> list[tuple[Tensor, list[int]]]:
    """Run a batch of cuts, sorted by their first layers, from `column` on; return first logits and answer of each."""
    times, length, firsts = len(cuts), clean.prompt.positions.shape[1], [cut.first for cut in cuts]
    disruption = Disruption(cuts, clean.prompt.repeated(times), [seed] * times, block)
    cache = Cache(new_tokens)
    joining = _Joining(clean, column, firsts, cache)
    rows = clean.entering[firsts[0]].after(column).repeated(firsts.count(firsts[0]))
    rows = forward(model, rows, cache, [joining, disruption], start=firsts[0], last_column=True)
    logits = next_token_logits(model, rows)
    # later tokens also attend to the prompt in the layers below each cut, where the run is the clean one
    if new_tokens > 1 or clean.choices:
        for index, layer in clean.cache.layers.items():
            begun = sum(first <= index for first in firsts)
            others = layer.prefix(length, times - begun)
            cache.layers[index] = cache.layers[index].beside(others) if begun else others
    if clean.choices:
        # likelihoods are computed for one row of the batch at a time, under that row's own cut
        alone = [[Disruption([cut], clean.prompt, [seed], block)] for cut in cuts]
        texts = [likeliest(model, rows, cache, logits, clean.choices, b, alone[b]) for b in range(times)]
        return list(zip(logits, map(model.answer_ids, texts), strict=True))
    answers = continue_greedily(model, rows, cache, logits, new_tokens, [disruption])
    return list(zip(logits, answers.ids, strict=True))


def top5_overlap(first: Tensor, second: Tensor) -> float:
    """Return the score consistency of two runs: Jaccard overlap of their five likeliest next tokens."""
    tokens, others = set(first.topk(5).indices.tolist()), set(second.topk(5).indices.tolist())
    return len(tokens & others) / len(tokens | others)
