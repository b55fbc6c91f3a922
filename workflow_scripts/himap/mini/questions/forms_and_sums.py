"""Questions about the lines of a form, about a sum, and about what sort of picture it is."""

from __future__ import annotations

import numpy as np

from himap.mini.glyphs import INDEX
from himap.mini.questions.question import Clues, Maker, Question, cells_of, pick, wrong_values, yes_no
from himap.mini.scenes import Cells, Scene


def field_value(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what a line of a form says."""
    if not scene.fields:
        return None
    name = pick(rng, list(scene.fields))  # such as "COST"
    value, label = scene.fields[name], name.lower()
    # Other values of the form tempt most; the four given ones fill up where it has few lines.
    wrong = wrong_values(("PARIS", "LAMP", "OTTO", "77"), value, list(scene.fields.values()))
    row = next(word.row for word in scene.words if word.text == name)  # a form's lines are words, too, two in a row
    line = [word for word in scene.words if word.row == row]  # the name and the value
    text, sentence = f"What is the {label}?", f"The {label} is {value}."
    return Question("field", text, value, sentence, wrong, cells=cells_of(*line))


def total(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the result of the sum in the picture."""
    if scene.terms is None:
        return None
    result = sum(scene.terms)
    # Off by little: nobody would choose far ones.
    wrong = tuple(str(result + distance) for distance in (1, -1, 2, -2, 3))
    text, sentence = "What is the result of the sum?", f"The result is {result}."
    clues, cells = sum_clues(scene.terms), sum_cells(scene)
    return Question("sum", text, str(result), sentence, wrong, answer_type="number", clues=clues, cells=cells)


def total_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether the sum in the picture has a result."""
    if scene.terms is None:
        return None
    result = sum(scene.terms)
    # At least 2, the smallest sum of two digits from 1; then a wrong claim may turn out right.
    claim = result if rng.random() < 0.5 else max(2, result + pick(rng, (-2, -1, 1, 2)))
    text = f"Is the result of the sum in the image {claim}?"
    yes, no = f"Yes, it is {result}.", f"No, it is {result}."
    return yes_no("sum is", text, claim == result, yes, no, sum_clues(scene.terms), sum_cells(scene))


def sum_cells(scene: Scene) -> Cells:
    """Return the four cells of a sum: a digit, +, a digit, =."""
    # There is one + in a sum's picture.
    row, column = (int(place[0]) for place in np.nonzero(scene.glyphs == INDEX["+"]))
    return tuple((row, column + offset) for offset in (-1, 0, 1, 2))


def sum_clues(terms: tuple[int, int]) -> Clues:
    """Return the clues of a sum: the digits before its two signs, and the last digit of the result."""
    # "sum" and "result" are the words by which a question asks for "+" and "=" (batches.ASKED_AS).
    return ("sum", str(terms[0])), ("result", str(terms[1])), ("?", str(sum(terms) % 10))


def scene_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what sort of picture it is; only where one description fits and no other does."""
    # Few shapes and signs are left out: "only shapes" is true of some of them as well.
    names = {"chart": "bars", "document": "a form", "shapes": "only shapes", "sum": "a sum"}
    if scene.kind not in names or (scene.kind == "shapes" and scene.words):
        return None
    truth = names[scene.kind]
    claim = truth if rng.random() < 0.5 else pick(rng, [name for name in names.values() if name != truth])
    text = f"Is this a picture with {claim}?"
    return yes_no("scene", text, claim == truth, f"Yes, with {truth}.", f"No, with {truth}.")


FIELD_MAKERS: tuple[Maker, ...] = (field_value,)
SUM_MAKERS: tuple[Maker, ...] = (total, total_is)
