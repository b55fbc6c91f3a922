"""Boxes in answers: the forms in which models write them, and how much two boxes overlap.

A box is left, top, right, bottom, in pixels of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Box = tuple[float, float, float, float]

CORNERS = re.compile(r"\((.*?)\),\((.*?)\)")  # Qwen-VL: two corners in thousandths
LIST = re.compile(r"\[*\[(.*?),(.*?),(.*?),(.*?)\]")  # LLaVA, InternVL: four numbers
CORNER_SCALE = 999.0  # Qwen-VL's script divides by this, though its page speaks of a range up to 1,000
LIST_SCALE = 1000.0


def read_box(text: str, width: float, height: float, *, square: bool) -> Box | None:
    """Return the first box of an answer about a picture, None if it holds none.

    Four fractions are of the picture padded to a `square`, as LLaVA was trained on them, or else of the picture itself.
    """
    if corners := CORNERS.search(text):
        # Joined and split again, as in Qwen-VL's script: "(1,2,3),(4)" has four numbers too.
        numbers = numbers_of(",".join(corners.groups()).split(","))
        return None if numbers is None else scaled(numbers, width / CORNER_SCALE, height / CORNER_SCALE)
    listed = LIST.search(text)
    numbers = numbers_of(listed.groups()) if listed else None
    if numbers is None:
        return None
    if sum(numbers) >= 4:  # InternVL's script: no box of fractions sums to more
        return scaled(numbers, width / LIST_SCALE, height / LIST_SCALE)
    if not square:
        return scaled(numbers, width, height)
    # The shorter side was padded at both ends alike; without that padding a place in the square is one in the picture.
    side = max(width, height)
    left, top = (side - width) / 2, (side - height) / 2
    x1, y1, x2, y2 = scaled(numbers, side, side)
    return x1 - left, y1 - top, x2 - left, y2 - top


def numbers_of(texts: Sequence[str]) -> list[float] | None:
    """Return four texts as numbers, None if they are not four finite ones."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 and all(abs(number) < float("inf") for number in numbers) else None


def scaled(box: Sequence[float], across: float, down: float) -> Box:
    """Return a box in other units."""
    x1, y1, x2, y2 = box
    return x1 * across, y1 * down, x2 * across, y2 * down


def overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share over that which they cover; none where a box is turned around."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    # Where a box is turned around its area is negative; the shared one is then 0, since its width or height is below 0.
    covered = area(one) + area(other) - shared
    return shared / covered if covered > 0 else 0.0


def area(box: Box) -> float:
    """Return a box's area, negative where it is turned around in one direction."""
    return (box[2] - box[0]) * (box[3] - box[1])


def holds_center(box: Box, truth: Box) -> bool:
    """Return whether the middle of a box is in the true one."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return truth[0] <= x <= truth[2] and truth[1] <= y <= truth[3]
