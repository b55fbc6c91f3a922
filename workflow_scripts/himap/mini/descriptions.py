"""Longer texts about a picture: captions, descriptions, answers with a reason, and two questions in one.

Benchmarks of the embedded world ask for them, and `conversations.py` mixes them into what the mini model learns from.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from himap.mini.questions.forms_and_sums import total
from himap.mini.questions.marks import color_of_shape, place, shape_of_color
from himap.mini.questions.question import Maker, article, ask
from himap.mini.questions.words import word_text
from himap.mini.scenes import Cells, Scene

# Prompts without an instruction, since the answers are whole sentences.
DETAIL = "Describe this picture in detail."
LISTING = "What objects are in this picture?"
COMMON = "Which color is the most common, and why?"
BEST = "Which bar would you choose to get the most, and why?"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

# The first is what the model mostly learns to say; the captions of a benchmark's picture use all of them.
WORDINGS = (
    "{}.",
    "There is {} in the picture.",
    "A picture of {}.",
    "{} on a plain background.",
    "The image shows {}.",
    "This picture contains {}.",
    "You can see {} here.",
    "A simple drawing with {}.",
    "{}, spread over a light page.",
    "An image with {}.",
)


def join(parts: list[str]) -> str:
    """Join phrases with commas and a final "and"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def content(scene: Scene) -> list[str]:
    """Return what a caption names: words, then shapes, each in reading order; of a chart its extremes; of a form its lines."""
    if scene.kind == "chart":
        bars = sorted(scene.bars, key=lambda bar: bar.value)  # no two have the same value
        return [
            f"a bar chart with {NUMBERS[len(bars)]} bars",
            f"{article(bars[-1].color)} one as the largest",
            f"{article(bars[0].color)} one as the smallest",
        ]
    if scene.kind == "document":
        return ["a form with the " + join([name.lower() for name in scene.fields])]
    # May be empty: a sum has only its digits unless marks lie around it.
    words = [f"the word {word.text} in {word.color}" for word in scene.words]
    return words + [article(mark.name) for mark in scene.marks]


def captions(scene: Scene, rng: np.random.Generator, number: int) -> list[str]:
    """Return captions in different wordings; the first names everything in reading order, others may reorder or leave out."""
    parts = content(scene)
    result = [caption(WORDINGS[0], parts)]
    for wording in rng.permutation(len(WORDINGS) - 1)[: number - 1] + 1:  # + 1: the first wording is taken
        chosen = list(parts)
        # A chart's phrases refer to each other ("a bar chart …, a red one …"), so they keep their order.
        if scene.kind != "chart" and len(chosen) > 2:
            if rng.random() < 0.25:
                chosen = [chosen[i] for i in rng.permutation(len(chosen))]
            if rng.random() < 0.25:
                chosen.pop()
        result.append(caption(WORDINGS[wording], chosen))
    return result


def caption(wording: str, parts: list[str]) -> str:
    """Put what a caption names into a wording, with a capital at the start."""
    text = wording.format(join(parts))
    return text[0].upper() + text[1:]  # not capitalize(), which would lower the letters of "STOP"


def detail(scene: Scene) -> str:
    """Describe every word and mark with its place, or all bars of a chart, or all lines of a form."""
    if scene.kind == "chart":
        return " ".join(f"The {bar.color} bar {bar.label} has the value {bar.value}." for bar in scene.bars)
    if scene.kind == "document":
        return " ".join(f"The {name.lower()} is {value}." for name, value in scene.fields.items())
    lines = [f"The word {word.text} is at the {place(word.row, word.column)}." for word in scene.words]
    lines += [f"{article(mark.name).capitalize()} is at the {place(mark.row, mark.column)}." for mark in scene.marks]
    return " ".join(lines)


def most_common(scene: Scene) -> str | None:
    """Return the answer to COMMON; None where no color has more marks than any other, two to nine."""
    counts = Counter(mark.color for mark in scene.marks).most_common(2)  # the second tells a tie
    if not counts:
        return None
    color, number = counts[0]
    tied = len(counts) > 1 and counts[1][1] == number
    if tied or not 2 <= number <= 9:
        return None
    return f"The most common color is {color}, because {NUMBERS[number]} shapes are {color}."


def best_bar(scene: Scene) -> str | None:
    """Return the answer to BEST; None where there are no bars."""
    if not scene.bars:
        return None
    bar = max(scene.bars, key=lambda bar: bar.value)
    return f"I would choose the {bar.color} bar, because its value is {bar.value}."


def two_in_one(scene: Scene, rng: np.random.Generator) -> tuple[str, str, str, Cells] | None:
    """Join two questions into one; return its text, its answer as "first<AND>second" and as a sentence, and the cells of both."""
    makers: list[Maker] = [color_of_shape, shape_of_color, total]
    if len(scene.words) == 1:  # the question need not say which word is meant
        makers.insert(0, word_text)
    questions = [question for maker in makers if (question := ask(maker, scene, rng, tries=2))]
    # `total` asks only of a sum, so a picture without words or unique marks has no pair.
    if len(questions) < 2:
        return None
    # Sorted: the word comes before what else is asked.
    first, second = (questions[i] for i in sorted(rng.permutation(len(questions))[:2]))
    # For example "What is written in the image, and what color is the ring?".
    text = f"{first.text.rstrip('?')}, and {second.text[0].lower()}{second.text[1:]}"
    sentence = f"{first.sentence.rstrip('.')} and {second.sentence[0].lower()}{second.sentence[1:]}"
    # MM-Vet's own way of writing that an answer needs both parts.
    return text, f"{first.answer}<AND>{second.answer}", sentence, (*first.cells, *second.cells)
