"""Which position of a sequence is system, image, instruction or padding, read from the ids; nothing is hard-coded.

*System* is everything before the first image token, *instruction* everything else that is no image token, answers included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PADDING, SYSTEM, IMAGE, INSTRUCTION = 0, 1, 2, 3
GROUPS = {"system": SYSTEM, "image": IMAGE, "instruction": INSTRUCTION}


def token_groups(ids: Sequence[int], image_token_id: int) -> list[int]:
    """The group of each token of one prompt; a prompt without an image token is refused."""
    ids = list(ids)
    if image_token_id not in ids:
        raise ValueError(f"a prompt of {len(ids)} tokens has no image token (id {image_token_id})")
    first = ids.index(image_token_id)
    return [
        SYSTEM if place < first else IMAGE if token == image_token_id else INSTRUCTION
        for place, token in enumerate(ids)
    ]


def check_image_marks(ids: Sequence[int], image_token_id: int, images: int, tokens_per_image: int) -> None:
    """Refuse a prompt whose image marks, one per image or one per image token, do not go with the sample's images."""
    marks = sum(token == image_token_id for token in ids)
    if images == 0:
        raise ValueError("the sample has no image; every prompt needs at least one")
    if marks not in (images, images * tokens_per_image):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {images} images; "
            f"allowed: {images} marks, or {images * tokens_per_image} if each image token has its own"
        )


def expand_image_tokens(ids: Sequence[int], image_token_id: int, counts: Sequence[int]) -> list[int]:
    """Repeat each image's single mark as often as the image has tokens; ids that are already repeated are left alone."""
    marks = sum(token == image_token_id for token in ids)
    if marks == sum(counts) and marks != len(counts):
        return list(ids)
    if marks != len(counts):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {len(counts)} images"
        )
    remaining = iter(counts)
    return [t for token in ids for t in ([token] * next(remaining) if token == image_token_id else [token])]


@dataclass
class Rows:
    """A left-padded batch of tokens as it enters a layer, with what is known of every token."""

    hidden: Tensor  # [B, T, D]
    positions: Tensor  # [B, T] place in the full prompt, -1 at padding; pruning never renumbers
    groups: Tensor  # [B, T] one of PADDING, SYSTEM, IMAGE, INSTRUCTION
    image_index: Tensor  # [B, T] which of the sample's image tokens this is, -1 elsewhere
    dense: bool  # no padding anywhere

    def select(self, keep: Tensor) -> Rows:
        """Only the tokens where `keep` [B, T] holds, in their order, padded on the left again."""
        keep = keep & (self.groups != PADDING)
        counts = keep.sum(dim=1)
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

    def after(self, first: int) -> Rows:
        """The rows from column `first` on: what a change at that column can reach, by causality."""
        return Rows(
            self.hidden[:, first:],
            self.positions[:, first:],
            self.groups[:, first:],
            self.image_index[:, first:],
            self.dense,
        )

    def repeated(self, times: int) -> Rows:
        """The same rows `times` over in the batch, without copying."""
        parts = (self.hidden, self.positions, self.groups, self.image_index)
        hidden, positions, groups, image_index = (part.expand(times, *part.shape[1:]) for part in parts)
        return Rows(hidden, positions, groups, image_index, self.dense)

    def with_hidden(self, hidden: Tensor) -> Rows:
        """The same tokens one layer on."""
        return replace(self, hidden=hidden)


def batch_rows(embeddings: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> Rows:
    """Prompts of unequal length, embedded [T_i, D], as one left-padded batch."""
    longest = max(len(g) for g in groups)
    device = embeddings[0].device
    hidden = embeddings[0].new_zeros(len(groups), longest, embeddings[0].shape[-1])
    positions = torch.full((len(groups), longest), -1, device=device)
    kinds = torch.zeros(len(groups), longest, dtype=torch.long, device=device)
    for b, (embedded, group) in enumerate(zip(embeddings, groups, strict=True)):
        hidden[b, longest - len(group) :] = embedded
        positions[b, longest - len(group) :] = torch.arange(len(group), device=device)
        kinds[b, longest - len(group) :] = torch.tensor(group, device=device)
    is_image = kinds == IMAGE
    image_index = (is_image.cumsum(dim=1) - 1).masked_fill(~is_image, -1)
    return Rows(hidden, positions, kinds, image_index, dense=all(len(g) == longest for g in groups))


def new_rows(hidden: Tensor, positions: Tensor) -> Rows:
    """Generated tokens [B, T, D]: they count as instruction."""
    groups = torch.full_like(positions, INSTRUCTION)
    return Rows(hidden, positions, groups, torch.full_like(positions, -1), dense=True)


def join_rows(first: Rows, second: Rows) -> Rows:
    """Two pieces of the same sequences, one after the other."""
    return Rows(
        torch.cat([first.hidden, second.hidden], 1),
        torch.cat([first.positions, second.positions], 1),
        torch.cat([first.groups, second.groups], 1),
        torch.cat([first.image_index, second.image_index], 1),
        first.dense and second.dense,
    )
