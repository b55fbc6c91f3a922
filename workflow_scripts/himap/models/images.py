"""Pictures of the image tokens that a method kept: the dropped ones are dimmed."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from himap.decoder.layout import Layout

if TYPE_CHECKING:
    from PIL.Image import Image

DIMMED = 0.22  # brightness of a dropped token


def kept_mask(kept: Sequence[int], layout: Layout) -> np.ndarray:
    """Return which places of the picture a kept token shows, as booleans over the layout's grid [rows, columns]."""
    mask = np.zeros(index(layout), dtype=bool)
    mask[list(kept)] = True
    return layout.shown(mask, layout.grid)


def kept_picture(image: Image, kept: Sequence[int], layout: Layout, *, square: bool = True, side: int = 336) -> Image:
    """Return the image with the places dimmed that no kept token shows; padded to a square where the model sees it so."""
    from PIL import Image as images

    shape = (side, side)
    rgb = image.convert("RGB")
    if square:
        # CLIP's mean color, as LLaVA pads
        rgb = pad_to_square(rgb, (122, 116, 104))
    else:
        shape = (round(side * image.width / max(image.size)), round(side * image.height / max(image.size)))
    # NEAREST keeps the edges of cells sharp
    light = images.fromarray(kept_mask(kept, layout)).resize(shape, images.Resampling.NEAREST)
    pixels = np.asarray(rgb.resize(shape, images.Resampling.BICUBIC), dtype=np.float32)
    dimmed = np.where(np.asarray(light)[..., None], pixels, pixels * DIMMED)  # [side, side, 3]
    return images.fromarray(dimmed.astype(np.uint8))


def padded_share(size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each cell's area [rows, columns] that is padding, for a picture of (width, height) made square."""
    side = max(size)
    filled = []
    for length, cells in zip(reversed(size), grid, strict=True):
        first = (side - length) // 2  # as `pad_to_square` places it
        # of the cells, along one side of the square
        edges = np.linspace(0, side, cells + 1)
        inside = np.clip(edges[1:], first, first + length) - np.clip(edges[:-1], first, first + length)
        filled.append(inside / (side / cells))
    # a cell's filled area is the product of its filled height and width
    return 1 - filled[0][:, None] * filled[1][None, :]


def pad_to_square(image: Image, color: tuple[int, ...]) -> Image:
    """Return the image in the middle of a square of one color; a square image is returned as it is."""
    from PIL import Image as images

    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = images.new("RGB", (side, side), color)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
