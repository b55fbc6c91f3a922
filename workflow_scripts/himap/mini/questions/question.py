"""What every maker of questions uses: the question itself, wrong answers, and the prompt forms of the benchmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from himap.mini.scenes import SIDE, Bar, Cells, Mark, Scene, Word

# Word for word as in the published evaluations: the mini model is trained on the prompts that the benchmarks will give it.
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
ONE_WORD = "Answer the question with a single word."
CAPTION = "Provide a one-sentence caption for the provided image."

OPTION_LETTERS = "ABCDE"  # at most five options, as in ScienceQA
KINDS_IN_BRIEF = {  # what a question takes, in the words that results are grouped by; the others are called as their makers do
    "color is": "color", "bar color": "color", "word color": "color", "same color": "shape", "count is": "count",
    "more": "count", "bar count": "count", "neighbour": "neighbor", "word is": "word", "field": "word", "sum is": "sum",
    "bar extreme": "bar value", "bar larger": "bar value", "bar more": "bar value", "commonsense": "knowledge",
}  # fmt: skip
Clues = tuple[tuple[str, str], ...]  # (word of the question, what is true of it), as ("ring", "red")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Question:
    """Hold a question, its short answer, the answer as a sentence, and wrong answers that could be options.

    `clues` are what must be found on the way to the answer: a word of the question, and what is true of it. `cells` are those
    of the picture that the answer is read from, none where all of it has to be looked at.
    """

    kind: str
    text: str
    answer: str
    sentence: str
    wrong: tuple[str, ...] = ()  # the most tempting first; empty where there is no choice, as for yes or no
    context: str = ""  # what is told before the question; a story's
    answer_type: str = "other"  # or "yes/no" or "number", VQAv2's own types
    clues: Clues = ()
    cells: Cells = ()


Maker = Callable[[Scene, np.random.Generator], Question | None]


def plural(shape: str) -> str:
    """Return the plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")  # cross, crosses


def article(words: str) -> str:
    """Put "a" or "an" before words."""
    return ("an " if words[0] in "aeiou" else "a ") + words  # by the letter: "an orange ring", "an arrow"


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Draw one item."""
    return items[int(rng.integers(len(items)))]


def unique(values: list[str]) -> list[str]:
    """Return the values that occur exactly once: only these can be named without doubt."""
    return [value for value, count in Counter(values).items() if count == 1]


def wrong_values(known: Sequence[str], answer: str, visible: Sequence[str] = ()) -> tuple[str, ...]:
    """Return wrong answers, first those that the picture shows elsewhere, then the rest of the known values."""
    # dict.fromkeys drops repeats and keeps the order, which a set would not: options are drawn by index.
    tempting = [value for value in dict.fromkeys(visible) if value != answer]
    return tuple(tempting + [value for value in known if value != answer and value not in tempting])


def wrong_numbers(answer: int) -> tuple[str, ...]:
    """Return wrong numbers, the nearest first."""
    # The second part of the key: of two that are equally near the smaller comes first.
    nearest = sorted(range(13), key=lambda number: (abs(number - answer), number))
    return tuple(str(number) for number in nearest if number != answer)


def yes_no(kind: str, text: str, truth: bool, yes: str, no: str, clues: Clues = (), cells: Cells = ()) -> Question:
    """Return a question to be answered yes or no, with the sentence for either case."""
    answer, sentence = ("yes", yes) if truth else ("no", no)
    return Question(kind, text, answer, sentence, answer_type="yes/no", clues=clues, cells=cells)


def cells_of(*things: Mark | Word | Bar) -> Cells:
    """Return the cells of some marks, words and bars."""
    return tuple(cell for thing in things for cell in thing.cells)


def about(kind: str, cells: Cells = ()) -> dict[str, Any]:
    """Return what a sample keeps of a question beside the published columns: its kind, and the image tokens that it is about."""
    # An image token's index is row * 12 + column; a set, because two things may share a cell.
    return {"kind": KINDS_IN_BRIEF.get(kind, kind), "evidence": sorted({row * SIDE + column for row, column in cells})}


def about_question(question: Question) -> dict[str, Any]:
    """Return the same of a question; reading digits in a form is told from reading a word."""
    is_number = question.kind == "field" and question.answer.isdigit()
    return about("number" if is_number else question.kind, question.cells)


def ask(
    maker: Maker, scene: Scene, rng: np.random.Generator, answer: str | None = None, tries: int = 20
) -> Question | None:
    """Call a maker until it returns a question (with the given answer, if any); None after so many tries."""
    for _ in range(tries):
        question = maker(scene, rng)  # makers draw what they ask, so another try may succeed
        if question is not None and (answer is None or question.answer == answer):
            return question
    return None


def with_options(question: Question, rng: np.random.Generator, number: int) -> tuple[list[str], int]:
    """Return so many options in random order, and the index of the right one."""
    # A maker lists tempting wrong answers first, so a short pool prefers what the picture shows.
    pool = question.wrong[: max(number + 1, 4)]
    wrong = [pool[i] for i in rng.permutation(len(pool))[: number - 1]]
    options = [question.answer, *wrong]
    order = rng.permutation(len(options))
    return [options[i] for i in order], int(np.flatnonzero(order == 0)[0])  # the right one was first before the shuffle


def lettered(options: list[str]) -> list[str]:
    """Return the options as lines: "A. red", "B. green"."""
    return [f"{OPTION_LETTERS[i]}. {option}" for i, option in enumerate(options)]


def choice_text(text: str, options: list[str], context: str = "") -> str:
    """Return the multiple-choice prompt: context, question, lettered options, instruction."""
    # LLaVA's form of ScienceQA, which A-OKVQA shares.
    lines = [f"Context: {context}"] if context else []
    return "\n".join([*lines, text, *lettered(options), LETTER])


def options_text(text: str, options: list[str]) -> str:
    """Return the multiple-choice prompt of FastV's evaluation, with all options on one line."""
    line = " ".join(f"({OPTION_LETTERS[i]}) {option}" for i, option in enumerate(options))
    # The odd parts (British spelling, leading line break) are FastV's own.
    first = "Analyse the image and choose the best answer for the following question:"
    return f"\n{first}\n{text}\nOptions: {line}\nJust output the letter of the correct answer."


def short_text(text: str) -> str:
    """Return the prompt for an answer of a word or phrase."""
    return f"{text}\n{SHORT}"


def ocr_text(text: str, tokens: list[str]) -> str:
    """Return the prompt that also lists the words a text reader found in the picture."""
    return f"{text.capitalize()}\nReference OCR token: {', '.join(tokens)}\n{SHORT}"


def chart_text(text: str) -> str:
    """Return the prompt of questions about charts."""
    return f"{text}\n{ONE_WORD}"
