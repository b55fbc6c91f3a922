"""Cutting attention paths at chosen layers: what an answer loses with a path is what flowed through it.

    generate(model, prompt, 8, [Disruption([make_cut("img2txt", 20, "suffix", 32)], prompt, [0])])

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

`cut_runs` makes many of them at once, from what a clean run has computed already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from himap.decoder.attention import visible
from himap.decoder.loop import Intervention
from himap.decoder.tokens import IMAGE, INSTRUCTION, PADDING, Rows
from himap.registry import unknown

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
    # inclusive; a prefix of layer 0 ends at -1 and cuts nothing
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
        self.known: tuple[tuple[Tensor, ...], Tensor] | None = (
            None  # places of rows and keys, and the pairs blocked among them
        )

    def cut(self, layer: int, rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor | None:
        """Return the pairs [B, Tq, Tk] that the batch's cuts block in this layer; later cuts' runs may still be to join the batch."""
        size = len(rows.groups)
        active = [cut.first <= layer <= cut.last for cut in self.cuts[:size]]
        if not any(active):
            return None
        pairs = self._everywhere(rows, key_positions, key_groups)[:size]
        return pairs if all(active) else pairs & torch.tensor(active, device=pairs.device)[:, None, None]

    def _everywhere(self, rows: Rows, key_positions: Tensor, key_groups: Tensor) -> Tensor:
        """Return the pairs [B, Tq, Tk] that each cut blocks in the layers where it is made; layers of the same rows and keys share them."""
        places: tuple[Tensor, ...] = (rows.positions, key_positions, key_groups)
        if not self._knows(places):
            joining = len(self.cuts) - len(rows.groups)
            if joining > 0:  # runs of the same prompt, so their rows and keys are those of the first
                places = tuple(torch.cat([part, part[:1].expand(joining, -1)]) for part in places)
                rows = rows.sample(0).repeated(len(self.cuts))
            positions, groups = places[1:]
            pairs = torch.zeros(*rows.groups.shape, groups.shape[1], dtype=torch.bool, device=groups.device)
            for b, cut in enumerate(self.cuts):
                pairs[b] = self._pairs(b, cut.flow, rows, positions[b], groups[b])
                if cut.spared:
                    pairs[b] &= ~torch.isin(self._keys(positions[b]), self.spared[b])
            # copies, as a cache writes further keys into its own
            self.known = (tuple(part.clone() for part in places), pairs)
        assert self.known is not None
        return self.known[1]

    def _knows(self, places: tuple[Tensor, ...]) -> bool:
        """Return whether the pairs last found are among rows and keys at these places, or begin with those of this smaller batch."""
        return self.known is not None and all(
            part.shape[1] == now.shape[1] and torch.equal(part[: len(now)], now)
            for part, now in zip(self.known[0], places, strict=True)
        )

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
        # [P, K] by position
        drawn = self.drawn[b]
        assert drawn is not None
        # pairs are drawn by position, since the rows of a resumed run or a decoding step are only some of the prompt's
        in_prompt = rows.positions[b] < drawn.shape[0]  # [Tq]; a generated token was not there when pairs were drawn
        if flow != "random_img2img":  # img2img leaves generated tokens alone, since none of them is an image token
            later = self._later(b, flow, rows.positions[b])[:, None] & (key_groups == IMAGE)[None, :]
        else:
            later = torch.zeros_like(in_prompt)[:, None]
        # Padding is at -1 and generated tokens are beyond the prompt: both look up a row that is masked out below.
        queries = rows.positions[b].clamp(0, drawn.shape[0] - 1)
        keys = self._keys(key_positions).clamp(0, drawn.shape[1] - 1)
        real = (rows.groups[b] != PADDING)[:, None] & (key_groups == IMAGE)[None, :]  # [Tq, Tk]
        return ((drawn[queries][:, keys] & in_prompt[:, None]) | (later & ~in_prompt[:, None])) & real

    def _later(self, b: int, flow: str, positions: Tensor) -> Tensor:
        """Return which rows [Tq] are cut off from the image if they were generated: all that a matched control must take."""
        if flow == "random":  # a row sees every image token, so only all of them are as many as img2txt cuts
            return torch.ones_like(positions, dtype=torch.bool)
        # the same share of later rows as of the prompt's
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
        # whole rows, whatever number of image tokens each one sees
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
    # fewer pairs than the next row has, so that the count is met exactly
    missing = target - int(pairs.sum())
    if missing:
        row = order[whole]
        keys = sees[row].nonzero()[:, 0]
        pairs[row, keys[torch.randperm(len(keys), generator=generator)[:missing]]] = True
    return pairs
