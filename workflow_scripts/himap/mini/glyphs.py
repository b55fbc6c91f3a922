"""What one cell of a picture can show: shapes, letters, digits, pieces of bars and clutter, as bitmaps of 8 x 8 pixels.

The bitmaps are written out here, so that a picture never depends on the fonts of a machine.
"""

from __future__ import annotations

import numpy as np

CELL = 8  # pixels per cell side; the vision tower's patches are the same size

# Each is 7 rows of 7 pixels (letters and digits 7 rows of 5), so a pixel is left to shift it by.
SHAPES = {
    "circle": "..###.. .#####. ####### ####### ####### .#####. ..###..",
    "square": "####### ####### ####### ####### ####### ####### #######",
    "triangle": "...#... ...#... ..###.. ..###.. .#####. .#####. #######",
    "diamond": "...#... ..###.. .#####. ####### .#####. ..###.. ...#...",
    "ring": "..###.. .##.##. ##...## #.....# ##...## .##.##. ..###..",
    "heart": ".##.##. ####### ####### ####### .#####. ..###.. ...#...",
    "cross": "##...## ###.### .#####. ..###.. .#####. ###.### ##...##",
    "arrow": "...#... ...##.. ######. ####### ######. ...##.. ...#...",
}
LETTERS = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "B": "####. #...# #...# ####. #...# #...# ####.",
    "C": ".#### #.... #.... #.... #.... #.... .####",
    "D": "####. #...# #...# #...# #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "G": ".#### #.... #.... #..## #...# #...# .####",
    "H": "#...# #...# #...# ##### #...# #...# #...#",
    "I": "##### ..#.. ..#.. ..#.. ..#.. ..#.. #####",
    "J": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "K": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #.#.# #...# #...# #...#",
    "N": "#...# ##..# ##..# #.#.# #..## #..## #...#",
    "O": ".###. #...# #...# #...# #...# #...# .###.",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "Q": ".###. #...# #...# #...# #.#.# #..#. .##.#",
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# #...# #...# .###.",
    "V": "#...# #...# #...# #...# .#.#. .#.#. ..#..",
    "W": "#...# #...# #...# #.#.# #.#.# ##.## #...#",
    "X": "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
    "Y": "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
    "Z": "##### ....# ...#. ..#.. .#... #.... #####",
}
DIGITS = {
    "0": ".###. #...# #..## #.#.# ##..# #...# .###.",
    "1": "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
    "2": ".###. #...# ....# ..##. .#... #.... #####",
    "3": "####. ....# ....# .###. ....# ....# ####.",
    "4": "#..#. #..#. #..#. ##### ...#. ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": ".###. #.... #.... ####. #...# #...# .###.",
    "7": "##### ....# ...#. ...#. ..#.. ..#.. ..#..",
    "8": ".###. #...# #...# .###. #...# #...# .###.",
    "9": ".###. #...# #...# .#### ....# ....# .###.",
}
SIGNS = {"+": "..... ..#.. ..#.. ##### ..#.. ..#.. .....", "=": "..... ..... ##### ..... ##### ..... ....."}
# Strokes that are no shape or letter, drawn in gray: cells that are not empty and yet mean nothing.
CLUTTER = (
    "....... ..#.... ....... .....#. .#..... ....... ...#...",
    "....... .#..... ..#.... ...#... ....#.. ....... .......",
    "....... ....... ....... .####.. ....... ....... .......",
    ".....#. ....... ..#.... ....... .....#. ....... .#.....",
)

# Index of a glyph = its place in NAMES; clutter comes last, so that "at least FIRST_CLUTTER" means clutter.
EMPTY = 0
SHAPE_NAMES = tuple(SHAPES)
NAMES = ("", *SHAPES, *LETTERS, *DIGITS, *SIGNS, "bar", *(f"clutter {i}" for i in range(len(CLUTTER))))
INDEX = {name: i for i, name in enumerate(NAMES)}
FIRST_CLUTTER = INDEX["clutter 0"]

INKS = {
    "red": (215, 35, 35),
    "green": (30, 150, 55),
    "blue": (45, 75, 220),
    "yellow": (230, 195, 20),
    "orange": (245, 125, 15),
    "purple": (135, 50, 175),
    "pink": (245, 130, 185),
    "black": (25, 25, 25),
}
COLOR_NAMES = tuple(INKS)
GRAY = len(COLOR_NAMES)  # the ink of clutter


def _bitmap(rows: str) -> np.ndarray:
    """Turn seven rows of '#' and '.' into an array of 7 x 7 booleans, narrow glyphs centered."""
    lines = rows.split()
    picture = np.array([[mark == "#" for mark in line] for line in lines])
    left = (7 - picture.shape[1]) // 2
    return np.pad(picture, ((0, 0), (left, 7 - left - picture.shape[1])))  # [7, 7]


def masks() -> np.ndarray:
    """Return all glyphs at the four places they can take inside a cell: booleans [glyph, place, 8, 8]."""
    result = np.zeros((len(NAMES), 4, CELL, CELL), dtype=bool)  # glyph 0 is the empty cell
    # In the order of NAMES; None is "bar".
    drawings = [*SHAPES.values(), *LETTERS.values(), *DIGITS.values(), *SIGNS.values(), None, *CLUTTER]
    for index, rows in enumerate(drawings, start=1):
        for place in range(4):
            down, right = divmod(place, 2)  # a glyph is 7 pixels wide, so it can be shifted by one
            if rows is None:  # a piece of a bar fills its cell from top to bottom
                # The same at all four places: shifted pieces of one bar would not join.
                result[index, place, :, 1:7] = True
            else:
                result[index, place, down : down + 7, right : right + 7] = _bitmap(rows)
    return result


MASKS = masks()  # [glyph, place, 8, 8]
