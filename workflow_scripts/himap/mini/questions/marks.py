"""Questions about the marks of a picture (a mark is a shape in a color): color, shape, number, place."""

from __future__ import annotations

from collections import Counter

import numpy as np

from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.questions.knowledge import KNOWLEDGE_MAKERS
from himap.mini.questions.question import (
    Maker,
    Question,
    article,
    cells_of,
    pick,
    plural,
    unique,
    wrong_numbers,
    wrong_values,
    yes_no,
)
from himap.mini.scenes import SIDE, Mark, Scene

VERTICAL, HORIZONTAL = ("top", "middle", "bottom"), ("left", "center", "right")  # four cells each


def unique_marks(scene: Scene) -> list[Mark]:
    """Return the marks whose name (color and shape) no other mark has."""
    names = unique([mark.name for mark in scene.marks])
    return [mark for mark in scene.marks if mark.name in names]


def absent_names(scene: Scene) -> list[str]:
    """Return objects the picture lacks, the most tempting first: color and shape both shown (apart), then one of them."""
    present = {mark.name for mark in scene.marks}
    colors, shapes = {mark.color for mark in scene.marks}, {mark.shape for mark in scene.marks}
    names = [f"{color} {shape}" for color in COLOR_NAMES for shape in SHAPE_NAMES]
    absent = [name for name in names if name not in present]
    # Stable: of equals in the order of COLOR_NAMES and SHAPE_NAMES.
    return sorted(absent, key=lambda name: -sum((name.split()[0] in colors, name.split()[1] in shapes)))


def color_of_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the color of the only mark of a shape."""
    shapes = unique([mark.shape for mark in scene.marks])
    if not shapes:
        return None
    shape = pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    # The colors of the other marks tempt most: they are in the picture.
    wrong = wrong_values(COLOR_NAMES, mark.color, [other.color for other in scene.marks])
    return Question(
        "color", f"What color is the {shape}?", mark.color, f"The {shape} is {mark.color}.", wrong, cells=mark.cells
    )


def shape_of_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the shape of the only mark of a color."""
    colors = unique([mark.color for mark in scene.marks])
    if not colors:
        return None
    color = pick(rng, colors)
    mark = next(mark for mark in scene.marks if mark.color == color)
    wrong = wrong_values(SHAPE_NAMES, mark.shape, [other.shape for other in scene.marks])
    return Question(
        "shape", f"Which shape is {color}?", mark.shape, f"The {mark.shape} is {color}.", wrong, cells=mark.cells
    )


def exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether an object (a color and a shape together) is there; half of the time it is not."""
    if not scene.marks:
        return None
    present = {mark.name for mark in scene.marks}
    if rng.random() < 0.5:
        name = pick(rng, scene.marks).name
    else:
        tempting = absent_names(scene)[:12]  # mostly such whose color and shape are both there, apart
        name = pick(rng, tempting) if rng.random() < 0.6 else f"{pick(rng, COLOR_NAMES)} {pick(rng, SHAPE_NAMES)}"
    # Whatever was drawn, the answer is what the picture shows: a random color and shape may be there after all.
    text = f"Is there {article(name)} in the image?"
    yes, no = f"Yes, there is {article(name)}.", f"No, there is no {name}."
    shown = [mark for mark in scene.marks if mark.name == name]
    return yes_no("existence", text, name in present, yes, no, cells=cells_of(*shown))


def count_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many marks have a shape."""
    counts = Counter(mark.shape for mark in scene.marks)
    if not counts:
        return None
    shape = pick(rng, list(counts)) if rng.random() < 0.9 else pick(rng, SHAPE_NAMES)  # now and then the answer is 0
    return how_many(plural(shape), [mark for mark in scene.marks if mark.shape == shape])


def count_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many marks have a color."""
    counts = Counter(mark.color for mark in scene.marks)
    if not counts:
        return None
    color = pick(rng, list(counts)) if rng.random() < 0.9 else pick(rng, COLOR_NAMES)
    return how_many(f"{color} shapes", [mark for mark in scene.marks if mark.color == color])


def how_many(objects: str, marks: list[Mark]) -> Question | None:
    """Ask for the number of some marks; None above nine, so that the answer is one digit and one token."""
    number = len(marks)
    if number > 9:
        return None
    text, sentence = f"How many {objects} are there?", f"The number of {objects} is {number}."
    wrong = wrong_numbers(number)
    return Question("count", text, str(number), sentence, wrong, answer_type="number", cells=cells_of(*marks))


def count_all(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many marks there are."""
    number = len(scene.marks)
    if not 1 <= number <= 9:
        return None
    text, sentence = "How many shapes are there in total?", f"The number of shapes is {number}."
    wrong, cells = wrong_numbers(number), cells_of(*scene.marks)
    return Question("count", text, str(number), sentence, wrong, answer_type="number", cells=cells)


def count_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether there are so many marks of a shape."""
    counts = Counter(mark.shape for mark in scene.marks)
    if not counts:
        return None
    shape = pick(rng, list(counts))
    # Off by one or two; max(1, …) may bring a wrong claim back to the truth, so truth is computed below.
    claim = counts[shape] if rng.random() < 0.5 else max(1, counts[shape] + pick(rng, (-2, -1, 1, 2)))
    objects = plural(shape) if claim != 1 else shape
    text = f"{'Is' if claim == 1 else 'Are'} there {claim} {objects} in the image?"
    truth = f"the number of {plural(shape)} is {counts[shape]}."
    clues = ((objects, str(counts[shape])),)
    cells = cells_of(*(mark for mark in scene.marks if mark.shape == shape))
    return yes_no("count is", text, claim == counts[shape], f"Yes, {truth}", f"No, {truth}", clues, cells)


def color_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether the only mark of a shape has a color; a wrong color is often one that another mark has."""
    shapes = unique([mark.shape for mark in scene.marks])
    if not shapes:
        return None
    shape = pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    wrong = wrong_values(COLOR_NAMES, mark.color, [other.color for other in scene.marks])
    # `wrong` begins with the colors that the picture shows.
    claim = mark.color if rng.random() < 0.5 else pick(rng, wrong[:4])
    truth = f"the {shape} is {mark.color}."
    text, clues = f"Is the {shape} {claim}?", ((shape, mark.color),)
    return yes_no("color is", text, claim == mark.color, f"Yes, {truth}", f"No, {truth}", clues, mark.cells)


def relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether one object is left of, right of, above or below another."""
    marks = unique_marks(scene)
    if len(marks) < 2:
        return None
    first, second = (marks[i] for i in rng.permutation(len(marks))[:2])
    down, right = second.row - first.row, second.column - first.column  # positive: second is below, or to the right
    sides = []
    if abs(right) >= 2:  # only where the side is plain to see
        # Side, and whether it is true of the first.
        sides += [("to the left of", right > 0), ("to the right of", right < 0)]
    if abs(down) >= 2:
        sides += [("above", down > 0), ("below", down < 0)]
    if not sides:
        return None
    side, truth = pick(rng, sides)
    text = f"Is the {first.name} {side} the {second.name}?"
    yes, no = f"Yes, it is {side} the {second.name}.", f"No, it is not {side} the {second.name}."
    return yes_no("position", text, truth, yes, no, cells=cells_of(first, second))


def place(row: int, column: int) -> str:
    """Say where a cell is."""
    # 12 cells in thirds: 0 to 3, 4 to 7, 8 to 11.
    return f"{VERTICAL[row * 3 // SIDE]} {HORIZONTAL[column * 3 // SIDE]}"


def where(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask where an object is."""
    marks = unique_marks(scene)
    if not marks:
        return None
    mark = pick(rng, marks)
    answer = place(mark.row, mark.column)
    others = [place(other.row, other.column) for other in scene.marks]
    wrong = wrong_values([f"{down} {right}" for down in VERTICAL for right in HORIZONTAL], answer, others)
    return Question("where", f"Where is the {mark.name}?", answer, f"It is at the {answer}.", wrong, cells=mark.cells)


def neighbor(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the shape or the color directly beside, above or below an object."""
    mark_at = {(mark.row, mark.column): mark for mark in scene.marks}
    pairs = []
    for mark in unique_marks(scene):
        for side, down, right in (("right of", 0, 1), ("left of", 0, -1), ("above", -1, 0), ("below", 1, 0)):
            if other := mark_at.get((mark.row + down, mark.column + right)):
                pairs.append((mark, side, other))
    if not pairs:
        return None
    mark, side, other = pick(rng, pairs)
    visible, cells = [shown for shown in scene.marks if shown is not mark], cells_of(mark, other)
    # "neighbour" is spelled as in models/mini/training.json, which counts accuracies under this name.
    if rng.random() < 0.5:
        text, sentence = f"Which shape is directly {side} the {mark.name}?", f"The {other.shape} is directly {side} it."
        wrong = wrong_values(SHAPE_NAMES, other.shape, [shown.shape for shown in visible])
        return Question("neighbour", text, other.shape, sentence, wrong, cells=cells)
    text = f"What color is directly {side} the {mark.name}?"
    sentence = f"The color directly {side} it is {other.color}."
    wrong = wrong_values(COLOR_NAMES, other.color, [shown.color for shown in visible])
    return Question("neighbour", text, other.color, sentence, wrong, cells=cells)


def same_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask which shape has the color of the only mark of another shape."""
    single_shapes = unique([mark.shape for mark in scene.marks])
    pairs = []
    for mark in scene.marks:
        partners = [other for other in scene.marks if other.color == mark.color and other is not mark]
        if mark.shape in single_shapes and len(partners) == 1:
            pairs.append((mark, partners[0]))
    if not pairs:
        return None
    mark, other = pick(rng, pairs)
    wrong = wrong_values(SHAPE_NAMES, other.shape, [shown.shape for shown in scene.marks])
    wrong = tuple(shape for shape in wrong if shape != mark.shape)  # the question names it, so nobody would choose it
    text = f"Which shape has the same color as the {mark.shape}?"
    sentence = f"The {other.shape} has the same color."
    clues, cells = ((mark.shape, mark.color),), cells_of(mark, other)
    return Question("same color", text, other.shape, sentence, wrong, clues=clues, cells=cells)


def more(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether there are more of one shape than of another."""
    counts = Counter(mark.shape for mark in scene.marks)
    if len(counts) < 2:
        return None
    # Counter keeps the order of first occurrence, which is reading order.
    first, second = (list(counts)[i] for i in rng.permutation(len(counts))[:2])
    if counts[first] == counts[second]:
        return None
    truth = counts[first] > counts[second]
    text = f"Are there more {plural(first)} than {plural(second)}?"
    winner, loser = (first, second) if truth else (second, first)
    sentence = f"there are more {plural(winner)} than {plural(loser)}."
    clues = tuple((plural(shape), str(counts[shape])) for shape in (first, second))
    cells = cells_of(*(mark for mark in scene.marks if mark.shape in (first, second)))
    return yes_no("more", text, truth, f"Yes, {sentence}", f"No, {sentence}", clues, cells)


SIGHT_MAKERS: tuple[Maker, ...] = (  # looking is enough
    color_of_shape,
    shape_of_color,
    exists,
    count_shape,
    count_color,
    count_all,
    relation,
    neighbor,
    same_color,
    more,
)
# Training draws a maker by its index, so another order would be another mix of questions for the same seed.
MARK_MAKERS: tuple[Maker, ...] = (*SIGHT_MAKERS, *KNOWLEDGE_MAKERS, count_is, color_is)
