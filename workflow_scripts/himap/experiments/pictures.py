"""The pictures of questions: decoded, made into pixels, and seen by the model, each once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.benchmarks._prompts import without_instruction
from himap.models.images import padded_share
from himap.models.tower import Pictures, Tower

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.decoder.layout import PictureTokens
    from himap.experiments.answers import Question
    from himap.models.model import Model


@dataclass(frozen=True)
class Seen:
    """The pictures of some questions: each question's as the decoder takes them, and what criteria may ask about all of them."""

    tokens: list[list[PictureTokens]]
    pictures: Pictures


def open_image(data: bytes, where: str) -> Image:
    """Decode an image's bytes; raise ValueError that names a broken or oversized one."""
    from PIL import Image, UnidentifiedImageError

    from himap.benchmarks.samples.images import MAX_PIXELS

    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS} that are accepted")
        image.load()  # decodes here, where an error can still name the sample
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: the image cannot be read ({error}); make the sample file again") from error
    return image


def pixels_of(model: Model, question: Question, grid: Sequence[int] | None = None) -> Any:
    """Return the pixels of a question's pictures: [images, 3, H, W], or those of each picture where pictures differ."""
    if not question.images:
        raise ValueError(f"{question.where} has no image")
    pictures = [open_image(data, question.where) for data in question.images]
    pixels = model.preprocess(pictures, grid=grid, mode=question.image_mode)
    return pixels if model.add_question is None else model.add_question(pixels, question.prompt)


def picture_key(model: Model, question: Question, grid: Sequence[int] | None = None) -> Any:
    """Return what decides the pixels of a question's pictures."""
    asked = question.prompt if model.add_question else None  # some towers read the question too
    return tuple(question.images), question.image_mode, asked, grid and tuple(grid)


@torch.no_grad()
def look(
    model: Model,
    questions: Sequence[Question],
    grid: Sequence[int] | None = None,
    ready: Mapping[Any, Any] = MappingProxyType({}),
) -> Seen:
    """Return the pictures of some questions as the model sees them; the vision tower runs once, on each picture once.

    Pixels that are `ready` by `picture_key` are not made again.
    """
    each: list[Any] = []
    known: dict[Any, range] = {}  # the places of pictures among the distinct ones
    count, order = 0, []
    for question in questions:
        # by the bytes of the files, so that equal pictures of different samples are seen once
        key = picture_key(model, question, grid)
        if key not in known:
            each.append(ready[key] if key in ready else pixels_of(model, question, grid))
            known[key] = range(count, count + len(question.images))
            count += len(question.images)
        order.append(known[key])
    # a tensor where all pictures have one size, else a list of dictionaries
    pixels = torch.cat(each) if isinstance(each[0], Tensor) else list(chain(*each))
    seen = model.see(pixels)
    tokens = [[seen[place] for place in places] for places in order]
    return Seen(tokens, pictures_of(model, questions, pixels, tokens, places=list(chain(*order))))


def pictures_of(
    model: Model,
    questions: Sequence[Question],
    pixels: Any,
    tokens: Sequence[Sequence[PictureTokens]],
    tower: Tower | None = None,
    places: Sequence[int] | None = None,
) -> Pictures:
    """Return what criteria may ask about the pictures of some questions; nothing is computed yet but a `tower` that is given.

    `places` are those of the questions' pictures in `pixels`, where questions share pictures.
    """
    view = model.view_tower

    def sight() -> Tower:
        assert view is not None
        # a second run of the tower, unless it was kept from the features' own
        whole = tower or view(pixels)
        return whole if places is None else whole.of(list(places))

    def padding() -> list[Tensor]:
        return [
            torch.cat([_padding(model, question, *picture) for picture in zip(question.images, seen, strict=True)])
            for question, seen in zip(questions, tokens, strict=True)
        ]

    counts = [len(question.images) for question in questions]
    asked = [without_instruction(question.prompt.text) for question in questions]
    compare = None if model.text_tower is None else model.text_tower.likeness
    return Pictures(counts, None if view is None else sight, padding, asked, compare)


def _padding(model: Model, question: Question, data: bytes, seen: PictureTokens) -> Tensor:
    """Return the share of padding in each image token [n] of one picture."""
    if not model.pads(question.image_mode):
        return torch.zeros(index(seen.layout))
    # only models with one grid over a square pad their pictures
    (square,) = seen.layout.parts
    share = padded_share(open_image(data, question.where).size, (square.rows, square.columns))
    return torch.from_numpy(share).float().flatten()
