"""Which token of a sequence is system, image, instruction or padding, read from its ids; no position is hard-coded.

*System* is every token before the first image token. *Instruction* is every other token that is not an image token, the
generated answer included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from himap.models.tower import Pictures

PADDING, SYSTEM, IMAGE, INSTRUCTION = 0, 1, 2, 3
GROUPS = {"system": SYSTEM, "image": IMAGE, "instruction": INSTRUCTION}


def token_groups(ids: Sequence[int], image_token_id: int) -> list[int]:
    """Return the group of each token of one prompt. Raise ValueError for a prompt without an image token."""
    ids = list(ids)
    if image_token_id not in ids:
        raise ValueError(f"a prompt of {len(ids)} tokens has no image token (id {image_token_id})")
    first = ids.index(image_token_id)
    return [
        SYSTEM if place < first else IMAGE if token == image_token_id else INSTRUCTION
        for place, token in enumerate(ids)
    ]


def check_image_marks(ids: Sequence[int], image_token_id: int, images: int, tokens_per_image: int) -> None:
    """Raise ValueError unless a prompt has one image mark per image, or one per image token."""
    marks = sum(token == image_token_id for token in ids)
    if images == 0:
        raise ValueError("the sample has no image; every prompt needs at least one")
    if marks not in (images, images * tokens_per_image):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {images} images; "
            f"allowed: {images} marks, or {images * tokens_per_image} if each image token has its own"
        )


def expand_image_tokens(ids: Sequence[int], image_token_id: int, counts: Sequence[int]) -> list[int]:
    """Repeat each image's single mark once per token of the image; ids that are already expanded are returned as they are."""
    marks = sum(token == image_token_id for token in ids)
    if marks == sum(counts) and marks != len(counts):  # already one mark per image token
        return list(ids)
    if marks != len(counts):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {len(counts)} images"
        )
    remaining = iter(counts)
    return [t for token in ids for t in ([token] * next(remaining) if token == image_token_id else [token])]


@dataclass
class Rows:
    """A left-padded batch of tokens as it enters a layer, with the position and the group of every token."""

    hidden: Tensor  # [B, T, D]
    positions: Tensor  # [B, T] place in the full prompt (or among what is left, if a schedule renumbers), -1 at padding
    groups: Tensor  # [B, T] one of PADDING, SYSTEM, IMAGE, INSTRUCTION
    image_index: Tensor  # [B, T] which of the sample's image tokens this is, -1 elsewhere
    dense: bool  # no padding anywhere
    pictures: Pictures | None = None  # of a prompt: what criteria may ask about its pictures

    def select(self, keep: Tensor) -> Rows:
        """Return only the tokens where `keep` [B, T] is true, in their order, padded on the left again."""
        keep = keep & (self.groups != PADDING)
        counts = keep.sum(dim=1)  # [B]; samples of one batch may keep different numbers
        longest = int(counts.max())
        index = keep.to(torch.int8).argsort(dim=1, stable=True)[:, -longest:]  # [B, T'] kept ones last, in order
        kept = keep.gather(1, index)
        return Rows(
            hidden=self.hidden.gather(1, index[..., None].expand(-1, -1, self.hidden.shape[-1])),
            positions=self.positions.gather(1, index).masked_fill(~kept, -1),
            groups=self.groups.gather(1, index).masked_fill(~kept, PADDING),
            image_index=self.image_index.gather(1, index).masked_fill(~kept, -1),
            dense=bool(kept.all()),
        )

    def renumbered(self) -> Rows:
        """Return the same tokens at positions 0, 1, 2, …, as if the dropped ones had never been there."""
        real = self.groups != PADDING
        return replace(self, positions=(real.cumsum(dim=1) - 1).masked_fill(~real, -1))

    def after(self, first: int) -> Rows:
        """Return the rows from column `first` on: attention is causal, so a change there reaches no earlier row."""
        return Rows(
            self.hidden[:, first:],
            self.positions[:, first:],
            self.groups[:, first:],
            self.image_index[:, first:],
            self.dense,
        )

    def repeated(self, times: int) -> Rows:
        """Return the same rows `times` over in the batch, without copying."""
        parts = (self.hidden, self.positions, self.groups, self.image_index)
        hidden, positions, groups, image_index = (part.expand(times, *part.shape[1:]) for part in parts)
        return Rows(hidden, positions, groups, image_index, self.dense)

    def with_hidden(self, hidden: Tensor) -> Rows:
        """Return the same tokens with other hidden states, as they leave a layer."""
        return replace(self, hidden=hidden)


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
    image_index = (is_image.cumsum(dim=1) - 1).masked_fill(~is_image, -1)  # [B, T]
    return Rows(hidden, positions, group_ids, image_index, dense=all(len(group) == longest for group in groups))


def batch_samples(samples: Sequence[Sequence[Tensor]]) -> Rows:
    """Return samples as one left-padded batch; each is its tokens' hidden states [T_i, D], positions, groups and indices."""
    longest = max(len(sample[1]) for sample in samples)
    empty = (0.0, -1, PADDING, -1)  # what padding holds in each of the four
    columns = []
    for part, filler in enumerate(empty):
        first = samples[0][part]
        whole = first.new_full((len(samples), longest, *first.shape[1:]), filler)
        for b, sample in enumerate(samples):
            whole[b, longest - len(sample[part]) :] = sample[part]
        columns.append(whole)
    hidden, positions, groups, image_index = columns
    return Rows(hidden, positions, groups, image_index, dense=all(len(sample[1]) == longest for sample in samples))


def new_rows(hidden: Tensor, positions: Tensor) -> Rows:
    """Return generated tokens, embedded [B, T, D] at positions [B, T], as rows; they count as instruction."""
    groups = torch.full_like(positions, INSTRUCTION)
    return Rows(hidden, positions, groups, torch.full_like(positions, -1), dense=True)


def join_rows(first: Rows, second: Rows) -> Rows:
    """Return two pieces of the same sequences as one, the second after the first."""
    return Rows(
        torch.cat([first.hidden, second.hidden], 1),
        torch.cat([first.positions, second.positions], 1),
        torch.cat([first.groups, second.groups], 1),
        torch.cat([first.image_index, second.image_index], 1),
        first.dense and second.dense,
    )
