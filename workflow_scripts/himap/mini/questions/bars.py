"""Questions about the bars of a chart."""

from __future__ import annotations

import numpy as np

from himap.mini.glyphs import COLOR_NAMES
from himap.mini.questions.question import Clues, Maker, Question, cells_of, pick, wrong_numbers, wrong_values, yes_no
from himap.mini.scenes import BAR_LABELS, Bar, Scene


def two_bars(scene: Scene, rng: np.random.Generator) -> tuple[Bar, Bar]:
    """Draw two different bars."""
    first, second = (scene.bars[i] for i in rng.permutation(len(scene.bars))[:2])
    return first, second


def values_of(*bars: Bar) -> Clues:
    """Return the clues that name each bar's value by its color."""
    return tuple((bar.color, str(bar.value)) for bar in bars)  # a color names one bar alone


def bar_value(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the value of a bar, named by its color or by its label."""
    if not scene.bars:
        return None
    bar = pick(rng, scene.bars)
    by_color = rng.random() < 0.6
    name = f"the {bar.color} bar" if by_color else f"bar {bar.label}"
    return Question(
        "bar value",
        f"What is the value of {name}?",
        str(bar.value),
        f"The value of {name} is {bar.value}.",
        wrong_numbers(bar.value),
        answer_type="number",
        clues=((bar.color if by_color else bar.label, str(bar.value)),),
        cells=bar.cells,
    )


def bar_extreme(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for color, label or value of the largest or smallest bar."""
    if not scene.bars:
        return None
    extreme, choose = pick(rng, (("largest", max), ("smallest", min)))  # `choose` finds the bar that the word names
    bar = choose(scene.bars, key=lambda bar: bar.value)
    asked = pick(rng, ("color", "label", "value"))
    cells = cells_of(*scene.bars)  # all of them, since each might be the one
    if asked == "color":
        text, sentence = f"What color is the {extreme} bar?", f"The {extreme} bar is {bar.color}."
        wrong = wrong_values(COLOR_NAMES, bar.color, [other.color for other in scene.bars])
        return Question("bar extreme", text, bar.color, sentence, wrong, clues=((extreme, bar.color),), cells=cells)
    if asked == "label":
        text, sentence = f"What is the label of the {extreme} bar?", f"Its label is {bar.label}."
        wrong = wrong_values(BAR_LABELS, bar.label, [other.label for other in scene.bars])
        # The clue is the color: first find which bar it is, then read what stands under it.
        return Question("bar extreme", text, bar.label, sentence, wrong, clues=((extreme, bar.color),), cells=cells)
    return Question(
        "bar extreme",
        f"What is the {extreme} value?",
        str(bar.value),
        f"The {extreme} value is {bar.value}.",
        wrong_numbers(bar.value),
        answer_type="number",
        clues=((extreme, str(bar.value)),),
        cells=cells,
    )


def bar_larger(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the larger or the smaller of two bars."""
    if not scene.bars:
        return None
    first, second = two_bars(scene, rng)
    comparison, choose = pick(rng, (("larger", max), ("smaller", min)))
    bar = choose((first, second), key=lambda bar: bar.value)
    other = second if bar is first else first
    text = f"Which bar is {comparison}, {first.color} or {second.color}?"
    sentence = f"The {bar.color} bar is {comparison}."
    # The other of the two tempts most.
    wrong = wrong_values(COLOR_NAMES, bar.color, [other.color])
    clues, cells = values_of(first, second), cells_of(first, second)
    return Question("bar larger", text, bar.color, sentence, wrong, clues=clues, cells=cells)


def bar_more(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether a bar is larger than another."""
    if not scene.bars:
        return None
    first, second = two_bars(scene, rng)
    # No two values are equal.
    text, truth = f"Is the {first.color} bar larger than the {second.color} bar?", first.value > second.value
    clues, cells = values_of(first, second), cells_of(first, second)
    return yes_no("bar more", text, truth, "Yes, it is larger.", "No, it is smaller.", clues, cells)


def bar_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many bars there are."""
    if not scene.bars:
        return None
    number = len(scene.bars)
    text, sentence = "How many bars are there?", f"There are {number} bars."
    wrong, cells = wrong_numbers(number), cells_of(*scene.bars)
    return Question("bar count", text, str(number), sentence, wrong, answer_type="number", cells=cells)


def bar_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the color of the bar with a label."""
    if not scene.bars:
        return None
    bar = pick(rng, scene.bars)
    wrong = wrong_values(COLOR_NAMES, bar.color, [other.color for other in scene.bars])
    text, sentence = f"What color is bar {bar.label}?", f"Bar {bar.label} is {bar.color}."
    clues = ((bar.label, bar.color),)
    return Question("bar color", text, bar.color, sentence, wrong, clues=clues, cells=bar.cells)


BAR_MAKERS: tuple[Maker, ...] = (bar_value, bar_extreme, bar_larger, bar_more, bar_count, bar_color)
