"""Questions about a scene with their answers, and the prompt forms in which a benchmark puts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.scenes import BAR_LABELS, WORDS, Mark, Scene

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
ONE_WORD = "Answer the question with a single word."
CAPTION = "Provide a one-sentence caption for the provided image."

THINGS = {  # what everybody knows about colors and shapes: the second step of some questions
    "red": ("blood", "a tomato"),
    "green": ("grass", "a frog"),
    "blue": ("the sea", "a clear sky"),
    "yellow": ("a lemon", "a banana"),
    "orange": ("a carrot", "a pumpkin"),
    "purple": ("a plum", "an eggplant"),
    "pink": ("a pig", "a flamingo"),
    "black": ("coal", "the night"),
}
FACTS = {
    "triangle": "has three corners",
    "square": "has four equal sides",
    "ring": "has a hole",
    "arrow": "shows a direction",
    "heart": "stands for love",
    "circle": "looks like a ball",
}


@dataclass(frozen=True)
class Question:
    """A question, its short answer, the answer as a sentence, and wrong answers that could be options.

    `clues` are what must be found on the way to the answer: a word of the question, and what is true of it.
    """

    kind: str
    text: str
    answer: str
    sentence: str
    wrong: tuple[str, ...] = ()
    context: str = ""
    answer_type: str = "other"
    clues: tuple[tuple[str, str], ...] = ()


Maker = Callable[[Scene, np.random.Generator], Question | None]


def plural(shape: str) -> str:
    """The plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _pick(rng: np.random.Generator, items: list | tuple):
    return items[int(rng.integers(len(items)))]


def _unique(values: list[str]) -> list[str]:
    """The values that occur exactly once."""
    return [value for value, number in Counter(values).items() if number == 1]


def _others(all_values: tuple[str, ...] | list[str], answer: str, first: list[str] | None = None) -> tuple[str, ...]:
    """Wrong answers, those that the picture also shows first."""
    shown = [value for value in dict.fromkeys(first or []) if value != answer]
    return tuple(shown + [value for value in all_values if value != answer and value not in shown])


def _near(number: int) -> tuple[str, ...]:
    """Wrong numbers, the nearest first."""
    return tuple(str(n) for n in sorted(range(13), key=lambda n: (abs(n - number), n)) if n != number)


def _yes_no(kind: str, text: str, truth: bool, yes: str, no: str, clues: tuple[tuple[str, str], ...] = ()) -> Question:
    return Question(kind, text, "yes" if truth else "no", yes if truth else no, answer_type="yes/no", clues=clues)


def unique_marks(scene: Scene) -> list[Mark]:
    """The marks whose name (color and shape) no other mark has."""
    names = _unique([mark.name for mark in scene.marks])
    return [mark for mark in scene.marks if mark.name in names]


def color_of_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Color of the only mark of a shape."""
    shapes = _unique([mark.shape for mark in scene.marks])
    if not shapes:
        return None
    shape = _pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    wrong = _others(COLOR_NAMES, mark.color, [m.color for m in scene.marks])
    return Question("color", f"What color is the {shape}?", mark.color, f"The {shape} is {mark.color}.", wrong)


def shape_of_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Shape of the only mark of a color."""
    colors = _unique([mark.color for mark in scene.marks])
    if not colors:
        return None
    color = _pick(rng, colors)
    mark = next(mark for mark in scene.marks if mark.color == color)
    wrong = _others(SHAPE_NAMES, mark.shape, [m.shape for m in scene.marks])
    return Question("shape", f"Which shape is {color}?", mark.shape, f"The {mark.shape} is {color}.", wrong)


def exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether an object (a color and a shape together) is there; half of the time it is not."""
    if not scene.marks:
        return None
    present = {mark.name for mark in scene.marks}
    if rng.random() < 0.5:
        name = _pick(rng, scene.marks).name
    else:
        near = absent_names(scene)[:12]
        name = _pick(rng, near) if rng.random() < 0.6 else f"{_pick(rng, COLOR_NAMES)} {_pick(rng, SHAPE_NAMES)}"
    named = article(name)
    return _yes_no(
        "existence",
        f"Is there {named} in the image?",
        name in present,
        f"Yes, there is {named}.",
        f"No, there is no {name}.",
    )


def absent_names(scene: Scene) -> list[str]:
    """Objects that the picture lacks, those first whose color and shape it shows (on other objects), then those with one of both."""
    present = {mark.name for mark in scene.marks}
    colors, shapes = {mark.color for mark in scene.marks}, {mark.shape for mark in scene.marks}
    names = [f"{color} {shape}" for color in COLOR_NAMES for shape in SHAPE_NAMES]
    absent = [name for name in names if name not in present]
    return sorted(absent, key=lambda name: -sum((name.split()[0] in colors, name.split()[1] in shapes)))


def count_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many marks have a shape."""
    shapes = Counter(mark.shape for mark in scene.marks)
    if not shapes:
        return None
    shape = _pick(rng, list(shapes)) if rng.random() < 0.9 else _pick(rng, SHAPE_NAMES)
    number = shapes[shape]
    if number > 9:
        return None
    return Question(
        "count",
        f"How many {plural(shape)} are there?",
        str(number),
        f"The number of {plural(shape)} is {number}.",
        _near(number),
        answer_type="number",
    )


def count_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many marks have a color."""
    colors = Counter(mark.color for mark in scene.marks)
    if not colors:
        return None
    color = _pick(rng, list(colors)) if rng.random() < 0.9 else _pick(rng, COLOR_NAMES)
    number = colors[color]
    if number > 9:
        return None
    return Question(
        "count",
        f"How many {color} shapes are there?",
        str(number),
        f"The number of {color} shapes is {number}.",
        _near(number),
        answer_type="number",
    )


def count_all(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many marks there are."""
    number = len(scene.marks)
    if not 1 <= number <= 9:
        return None
    text, sentence = "How many shapes are there in total?", f"The number of shapes is {number}."
    return Question("count", text, str(number), sentence, _near(number), answer_type="number")


def count_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether there are so many marks of a shape."""
    counts = Counter(mark.shape for mark in scene.marks)
    if not counts:
        return None
    shape = _pick(rng, list(counts))
    said = counts[shape] if rng.random() < 0.5 else max(1, counts[shape] + int(_pick(rng, (-2, -1, 1, 2))))
    named = plural(shape) if said != 1 else shape
    text = f"{'Is' if said == 1 else 'Are'} there {said} {named} in the image?"
    truth = f"the number of {plural(shape)} is {counts[shape]}."
    clues = ((named, str(counts[shape])),)
    return _yes_no("count is", text, said == counts[shape], f"Yes, {truth}", f"No, {truth}", clues)


def color_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether the only mark of a shape has a color; a wrong color is often one that another mark has."""
    shapes = _unique([mark.shape for mark in scene.marks])
    if not shapes:
        return None
    shape = _pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    wrong = _others(COLOR_NAMES, mark.color, [m.color for m in scene.marks])
    said = mark.color if rng.random() < 0.5 else _pick(rng, wrong[:4])
    truth = f"the {shape} is {mark.color}."
    clues = ((shape, mark.color),)
    return _yes_no("color is", f"Is the {shape} {said}?", said == mark.color, f"Yes, {truth}", f"No, {truth}", clues)


def relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether one object is left of, right of, above or below another."""
    marks = unique_marks(scene)
    if len(marks) < 2:
        return None
    first, second = (marks[i] for i in rng.permutation(len(marks))[:2])
    down, right = second.row - first.row, second.column - first.column
    sides = []
    if abs(right) >= 2:
        sides += [("to the left of", right > 0), ("to the right of", right < 0)]
    if abs(down) >= 2:
        sides += [("above", down > 0), ("below", down < 0)]
    if not sides:
        return None
    side, truth = _pick(rng, sides)
    text = f"Is the {first.name} {side} the {second.name}?"
    return _yes_no(
        "position", text, truth, f"Yes, it is {side} the {second.name}.", f"No, it is not {side} the {second.name}."
    )


def neighbour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What stands directly beside, above or below an object."""
    at = {(mark.row, mark.column): mark for mark in scene.marks}
    pairs = []
    for mark in unique_marks(scene):
        for side, down, right in (("right of", 0, 1), ("left of", 0, -1), ("above", -1, 0), ("below", 1, 0)):
            if other := at.get((mark.row + down, mark.column + right)):
                pairs.append((mark, side, other))
    if not pairs:
        return None
    mark, side, other = _pick(rng, pairs)
    shown = [m for m in scene.marks if m is not mark]
    if rng.random() < 0.5:
        text, wrong = (
            f"Which shape is directly {side} the {mark.name}?",
            _others(SHAPE_NAMES, other.shape, [m.shape for m in shown]),
        )
        return Question("neighbour", text, other.shape, f"The {other.shape} is directly {side} it.", wrong)
    text, wrong = (
        f"What color is directly {side} the {mark.name}?",
        _others(COLOR_NAMES, other.color, [m.color for m in shown]),
    )
    return Question("neighbour", text, other.color, f"The color directly {side} it is {other.color}.", wrong)


def same_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Which shape has the color of the only mark of another shape."""
    single = _unique([mark.shape for mark in scene.marks])
    pairs = []
    for mark in scene.marks:
        partners = [other for other in scene.marks if other.color == mark.color and other is not mark]
        if mark.shape in single and len(partners) == 1:
            pairs.append((mark, partners[0]))
    if not pairs:
        return None
    mark, other = _pick(rng, pairs)
    wrong = tuple(s for s in _others(SHAPE_NAMES, other.shape, [m.shape for m in scene.marks]) if s != mark.shape)
    text = f"Which shape has the same color as the {mark.shape}?"
    sentence = f"The {other.shape} has the same color."
    return Question("same color", text, other.shape, sentence, wrong, clues=((mark.shape, mark.color),))


def more(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether there are more of one shape than of another."""
    counts = Counter(mark.shape for mark in scene.marks)
    if len(counts) < 2:
        return None
    first, second = (list(counts)[i] for i in rng.permutation(len(counts))[:2])
    if counts[first] == counts[second]:
        return None
    truth = counts[first] > counts[second]
    text = f"Are there more {plural(first)} than {plural(second)}?"
    winner, loser = (first, second) if truth else (second, first)
    sentence = f"there are more {plural(winner)} than {plural(loser)}."
    clues = tuple((plural(shape), str(counts[shape])) for shape in (first, second))
    return _yes_no("more", text, truth, f"Yes, {sentence}", f"No, {sentence}", clues)


def like_thing(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Which shape has the color of something everybody knows."""
    colors = _unique([mark.color for mark in scene.marks])
    if not colors:
        return None
    color = _pick(rng, colors)
    mark = next(mark for mark in scene.marks if mark.color == color)
    thing = _pick(rng, THINGS[color])
    wrong = _others(SHAPE_NAMES, mark.shape, [m.shape for m in scene.marks])
    sentence = f"The {mark.shape} is {color} like {thing}."
    text, clues = f"Which shape has the color of {thing}?", ((thing.split()[-1], color),)
    return Question("knowledge", text, mark.shape, sentence, wrong, clues=clues)


def fact(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Color of the shape of which something is known."""
    shapes = [shape for shape in _unique([mark.shape for mark in scene.marks]) if shape in FACTS]
    if not shapes:
        return None
    shape = _pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    wrong = _others(COLOR_NAMES, mark.color, [m.color for m in scene.marks])
    text = f"What color is the shape that {FACTS[shape]}?"
    sentence, clues = f"The {shape} {FACTS[shape]} and is {mark.color}.", ((FACTS[shape].split()[-1], shape),)
    return Question("knowledge", text, mark.color, sentence, wrong, clues=clues)


def fact_exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether there is a shape of which something is known, or a color of something known."""
    if not scene.marks:
        return None
    if rng.random() < 0.5:
        shapes = {mark.shape for mark in scene.marks}
        inside, outside = [s for s in FACTS if s in shapes], [s for s in FACTS if s not in shapes]
        pool = inside if (rng.random() < 0.5 and inside) or not outside else outside
        shape = _pick(rng, pool)
        text = f"Is there a shape that {FACTS[shape]}?"
        yes, no = f"Yes, there is {article(shape)}.", f"No, there is no {shape}."
        return _yes_no("commonsense", text, shape in shapes, yes, no, ((FACTS[shape].split()[-1], shape),))
    colors = {mark.color for mark in scene.marks}
    outside = [color for color in COLOR_NAMES if color not in colors]
    color = _pick(rng, sorted(colors) if rng.random() < 0.5 or not outside else outside)
    thing = _pick(rng, THINGS[color])
    text, clues = f"Is there a shape with the color of {thing}?", ((thing.split()[-1], color),)
    yes, no = f"Yes, there is a {color} shape.", f"No, nothing is {color}."
    return _yes_no("commonsense", text, color in colors, yes, no, clues)


def story(scene: Scene, rng: np.random.Generator) -> Question | None:
    """A question that needs its context: who wants what."""
    names = ("Mia", "Tom", "Eva", "Max", "Lea", "Jim")
    first, second = (names[i] for i in rng.permutation(len(names))[:2])
    by_color = rng.random() < 0.5
    keys = _unique([mark.color if by_color else mark.shape for mark in scene.marks])
    if len(keys) < 2:
        return None
    wanted, other = (keys[i] for i in rng.permutation(len(keys))[:2])
    mark = next(mark for mark in scene.marks if wanted in (mark.color, mark.shape))
    noun = " shape" if by_color else ""
    lines = [f"{first} likes the {wanted}{noun}.", f"{second} likes the {other}{noun}."]
    partner = next(mark for mark in scene.marks if other in (mark.color, mark.shape))
    context = " ".join(lines[i] for i in rng.permutation(2))
    if by_color:
        text, answer, sentence = f"Which shape does {first} like?", mark.shape, f"{first} likes the {mark.shape}."
        wrong = _others(SHAPE_NAMES, answer, [m.shape for m in scene.marks])
    else:
        text, answer, sentence = f"Which color does {first} like?", mark.color, f"{first} likes {mark.color}."
        wrong = _others(COLOR_NAMES, answer, [m.color for m in scene.marks])
    others = partner.shape if by_color else partner.color
    clues = ((first, wanted), (wanted, answer), (other, others))
    return Question("story", text, answer, sentence, wrong, context, clues=clues)


def word(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What a colored word says."""
    if not scene.words or scene.kind == "document":
        return None
    written = _pick(rng, scene.words)
    shown = [w.text for w in scene.words]
    wrong = _others([WORDS[i] for i in rng.integers(len(WORDS), size=6)], written.text, shown)
    if len(scene.words) == 1 and rng.random() < 0.6:
        return Question("word", "What is written in the image?", written.text, f"The word is {written.text}.", wrong)
    text = f"What does the {written.color} word say?"
    return Question("word", text, written.text, f"The {written.color} word says {written.text}.", wrong)


def word_place(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What the top or the bottom word says."""
    if len(scene.words) < 2 or scene.kind == "document":
        return None
    place = _pick(rng, ("top", "bottom"))
    written = scene.words[0 if place == "top" else -1]
    wrong = _others([WORDS[i] for i in rng.integers(len(WORDS), size=6)], written.text, [w.text for w in scene.words])
    return Question(
        "word", f"What does the {place} word say?", written.text, f"The {place} word says {written.text}.", wrong
    )


def word_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether the picture says a word."""
    if not scene.words or scene.kind == "document":
        return None
    shown = {w.text for w in scene.words}
    text = _pick(rng, scene.words).text if rng.random() < 0.5 else _pick(rng, WORDS)
    question = f'Is the word in the image "{text}"?' if len(shown) == 1 else f'Is there the word "{text}" in the image?'
    return _yes_no("word is", question, text in shown, f"Yes, it says {text}.", f"No, it does not say {text}.")


def word_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """In which color a word is written."""
    if not scene.words or scene.kind == "document":
        return None
    written = _pick(rng, scene.words)
    wrong = _others(COLOR_NAMES, written.color, [w.color for w in scene.words])
    text = f'What color is the word "{written.text}"?' if len(scene.words) > 1 else "What color is the word?"
    return Question("word color", text, written.color, f"The word is {written.color}.", wrong)


def bar_value(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The value of a bar, named by its color or by its label."""
    if not scene.bars:
        return None
    bar = _pick(rng, scene.bars)
    named = f"the {bar.color} bar" if rng.random() < 0.6 else f"bar {bar.label}"
    text = f"What is the value of {named}?"
    return Question(
        "bar value",
        text,
        str(bar.value),
        f"The value of {named} is {bar.value}.",
        _near(bar.value),
        answer_type="number",
        clues=((bar.color if bar.color in named else bar.label, str(bar.value)),),
    )


def bar_extreme(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Color, label or value of the largest or smallest bar."""
    if not scene.bars:
        return None
    word_, best = _pick(rng, (("largest", max), ("smallest", min)))
    bar = best(scene.bars, key=lambda b: b.value)
    what = int(rng.integers(3))
    if what == 0:
        text, sentence = f"What color is the {word_} bar?", f"The {word_} bar is {bar.color}."
        wrong = _others(COLOR_NAMES, bar.color, [b.color for b in scene.bars])
        return Question("bar extreme", text, bar.color, sentence, wrong, clues=((word_, bar.color),))
    if what == 1:
        text, sentence = f"What is the label of the {word_} bar?", f"Its label is {bar.label}."
        wrong = _others(tuple(BAR_LABELS), bar.label, [b.label for b in scene.bars])
        return Question("bar extreme", text, bar.label, sentence, wrong, clues=((word_, bar.color),))
    text = f"What is the {word_} value?"
    return Question(
        "bar extreme",
        text,
        str(bar.value),
        f"The {word_} value is {bar.value}.",
        _near(bar.value),
        answer_type="number",
        clues=((word_, str(bar.value)),),
    )


def bar_larger(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The larger or the smaller of two bars."""
    if not scene.bars:
        return None
    first, second = (scene.bars[i] for i in rng.permutation(len(scene.bars))[:2])
    word_, best = _pick(rng, (("larger", max), ("smaller", min)))
    bar = best((first, second), key=lambda b: b.value)
    other = second if bar is first else first
    text = f"Which bar is {word_}, {first.color} or {second.color}?"
    wrong = (other.color, *(c for c in COLOR_NAMES if c not in (bar.color, other.color)))
    clues = tuple((b.color, str(b.value)) for b in (first, second))
    return Question("bar larger", text, bar.color, f"The {bar.color} bar is {word_}.", wrong, clues=clues)


def bar_more(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether a bar is larger than another."""
    if not scene.bars:
        return None
    first, second = (scene.bars[i] for i in rng.permutation(len(scene.bars))[:2])
    text = f"Is the {first.color} bar larger than the {second.color} bar?"
    clues = tuple((bar.color, str(bar.value)) for bar in (first, second))
    return _yes_no("bar more", text, first.value > second.value, "Yes, it is larger.", "No, it is smaller.", clues)


def bar_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many bars there are."""
    if not scene.bars:
        return None
    number = len(scene.bars)
    text, sentence = "How many bars are there?", f"There are {number} bars."
    return Question("bar count", text, str(number), sentence, _near(number), answer_type="number")


def bar_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The color of the bar with a label."""
    if not scene.bars:
        return None
    bar = _pick(rng, scene.bars)
    wrong = _others(COLOR_NAMES, bar.color, [b.color for b in scene.bars])
    text, sentence = f"What color is bar {bar.label}?", f"Bar {bar.label} is {bar.color}."
    return Question("bar color", text, bar.color, sentence, wrong, clues=((bar.label, bar.color),))


def field_value(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What a line of a form says."""
    if not scene.fields:
        return None
    name = _pick(rng, list(scene.fields))
    value = scene.fields[name]
    text = f"What is the {name.lower()}?"
    shown = list(scene.fields.values())
    return Question(
        "field", text, value, f"The {name.lower()} is {value}.", _others(("PARIS", "LAMP", "OTTO", "77"), value, shown)
    )


def total(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The result of the sum in the picture."""
    if scene.terms is None:
        return None
    result = sum(scene.terms)
    wrong = tuple(str(result + d) for d in (1, -1, 2, -2, 3))
    text, sentence = "What is the result of the sum?", f"The result is {result}."
    return Question("sum", text, str(result), sentence, wrong, answer_type="number", clues=_terms(scene.terms))


def total_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether the sum in the picture has a result."""
    if scene.terms is None:
        return None
    result = sum(scene.terms)
    said = result if rng.random() < 0.5 else max(2, result + int(_pick(rng, (-2, -1, 1, 2))))
    text = f"Is the result of the sum in the image {said}?"
    yes, no = f"Yes, it is {result}.", f"No, it is {result}."
    return _yes_no("sum is", text, said == result, yes, no, _terms(scene.terms))


def _terms(terms: tuple[int, int]) -> tuple[tuple[str, str], ...]:
    """The clues of a sum: the digits before its two signs, and the last digit of the result."""
    return ("sum", str(terms[0])), ("result", str(terms[1])), ("?", str(sum(terms) % 10))


def scene_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What sort of picture it is."""
    names = {"chart": "bars", "document": "a form", "shapes": "only shapes", "sum": "a sum"}
    if scene.kind not in names or (scene.kind == "shapes" and scene.words):
        return None
    truth = names[scene.kind]
    said = truth if rng.random() < 0.5 else _pick(rng, [name for name in names.values() if name != truth])
    return _yes_no(
        "scene", f"Is this a picture with {said}?", said == truth, f"Yes, with {truth}.", f"No, with {truth}."
    )


MARK_MAKERS: tuple[Maker, ...] = (
    color_of_shape,
    shape_of_color,
    exists,
    count_shape,
    count_color,
    count_all,
    relation,
    neighbour,
    same_color,
    more,
    like_thing,
    fact,
    fact_exists,
    story,
    count_is,
    color_is,
)
WORD_MAKERS: tuple[Maker, ...] = (word, word_place, word_is, word_color)
BAR_MAKERS: tuple[Maker, ...] = (bar_value, bar_extreme, bar_larger, bar_more, bar_count, bar_color)
FIELD_MAKERS: tuple[Maker, ...] = (field_value,)
SUM_MAKERS: tuple[Maker, ...] = (total, total_is)


def with_options(question: Question, rng: np.random.Generator, number: int) -> tuple[list[str], int]:
    """Options in random order and the index of the right one; wrong ones come from those the picture shows, where it can."""
    pool = question.wrong[: max(number + 1, 4)]
    wrong = [pool[i] for i in rng.permutation(len(pool))[: number - 1]]
    options = [question.answer, *wrong]
    order = rng.permutation(len(options))
    return [options[i] for i in order], int(np.flatnonzero(order == 0)[0])


def choice_text(text: str, options: list[str], context: str = "") -> str:
    """The multiple-choice prompt: context, question, lettered options, instruction."""
    lines = [f"Context: {context}"] if context else []
    lines += [text, *(f"{'ABCDE'[i]}. {option}" for i, option in enumerate(options)), LETTER]
    return "\n".join(lines)


def options_text(text: str, options: list[str]) -> str:
    """The multiple-choice prompt of FastV's evaluation: options on one line."""
    line = " ".join(f"({'ABCDE'[i]}) {option}" for i, option in enumerate(options))
    first = "Analyse the image and choose the best answer for the following question:"
    return f"\n{first}\n{text}\nOptions: {line}\nJust output the letter of the correct answer."


def short_text(text: str) -> str:
    """The prompt for an answer of a word or phrase."""
    return f"{text}\n{SHORT}"


def ocr_text(text: str, tokens: list[str]) -> str:
    """The prompt with what a text reader found in the picture."""
    return f"{text.capitalize()}\nReference OCR token: {', '.join(tokens)}\n{SHORT}"


def chart_text(text: str) -> str:
    """The prompt of questions about charts."""
    return f"{text}\n{ONE_WORD}"


def ask(
    maker: Maker, scene: Scene, rng: np.random.Generator, answer: str | None = None, tries: int = 20
) -> Question | None:
    """Call a maker until it finds a question (with the given answer, if any)."""
    for _ in range(tries):
        question = maker(scene, rng)
        if question is not None and (answer is None or question.answer == answer):
            return question
    return None
