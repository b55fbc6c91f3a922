"""Where the image tokens of one picture lie in it.

A picture is seen in one part or in several: a grid of tiles, a thumbnail of the whole. Each part is a grid of tokens over a
rectangle of the picture, and the tokens come part by part, row by row. Some models end each row with a token of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np  # inside the functions, since reading a config comes by here and draws nothing

FINEST = 48  # cells along a side of a grid that is drawn
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
    def placeless(cls, tokens: int) -> Layout:
        """Return the layout of tokens that show no place, such as the queries of a small encoder that reads the picture."""
        # rows without columns, each of which ends in a token
        return cls((Part(tokens, 0, row_ends=True),))

    @classmethod
    def from_json(cls, value: Sequence[Sequence[Any]]) -> Layout:
        """Return the layout that `to_json` wrote."""
        return cls(tuple(_read_part(part) for part in value))

    def to_json(self) -> list[list[float]]:
        """Return each part as [rows, columns], with its box and its row ends where it is not a plain grid of the whole."""
        # [[24, 24]] for LLaVA-1.5; [[64, 0, 0, 0, 1, 1, 1]] for the 64 latents of Idefics
        return [
            [part.rows, part.columns]
            if part == Part(part.rows, part.columns)
            else [part.rows, part.columns, *(round(side, 4) for side in part.box), int(part.row_ends)]
            for part in self.parts
        ]

    @property
    def shows_places(self) -> bool:
        """Return whether a token shows a place of the picture."""
        return any(part.columns for part in self.parts)

    @property
    def grid(self) -> tuple[int, int]:
        """Return rows and columns of a grid over the whole picture that is as fine as its finest part, up to FINEST along a side."""
        if not self.shows_places:
            return 1, 1
        # a tile of 8 rows over a quarter of the height is as fine as 32 rows over all of it
        rows = max(round(part.rows / (part.box[3] - part.box[1])) for part in self.parts)
        columns = max(round(part.columns / (part.box[2] - part.box[0])) for part in self.parts)
        scale = min(1.0, FINEST / max(rows, columns))
        return max(1, round(rows * scale)), max(1, round(columns * scale))

    def tokens_at(self, grid: tuple[int, int]) -> np.ndarray:
        """Return which token of each part shows the middle of each cell of a grid [rows, columns, parts], -1 for none."""
        return _tokens_at(self, grid)

    def shown(self, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return which cells of a grid over the picture at least one of the tokens `kept` [n] shows: [rows, columns].

        Where no token shows a place, dropping some hides none.
        """
        tokens = _tokens_at(self, grid)
        # -1 reads the last token, which the second condition takes out again
        return (kept[tokens] & (tokens >= 0)).any(axis=2) | (not self.shows_places)

    def density(self, values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return for each cell of a grid the mean value [n] of the tokens that show it, for kept ones their share: [rows, columns]."""
        import numpy as np

        tokens = _tokens_at(self, grid)
        return np.where(tokens >= 0, values[tokens], 0).sum(axis=2) / (tokens >= 0).sum(axis=2).clip(min=1)


@cache
def _tokens_at(layout: Layout, grid: tuple[int, int]) -> np.ndarray:
    """Return which token of each part shows the middle of each cell of a grid [rows, columns, parts], -1 for none."""
    import numpy as np

    middles = [(np.arange(side) + 0.5) / side for side in grid]
    tokens = np.full((*grid, len(layout.parts)), -1)
    begin = 0
    for number, part in enumerate(layout.parts):
        left, top, right, bottom = part.box
        # the part's own row and column at each cell's middle; outside of the part they are negative or too large
        row = np.floor((middles[0] - top) / (bottom - top) * part.rows).astype(int)[:, None]
        column = np.floor((middles[1] - left) / (right - left) * part.columns).astype(int)[None, :]
        inside = (row >= 0) & (row < part.rows) & (column >= 0) & (column < part.columns)
        tokens[..., number] = np.where(inside, begin + row * (part.columns + part.row_ends) + column, -1)
        begin += part.tokens
    return tokens


def _read_part(part: Sequence[Any]) -> Part:
    rows, columns, *rest = part
    return Part(rows, columns, tuple(rest[:4]), bool(rest[4])) if rest else Part(rows, columns)


def square(tokens: int) -> tuple[int, int]:
    """Return rows and columns of a square of tokens, or a single row if they form no square."""
    side = round(tokens**0.5)
    return (side, side) if side * side == tokens else (1, tokens)


def layout_of(answer: Mapping[str, Any], grid: Sequence[int]) -> Layout:
    """Return where the tokens of an answer's first picture lie; by the model's fixed grid in files without layouts."""
    rows, columns = grid
    return Layout.from_json(answer["layouts"][0]) if "layouts" in answer else Layout((Part(rows, columns),))


@dataclass
class PictureTokens:
    """One picture as the decoder takes it."""

    features: Any  # a tensor [n, D] that replaces the embeddings of the image marks
    layout: Layout
    deep: Any = None  # a tensor [n, levels, D]: level j is added to the picture's rows after layer j
    padding: Any = None  # a tensor [p, D] of keys beside the features, of tiles that the picture does not fill
