"""Where the image tokens of one picture lie in it.

A picture is seen in one part or in several: a grid of tiles, a thumbnail of the whole. Each part is a grid of tokens over a
rectangle of the picture, and the tokens come part by part, row by row. Some models end each row with a token of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = (0.0, 0.0, 1.0, 1.0)
Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the picture's width and height


@dataclass(frozen=True)
class Part:
    """A grid of image tokens over a rectangle of the picture."""

    rows: int
    columns: int
    box: Box = WHOLE
    row_ends: bool = False  # whether each row ends with one more token, which shows no place

    @property
    def tokens(self) -> int:
        """Return the number of its tokens."""
        return self.rows * (self.columns + self.row_ends)

    def cells(self) -> Iterator[tuple[int, int] | None]:
        """Yield the row and the column of each token, None for one that shows no place."""
        for row in range(self.rows):
            yield from ((row, column) for column in range(self.columns))
            if self.row_ends:
                yield None


@dataclass(frozen=True)
class Layout:
    """The parts in which a picture is seen, in the order of their tokens. As a number it is the count of its tokens."""

    parts: tuple[Part, ...]

    def __index__(self) -> int:
        return sum(part.tokens for part in self.parts)

    @classmethod
    def square(cls, tokens: int) -> Layout:
        """Return one part over the whole picture: a square of tokens, or a single row if they form none."""
        return cls((Part(*square(tokens)),))

    @classmethod
    def from_json(cls, value: Sequence[Sequence[Any]]) -> Layout:
        """Read what `to_json` wrote."""
        return cls(tuple(_read_part(part) for part in value))

    def to_json(self) -> list[list[float]]:
        """Return each part as [rows, columns], with its box and its row ends where it is not a plain grid of the whole."""
        return [
            [part.rows, part.columns]
            if part == Part(part.rows, part.columns)
            else [part.rows, part.columns, *(round(side, 4) for side in part.box), int(part.row_ends)]
            for part in self.parts
        ]

    def boxes(self) -> np.ndarray:
        """Return the rectangle [n, 4] of the picture that each token shows, NaN for a token that shows no place."""
        boxes = []
        for part in self.parts:
            left, top, right, bottom = part.box
            width, height = (right - left) / part.columns, (bottom - top) / part.rows
            for cell in part.cells():
                row, column = cell or (0, 0)
                x, y = left + column * width, top + row * height
                boxes.append((x, y, x + width, y + height) if cell else (np.nan,) * 4)
        return np.array(boxes)


def _read_part(part: Sequence[Any]) -> Part:
    rows, columns, *rest = part
    return Part(rows, columns, tuple(rest[:4]), bool(rest[4])) if rest else Part(rows, columns)


def square(tokens: int) -> tuple[int, int]:
    """Return rows and columns of a square of tokens, or a single row if they form no square."""
    side = round(tokens**0.5)
    return (side, side) if side * side == tokens else (1, tokens)


@dataclass
class PictureTokens:
    """One picture as the decoder takes it."""

    features: Any  # a tensor [n, D] that stands in place of the image marks' embeddings
    layout: Layout
    deep: Any = None  # a tensor [n, levels, D]: level j is added to the picture's rows after layer j
