"""The interface of a loaded model: all that the loop, the methods and the experiments know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from himap.decoder.ids import expand_image_tokens, token_groups
from himap.decoder.layout import Layout, PictureTokens
from himap.decoder.tokens import (
    FRAME,
    IMAGE,
    Rows,
    batch_rows,
    batch_samples,
    image_runs,
    pad_left,
)
from himap.models.prompts import Prompt
from himap.models.sizes import Dims
from himap.models.text_tower import TextTower
from himap.models.tower import Tower


def _no_processor(*_: Any, **__: Any) -> Any:
    """Raise ValueError in place of a function that needs a tokenizer or an image processor."""
    raise ValueError(
        "this checkpoint has no tokenizer or image processor beside its weights; pass ids and pixel values instead"
    )


@dataclass
class Model:
    """A loaded vision-language model: the parts of its decoder, and functions for texts and images."""

    name: str
    family: str
    dims: Dims
    module: nn.Module  # all weights, to move, count or randomize them
    embed_tokens: Any  # ids [T] -> [T, D]
    layers: Sequence[Any]  # decoder layers of transformers: norms, self_attn with its projections, mlp; or CrossLayers
    norm: Any  # of the last layer's output
    rotary: Callable[
        [Tensor, Tensor], tuple[Tensor, Tensor]
    ]  # (hidden, positions [B, T] or [3, B, T]) -> cos, sin [B, T, d]
    head: Any  # [..., D] -> [..., vocabulary]
    image_token_id: int
    end_ids: frozenset[int]  # an answer ends with any of these
    encode_images: Callable[[Any], Any]  # pixels -> decoder inputs [N, n, D], or PictureTokens where pictures differ
    view_tower: Callable[[Tensor], Tower] | None = (
        None  # pixels -> what the vision tower makes of them, where it has a class token
    )
    text_tower: TextTower | None = None  # that of the CLIP whose vision tower it has, where one was given
    pads: Callable[[str | None], bool] = lambda mode: False  # whether pictures asked in a mode are padded to a square
    attention: str = "sdpa"
    preprocess: Callable[..., Any] = (
        _no_processor  # (images, grid=None, mode=None) -> pixels [N, 3, H, W], or those of each picture; `grid`: smaller ones
    )
    add_question: Callable[[Any, Prompt], Any] | None = (
        None  # (pixels, prompt) -> pixels, where the pictures' encoder reads the question too
    )
    tokenize: Callable[[Prompt, Sequence[SupportsIndex]], list[int]] = (
        _no_processor  # (prompt, layouts) -> ids; an image token count serves where all pictures have one layout
    )
    detokenize: Callable[[Sequence[int]], str] = _no_processor
    answer_ids: Callable[[str], list[int]] = _no_processor  # ids of a text as the model emits it at the answer's start
    plain_id: Callable[[str], int] = _no_processor  # id of a vocabulary entry, as the released analysis looks it up
    axes: int = 1  # 3 where rotary angles are read from time, row and column
    windows: Sequence[int | None] = ()  # by layer: how far behind its tokens see; empty if all see to the start
    local_rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None  # of the layers with a window
    sees_both_ways: bool = False  # whether the image tokens of one run also see those after them
    frame_ids: frozenset[int] = frozenset()  # marks around pictures
    spans: Callable[[Sequence[int]], list[tuple[int, int]]] | None = (
        None  # positions of picture marks -> from and until which position each picture is looked at, by cross-attention
    )
    reader: Reader | None = None  # an encoder of its own layers that reads pictures before the decoder
    revision: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of the decoder's weights."""
        return next(self.layers[0].parameters()).dtype

    def window(self, layer: int) -> int | None:
        """Return how far behind the tokens of a layer see, None if to the start."""
        return self.windows[layer] if self.windows else None

    def stages_above(self, layer: int) -> range:
        """Return the layers before which the attention to image tokens that was seen last is this layer's."""
        if not self.dims.cross:
            return range(layer + 1, layer + 2)
        if layer not in self.dims.cross:
            return range(0)
        # A stage may look at this attention until the next cross-attention replaces it, that layer included.
        later = [other for other in self.dims.cross if other > layer]
        return range(layer + 1, (later[0] if later else len(self.layers) - 1) + 1)

    def angles(self, rows: Rows, layer: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [B, T, d] of the rows' rotary angles in a layer."""
        rotary = self.rotary
        if self.local_rotary is not None and self.window(layer) is not None:
            rotary = self.local_rotary
        if self.axes > 1:
            if rows.rotary is None:
                raise ValueError(
                    "these rows have no rotary positions; make them with Model.embed, or new_rows after a prompt"
                )
            return rotary(rows.hidden, rows.rotary.clamp(min=0).permute(2, 0, 1))
        return rotary(rows.hidden, rows.positions.clamp(min=0))  # padding is at -1, for which no angle exists

    def see(self, pixels: Any, tower: Tower | None = None) -> list[PictureTokens]:
        """Return the tokens of each picture from the pixels that `preprocess` made, or from a `tower` that has seen them."""
        if tower is not None:
            return [_as_tokens(picture) for picture in tower.project(tower.hidden)]
        pixels = pixels.to(self.device) if isinstance(pixels, Tensor) else pixels
        return [_as_tokens(picture) for picture in self.encode_images(pixels)]

    def embed(self, ids: Sequence[Sequence[int]], features: Sequence[Iterable[Tensor | PictureTokens]]) -> Rows:
        """Return a left-padded batch for the loop, from each prompt's ids and its pictures' tokens or features [n, D]."""
        pictures = [[_as_tokens(picture) for picture in given] for given in features]
        embeddings, groups, rotary, memories = [], [], [], []
        for number, (prompt, seen) in enumerate(zip(ids, pictures, strict=True)):
            if not seen:
                raise ValueError(f"sample {number} of the batch has no image; every prompt needs at least one")
            # A picture that is beside the rows has only its mark among them.
            counts = [len(picture.features) if self.spans is None else 1 for picture in seen]
            expanded = expand_image_tokens(prompt, self.image_token_id, counts)
            tokens = torch.tensor(expanded, device=self.device)  # [T]
            is_image = tokens == self.image_token_id
            if int(is_image.sum()) != sum(counts):
                raise ValueError(
                    f"sample {number} of the batch has {int(is_image.sum())} image tokens in its prompt, but its "
                    f"{len(seen)} images have {sum(counts)}"
                )
            if self.spans is not None:
                embeddings.append(self.embed_tokens(tokens))
                groups.append(token_groups(expanded, self.image_token_id, (), self.frame_ids, marks=FRAME))
                memories.append(memory_parts(seen, self.spans(is_image.nonzero()[:, 0].tolist()), self.device))
                continue
            # The image mark may lie beyond the vocabulary, so id 0 is embedded in its place and then overwritten.
            embedded = self.embed_tokens(tokens.masked_fill(is_image, 0)).clone()  # [T, D]
            embedded[is_image] = torch.cat([picture.features for picture in seen]).to(embedded.dtype)
            embeddings.append(embedded)
            groups.append(token_groups(expanded, self.image_token_id, counts, self.frame_ids))
            if self.axes > 1:
                rotary.append(three_axes(is_image, [picture.layout for picture in seen]))
        rows = batch_rows(embeddings, groups)
        return replace(
            rows,
            rotary=pad_left(rotary, rows.positions.shape[1], fill=-1) if rotary else None,
            run=image_runs(rows.groups) if self.sees_both_ways else None,
            deep=_deep(pictures),
            layouts=[[picture.layout for picture in seen] for seen in pictures],
            memory=batch_samples(memories, rows) if memories else None,
        )


@dataclass
class Reader:
    """An encoder between picture and decoder, as a model that the loop runs too."""

    model: Model
    rows: Callable[[Tensor, Tensor], Rows]  # (pixels [1, 3, H, W], ids of the question [1, L]) -> its rows
    project: Callable[[Tensor], Tensor]  # its output at the queries [n, width] -> decoder inputs [n, D]


def _as_tokens(picture: Tensor | PictureTokens) -> PictureTokens:
    """Return a picture's tokens; features alone [n, D] are a square of tokens over the whole picture."""
    if isinstance(picture, PictureTokens):
        return picture
    return PictureTokens(picture, Layout.square(len(picture)))


def _deep(pictures: Sequence[Sequence[PictureTokens]]) -> Tensor | None:
    """Return what later layers add to the image tokens of a batch [B, N, levels, D], None if they add nothing."""
    samples = [torch.cat([picture.deep for picture in seen]) for seen in pictures if seen[0].deep is not None]
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True) if samples else None


def memory_parts(
    pictures: Sequence[PictureTokens], spans: Sequence[tuple[int, int]], device: torch.device
) -> dict[str, Tensor]:
    """Return the parts of `Rows` that are a prompt's picture tokens, each looked at between the positions of its span."""
    parts: dict[str, list[Tensor]] = {name: [] for name in ("hidden", "positions", "groups", "until")}
    for picture, (first, until) in zip(pictures, spans, strict=True):
        padding = picture.features[:0] if picture.padding is None else picture.padding
        count, total = len(picture.features), len(picture.features) + len(padding)
        is_real = torch.arange(total, device=device) < count
        parts["hidden"].append(torch.cat([picture.features, padding]))
        # No row that sees a picture looks at what pads it; those that see none may.
        parts["positions"].append(torch.full((total,), first, device=device))
        parts["until"].append(torch.where(is_real, until, first))
        parts["groups"].append(torch.where(is_real, IMAGE, FRAME))
    joined = {name: torch.cat(values) for name, values in parts.items()}
    is_image = joined["groups"] == IMAGE
    return {**joined, "image_index": (is_image.cumsum(0) - 1).masked_fill(~is_image, -1)}


def three_axes(is_image: Tensor, layouts: Sequence[Layout]) -> Tensor:
    """Return time, row and column [T, 3] of a prompt's tokens, as Qwen's models count them.

    Text moves all three on together. A picture has one time, its rows and columns count from there, and the text after
    it goes on behind the longer side.
    """
    marks, place, position = is_image.tolist(), 0, 0
    axes: list[tuple[int, int, int]] = []
    remaining = iter(layouts)
    while place < len(marks):
        if not marks[place]:
            # a token of text
            axes.append((position,) * 3)
            place, position = place + 1, position + 1
            continue
        (part,) = next(remaining).parts
        axes += [
            (position, position + row, position + column) for row in range(part.rows) for column in range(part.columns)
        ]
        place, position = place + part.tokens, position + max(part.rows, part.columns)
    return torch.tensor(axes, device=is_image.device)
