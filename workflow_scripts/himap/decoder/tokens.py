"""Tokens as rows of a batch, each with its position and its group: system, image, frame, instruction or padding.

*System* is every token before the first image token. *Frame* are the marks that a model puts around a picture and between
its tiles: they are text, but tell nothing of the question. *Instruction* is every other token that is not an image token,
the generated answer included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from himap.decoder.layout import Layout

if TYPE_CHECKING:
    from himap.models.tower import Pictures

# 0 is padding, so that a new tensor of groups is all padding.
PADDING, SYSTEM, IMAGE, INSTRUCTION, FRAME = 0, 1, 2, 3, 4
GROUPS = {
    "system": SYSTEM,
    "image": IMAGE,
    "instruction": INSTRUCTION,
}  # between which attention flows; frames are none


PAD = {  # what each part of `Rows` holds where there is no token
    "hidden": 0, "positions": -1, "groups": PADDING, "image_index": -1, "rotary": -1, "run": -1, "until": -1,
}  # fmt: skip
FOREVER = 1 << 40  # a position that no token reaches


def image_runs(groups: Tensor) -> Tensor:
    """Return for groups [B, T] the number of the unbroken run of image tokens that each belongs to, -1 elsewhere."""
    is_image = groups == IMAGE
    # a run begins where the token on the left is no image token
    begins = is_image & ~pad(is_image, (1, 0))[:, :-1]
    return (begins.cumsum(dim=1) - 1).masked_fill(~is_image, -1)


@dataclass
class Rows:
    """A left-padded batch of tokens as it enters a layer, with the position and the group of every token."""

    hidden: Tensor  # [B, T, D]
    positions: Tensor  # [B, T] place in the full prompt (or among what is left, if a schedule renumbers), -1 at padding
    groups: Tensor  # [B, T] one of PADDING, SYSTEM, IMAGE, INSTRUCTION, FRAME
    image_index: Tensor  # [B, T] which of the sample's image tokens this is, -1 elsewhere
    dense: bool  # no padding anywhere
    rotary: Tensor | None = None  # [B, T, axes] what rotary angles are read from, if not the place in the prompt
    run: Tensor | None = None  # [B, T] number of the image run whose tokens see each other both ways, -1 elsewhere
    deep: Tensor | None = None  # [B, N, levels, D] level j is added to image token n after layer j
    layouts: Sequence[Sequence[Layout]] = ()  # of each sample's pictures
    pictures: Pictures | None = None  # of a prompt: what criteria may ask about its pictures
    memory: Rows | None = (
        None  # picture tokens that are no rows of the sequence: layers of cross-attention look at them
    )
    until: Tensor | None = (
        None  # [B, T] of a memory, whose tokens are looked at from their position until before this one
    )

    def select(self, keep: Tensor) -> Rows:
        """Return only the tokens where `keep` [B, T] is true, in their order, padded on the left again."""
        keep = keep & (self.groups != PADDING)
        counts = keep.sum(dim=1)  # [B]; samples of one batch may keep different numbers
        longest = int(counts.max())
        first = keep.shape[1] - longest
        # A stable sort of 0 and 1 moves the kept columns to the end and leaves their order alone.
        index = keep.to(torch.int8).argsort(dim=1, stable=True)[:, first:]  # [B, T'] kept ones last, in order
        kept = keep.gather(1, index)  # [B, T'] false where a sample keeps fewer than `longest`
        return replace(
            self,  # deep features stay as they are: each row finds its own by its image index
            hidden=_gather(self.hidden, index),
            positions=self.positions.gather(1, index).masked_fill(~kept, -1),
            groups=self.groups.gather(1, index).masked_fill(~kept, PADDING),
            image_index=self.image_index.gather(1, index).masked_fill(~kept, -1),
            dense=bool(kept.all()),
            rotary=None if self.rotary is None else _gather(self.rotary, index).masked_fill(~kept[..., None], -1),
            run=None if self.run is None else self.run.gather(1, index).masked_fill(~kept, -1),
            until=None if self.until is None else self.until.gather(1, index).masked_fill(~kept, -1),
        )

    def counts(self) -> tuple[int, int, int]:
        """Return how many image tokens, rows of text and keys without a picture one prompt has, the last ones in its memory."""
        image = int((self.joined().groups == IMAGE).sum())
        if self.memory is None:
            return image, self.positions.shape[1] - image, 0
        return image, self.positions.shape[1], self.memory.positions.shape[1] - image

    def without_images(self) -> Rows:
        """Return the same tokens of text without any image token, among them or in their memory."""
        if self.memory is None:
            return self.select(self.groups != IMAGE)
        return replace(self, memory=self.memory.select(self.memory.groups != IMAGE))

    def joined(self) -> Rows:
        """Return all tokens in one sequence: those of the memory, then the rows; of two widths, the smaller one is filled up."""
        if self.memory is None:
            return self
        # Idefics' latents are as wide as its vision tower, its rows of text as the decoder.
        both, width = (self.memory, self), max(self.memory.hidden.shape[-1], self.hidden.shape[-1])
        hidden = torch.cat([pad(part.hidden, (0, width - part.hidden.shape[-1])) for part in both], dim=1)
        positions, groups, image_index = (
            torch.cat([getattr(part, name) for part in both], dim=1) for name in ("positions", "groups", "image_index")
        )
        dense = self.dense and self.memory.dense
        return Rows(hidden, positions, groups, image_index, dense, layouts=self.layouts, pictures=self.pictures)

    def of(self, samples: Sequence[int]) -> Rows:
        """Return only some of the batch's samples, without the columns that are padding for all of them."""
        part = self._at(list(samples))
        is_real = part.groups != PADDING  # [B', T]
        # argmax finds the first column that is real for any sample
        first = int(is_real.any(dim=0).int().argmax()) if is_real.numel() else 0  # the padding is on the left
        memory = self.memory and self.memory.of(samples)
        return replace(part.after(first), dense=bool(is_real[:, first:].all()), memory=memory)

    def sample(self, b: int) -> Rows:
        """Return one sample of the batch, its padding included."""
        return self._at(slice(b, b + 1))

    def _at(self, places: list[int] | slice) -> Rows:
        parts = ("hidden", "positions", "groups", "image_index", "rotary", "run", "deep", "until")
        chosen = {name: part[places] for name in parts if (part := getattr(self, name)) is not None}
        samples = range(len(self.groups))[places] if isinstance(places, slice) else places
        layouts = [self.layouts[b] for b in samples if self.layouts]
        pictures = self.pictures and self.pictures.of(samples)
        return replace(
            self, **chosen, layouts=layouts, pictures=pictures, dense=bool((chosen["groups"] != PADDING).all()),
            memory=self.memory and self.memory._at(places),
        )  # fmt: skip

    def renumbered(self) -> Rows:
        """Return the same tokens at positions 0, 1, 2, …, as if the dropped ones had never been there.

        Raise ValueError where rotary angles are read from other numbers than positions.
        """
        if self.rotary is not None:
            raise ValueError(
                "this model counts a picture's rows and columns in its rotary positions, and a picture with gaps has no such "
                "count of its own; choose a method without `positions: renumber`, or another model"
            )
        real = self.groups != PADDING
        return replace(self, positions=(real.cumsum(dim=1) - 1).masked_fill(~real, -1))

    def after(self, first: int) -> Rows:
        """Return the rows from column `first` on, which must not lie inside a run: a change there reaches no earlier row."""
        return replace(
            self,
            # `deep` goes by image index and not by column, so it stays whole
            hidden=self.hidden[:, first:],
            positions=self.positions[:, first:],
            groups=self.groups[:, first:],
            image_index=self.image_index[:, first:],
            rotary=None if self.rotary is None else self.rotary[:, first:],
            run=None if self.run is None else self.run[:, first:],
            until=None if self.until is None else self.until[:, first:],
        )

    def repeated(self, times: int) -> Rows:
        """Return the same rows `times` over in the batch, without copying."""

        # Views of one sample: all samples share its memory, so nothing may write into them.
        def expand(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.expand(times, *part.shape[1:])

        parts = {name: expand(getattr(self, name)) for name in ("rotary", "run", "deep", "until")}
        hidden, positions, groups, image_index = (
            part.expand(times, *part.shape[1:]) for part in (self.hidden, self.positions, self.groups, self.image_index)
        )
        pictures = self.pictures and self.pictures.of([0] * times)
        layouts, memory = list(self.layouts) * times, self.memory and self.memory.repeated(times)
        return Rows(
            hidden,
            positions,
            groups,
            image_index,
            self.dense,
            **parts,
            layouts=layouts,
            pictures=pictures,
            memory=memory,
        )

    def with_hidden(self, hidden: Tensor) -> Rows:
        """Return the same tokens with other hidden states, as they leave a layer."""
        return replace(self, hidden=hidden)

    def deepened(self, layer: int) -> Rows:
        """Return the rows as they leave a layer: with what the model adds there to the image tokens that are left."""
        if self.deep is None or layer >= self.deep.shape[2]:
            return self
        # By the original index, since dropped tokens leave gaps; tokens of text look up token 0, masked out below.
        index = self.image_index.clamp(min=0)[..., None].expand(-1, -1, self.hidden.shape[-1])
        added = self.deep[:, :, layer].gather(1, index)  # [B, T, D]
        return self.with_hidden(self.hidden + added.masked_fill((self.image_index < 0)[..., None], 0))


def _gather(part: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` [B, T'] of a part [B, T, width]."""
    return part.gather(1, index[..., None].expand(-1, -1, part.shape[-1]))


def batch_rows(embeddings: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> Rows:
    """Return embedded prompts of unequal length, each [T_i, D], as one left-padded batch."""
    longest = max(len(group) for group in groups)
    device = embeddings[0].device
    hidden = embeddings[0].new_zeros(len(groups), longest, embeddings[0].shape[-1])
    positions = torch.full((len(groups), longest), -1, device=device)
    group_ids = torch.zeros(len(groups), longest, dtype=torch.long, device=device)
    for b, (embedded, group) in enumerate(zip(embeddings, groups, strict=True)):
        hidden[b, longest - len(group) :] = embedded
        positions[b, longest - len(group) :] = torch.arange(len(group), device=device)
        group_ids[b, longest - len(group) :] = torch.tensor(group, device=device)
    is_image = group_ids == IMAGE  # [B, T]
    # counted over all pictures of a prompt, as kept tokens are reported
    image_index = (is_image.cumsum(dim=1) - 1).masked_fill(~is_image, -1)  # [B, T]
    return Rows(hidden, positions, group_ids, image_index, dense=all(len(group) == longest for group in groups))


def pad_left(parts: Sequence[Tensor], length: int, fill: int) -> Tensor:
    """Return parts [T_i] or [T_i, width] of unequal length as one tensor [B, length] or [B, length, width], filled in front."""
    around = [(0, 0) * (part.ndim - 1) + (length - len(part), 0) for part in parts]
    return torch.stack([pad(part, ends, value=fill) for part, ends in zip(parts, around, strict=True)])


def batch_samples(samples: Sequence[Mapping[str, Tensor]], before: Rows) -> Rows:
    """Return samples, given by the parts of `Rows` that are theirs, as one left-padded batch in place of the rows before it."""
    lengths = [len(sample["positions"]) for sample in samples]
    parts: dict[str, Any] = {
        name: pad_left([sample[name] for sample in samples], max(lengths), PAD[name]) for name in samples[0]
    }
    return replace(before, **parts, dense=min(lengths) == max(lengths))


def new_rows(hidden: Tensor, positions: Tensor, prompt: Rows | None = None) -> Rows:
    """Return generated tokens, embedded [B, T, D] at positions [B, T], as rows; they count as instruction.

    They follow `prompt`, which must be given for a model that reads rotary angles from other numbers than positions.
    """
    rotary = None
    if prompt is not None and prompt.rotary is not None:
        # A picture moves the axes on by fewer steps than it has tokens; after it they advance together again.
        shift = prompt.rotary[:, -1:] - prompt.positions[:, -1:, None]  # [B, 1, axes]
        rotary = positions[..., None] + shift
    groups = torch.full_like(positions, INSTRUCTION)
    return Rows(hidden, positions, groups, torch.full_like(positions, -1), dense=True, rotary=rotary)


def join_rows(first: Rows, second: Rows) -> Rows:
    """Return two pieces of the same sequences as one, generated tokens after their prompt."""
    rotary = run = None
    if first.rotary is not None and second.rotary is not None:
        rotary = torch.cat([first.rotary, second.rotary], 1)
    if first.run is not None:  # a generated token belongs to no run
        run = pad(first.run, (0, second.positions.shape[1]), value=-1)
    return replace(
        first,
        hidden=torch.cat([first.hidden, second.hidden], 1),
        positions=torch.cat([first.positions, second.positions], 1),
        groups=torch.cat([first.groups, second.groups], 1),
        image_index=torch.cat([first.image_index, second.image_index], 1),
        dense=first.dense and second.dense,
        rotary=rotary,
        run=run,
    )
