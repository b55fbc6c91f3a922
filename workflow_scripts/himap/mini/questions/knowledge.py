"""Questions about marks that need a second step: something everybody knows, or what the question's context says."""

from __future__ import annotations

import numpy as np

from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.questions.question import Maker, Question, article, cells_of, pick, unique, wrong_values, yes_no
from himap.mini.scenes import Scene

# The last word of each is its clue (`last_word`), so no two colors may share one.
THINGS = {
    "red": ("blood", "a tomato"),
    "green": ("grass", "a frog"),
    "blue": ("the sea", "a clear sky"),
    "yellow": ("a lemon", "a banana"),
    "orange": ("a carrot", "a pumpkin"),
    "purple": ("a plum", "an eggplant"),
    "pink": ("a pig", "a flamingo"),
    "black": ("coal", "the night"),
}
# Diamond and cross are left out; a fact's last word, such as "hole", names its shape.
FACTS = {
    "triangle": "has three corners",
    "square": "has four equal sides",
    "ring": "has a hole",
    "arrow": "shows a direction",
    "heart": "stands for love",
    "circle": "looks like a ball",
}
PEOPLE = ("Mia", "Tom", "Eva", "Max", "Lea", "Jim")


def last_word(phrase: str) -> str:
    """Return the word of a thing or a fact by which a clue names it."""
    return phrase.split()[-1]


def like_thing(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask which shape has the color of something everybody knows."""
    # Only a color that a single mark has: else more than one shape would be right.
    colors = unique([mark.color for mark in scene.marks])
    if not colors:
        return None
    color = pick(rng, colors)
    mark = next(mark for mark in scene.marks if mark.color == color)
    thing = pick(rng, THINGS[color])
    wrong = wrong_values(SHAPE_NAMES, mark.shape, [other.shape for other in scene.marks])
    text, sentence = f"Which shape has the color of {thing}?", f"The {mark.shape} is {color} like {thing}."
    return Question(
        "knowledge", text, mark.shape, sentence, wrong, clues=((last_word(thing), color),), cells=mark.cells
    )


def fact(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the color of the shape of which something is known."""
    shapes = [shape for shape in unique([mark.shape for mark in scene.marks]) if shape in FACTS]
    if not shapes:
        return None
    shape = pick(rng, shapes)
    mark = next(mark for mark in scene.marks if mark.shape == shape)
    wrong = wrong_values(COLOR_NAMES, mark.color, [other.color for other in scene.marks])
    text = f"What color is the shape that {FACTS[shape]}?"
    sentence, clues = f"The {shape} {FACTS[shape]} and is {mark.color}.", ((last_word(FACTS[shape]), shape),)
    return Question("knowledge", text, mark.color, sentence, wrong, clues=clues, cells=mark.cells)


def fact_exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether there is a shape of which something is known, or a color of something known."""
    if not scene.marks:
        return None
    return known_shape_exists(scene, rng) if rng.random() < 0.5 else known_color_exists(scene, rng)


def known_shape_exists(scene: Scene, rng: np.random.Generator) -> Question:
    """Ask whether there is a shape of which something is known."""
    shapes = {mark.shape for mark in scene.marks}
    # Lists in the order of FACTS, because a shape is drawn by its index.
    present, absent = [shape for shape in FACTS if shape in shapes], [shape for shape in FACTS if shape not in shapes]
    # Half yes and half no, unless every shape of FACTS is there or none is.
    shape = pick(rng, present if (rng.random() < 0.5 and present) or not absent else absent)
    text = f"Is there a shape that {FACTS[shape]}?"
    yes, no = f"Yes, there is {article(shape)}.", f"No, there is no {shape}."
    cells = cells_of(*(mark for mark in scene.marks if mark.shape == shape))
    return yes_no("commonsense", text, shape in shapes, yes, no, ((last_word(FACTS[shape]), shape),), cells)


def known_color_exists(scene: Scene, rng: np.random.Generator) -> Question:
    """Ask whether anything has the color of something known."""
    colors = {mark.color for mark in scene.marks}
    absent = [color for color in COLOR_NAMES if color not in colors]
    # Sorted, since the order of a set differs between processes.
    color = pick(rng, sorted(colors) if rng.random() < 0.5 or not absent else absent)
    thing = pick(rng, THINGS[color])
    text = f"Is there a shape with the color of {thing}?"
    yes, no = f"Yes, there is a {color} shape.", f"No, nothing is {color}."
    cells = cells_of(*(mark for mark in scene.marks if mark.color == color))
    return yes_no("commonsense", text, color in colors, yes, no, ((last_word(thing), color),), cells)


def story(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what the context is needed for: who likes what."""
    first, second = (PEOPLE[i] for i in rng.permutation(len(PEOPLE))[:2])
    by_color = rng.random() < 0.5  # the context names colors and the question asks for a shape, or the other way round
    keys = unique([mark.color if by_color else mark.shape for mark in scene.marks])
    if len(keys) < 2:
        return None
    wanted, other = (keys[i] for i in rng.permutation(len(keys))[:2])
    # A color is never a shape's name, so one test serves both.
    mark = next(mark for mark in scene.marks if wanted in (mark.color, mark.shape))
    other_mark = next(mark for mark in scene.marks if other in (mark.color, mark.shape))
    noun = " shape" if by_color else ""
    sentences = [f"{first} likes the {wanted}{noun}.", f"{second} likes the {other}{noun}."]
    context = " ".join(sentences[i] for i in rng.permutation(2))  # the person who is asked about comes first or second
    if by_color:
        text, answer, sentence = f"Which shape does {first} like?", mark.shape, f"{first} likes the {mark.shape}."
        wrong = wrong_values(SHAPE_NAMES, answer, [shown.shape for shown in scene.marks])
    else:
        text, answer, sentence = f"Which color does {first} like?", mark.color, f"{first} likes {mark.color}."
        wrong = wrong_values(COLOR_NAMES, answer, [shown.color for shown in scene.marks])
    other_value = other_mark.shape if by_color else other_mark.color
    # Step by step: whom the question names, what that person likes, and the same for the other one.
    clues = ((first, wanted), (wanted, answer), (other, other_value))
    return Question("story", text, answer, sentence, wrong, context, clues=clues, cells=mark.cells)


KNOWLEDGE_MAKERS: tuple[Maker, ...] = (like_thing, fact, fact_exists, story)
