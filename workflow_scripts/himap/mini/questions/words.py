"""Questions about the words written in a picture. Forms are full of words but are asked about by their lines."""

from __future__ import annotations

import numpy as np

from himap.mini.glyphs import COLOR_NAMES
from himap.mini.questions.question import Maker, Question, cells_of, pick, wrong_values, yes_no
from himap.mini.scenes import WORDS, Scene, Word


def readable_words(scene: Scene) -> list[Word]:
    """Return the words to ask about: none in a form."""
    return [] if scene.kind == "document" else scene.words


def random_words(rng: np.random.Generator) -> list[str]:
    """Draw six words that may serve as wrong answers."""
    return [WORDS[i] for i in rng.integers(len(WORDS), size=6)]  # one may be the answer; `wrong_values` leaves that out


def word_text(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what a colored word says."""
    words = readable_words(scene)
    if not words:
        return None
    word = pick(rng, words)
    wrong = wrong_values(random_words(rng), word.text, [other.text for other in words])
    # Without naming the word, as TextVQA often asks; with several it would be ambiguous.
    if len(words) == 1 and rng.random() < 0.6:
        return Question(
            "word", "What is written in the image?", word.text, f"The word is {word.text}.", wrong, cells=word.cells
        )
    text, sentence = f"What does the {word.color} word say?", f"The {word.color} word says {word.text}."
    return Question("word", text, word.text, sentence, wrong, cells=word.cells)


def word_place(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what the top or the bottom word says."""
    words = readable_words(scene)
    if len(words) < 2:
        return None
    place = pick(rng, ("top", "bottom"))
    word = words[0 if place == "top" else -1]  # a scene lists its words from top to bottom
    wrong = wrong_values(random_words(rng), word.text, [other.text for other in words])
    text, sentence = f"What does the {place} word say?", f"The {place} word says {word.text}."
    return Question("word", text, word.text, sentence, wrong, cells=word.cells)


def word_is(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether the picture says a word."""
    words = readable_words(scene)
    if not words:
        return None
    visible = {word.text for word in words}
    # A word drawn from WORDS may be there by chance.
    asked = pick(rng, words).text if rng.random() < 0.5 else pick(rng, WORDS)
    text = f'Is the word in the image "{asked}"?' if len(visible) == 1 else f'Is there the word "{asked}" in the image?'
    shown = cells_of(*(word for word in words if word.text == asked))
    return yes_no(
        "word is", text, asked in visible, f"Yes, it says {asked}.", f"No, it does not say {asked}.", cells=shown
    )


def word_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask in which color a word is written."""
    words = readable_words(scene)
    if not words:
        return None
    word = pick(rng, words)
    wrong = wrong_values(COLOR_NAMES, word.color, [other.color for other in words])
    text = f'What color is the word "{word.text}"?' if len(words) > 1 else "What color is the word?"
    return Question("word color", text, word.color, f"The word is {word.color}.", wrong, cells=word.cells)


WORD_MAKERS: tuple[Maker, ...] = (word_text, word_place, word_is, word_color)
