"""The mix of prompts and answers about a picture that the mini model learns from.

Each prompt has the form in which a benchmark of the embedded world asks, so that the model is trained on what it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from himap.mini.descriptions import (
    BEST,
    COMMON,
    DETAIL,
    LISTING,
    WORDINGS,
    best_bar,
    caption,
    content,
    detail,
    join,
    most_common,
    two_in_one,
)
from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.questions.bars import BAR_MAKERS, bar_color, bar_extreme, bar_larger, bar_value
from himap.mini.questions.forms_and_sums import FIELD_MAKERS, SUM_MAKERS, field_value, scene_is, total
from himap.mini.questions.knowledge import fact, like_thing, story
from himap.mini.questions.marks import (
    MARK_MAKERS,
    color_of_shape,
    count_all,
    count_color,
    count_shape,
    exists,
    more,
    neighbor,
    relation,
    same_color,
    shape_of_color,
    where,
)
from himap.mini.questions.question import (
    CAPTION,
    OPTION_LETTERS,
    Clues,
    Maker,
    Question,
    chart_text,
    choice_text,
    lettered,
    ocr_text,
    options_text,
    pick,
    short_text,
    with_options,
)
from himap.mini.questions.words import WORD_MAKERS, word_color, word_text
from himap.mini.scenes import KINDS, WORDS, Scene

# Their sum is 1; a new kind of scene needs a share, too.
SCENE_SHARES = {"shapes": 0.37, "few": 0.14, "signs": 0.12, "chart": 0.21, "document": 0.05, "sum": 0.11}


@dataclass(frozen=True)
class Turn:
    """Hold one prompt and its answer; accuracy is counted by `group`, and `clues` are those of the question."""

    group: str  # such as "color", "choice color" or "caption"
    prompt: str
    answer: str
    clues: Clues = ()


def makers_of(scene: Scene) -> tuple[Maker, ...]:
    """Return the question makers that fit a scene; a maker listed twice is drawn twice as often."""
    if scene.kind == "chart":
        return BAR_MAKERS
    if scene.kind == "document":
        return FIELD_MAKERS
    if scene.kind == "sum":
        return (*SUM_MAKERS, *SUM_MAKERS, color_of_shape, exists)  # up to two marks lie around a sum
    if scene.kind == "signs":
        return (*WORD_MAKERS, *WORD_MAKERS, color_of_shape, exists, relation)
    return (*MARK_MAKERS, *(WORD_MAKERS if scene.words else ()))


# What each part of the mix draws from; a maker that is listed twice is drawn twice as often.
EASY = (color_of_shape, color_of_shape, shape_of_color, shape_of_color, exists, word_color, bar_color)
LOOKUPS = (color_of_shape, shape_of_color, word_color, bar_color, like_thing, fact, word_text, field_value)
HARD = (  # what takes longest to learn
    story,
    story,
    count_shape,
    count_shape,
    count_color,
    count_all,
    more,
    neighbor,
    neighbor,
    relation,
    relation,
    same_color,
    where,
    where,
    bar_value,
    bar_extreme,
    bar_larger,
    total,
)


# For each phase, up to which random number a turn is about options alone, a lookup, something hard, or whatever fits the
# picture; above the last it fits the picture too, or asks what sort of picture it is.
MIXES = {
    "choices": (0.2, 0.75, 0.75, 0.75),
    "all": (0.02, 0.12, 0.45, 0.8),
    "hard": (0.01, 0.08, 0.7, 0.9),
}


def turns(scene: Scene, rng: np.random.Generator, number: int, phase: str = "all") -> list[Turn]:
    """Return up to `number` prompts with answers about one picture, in the prompt forms of the benchmarks.

    The phases of the curriculum: "easy" asks for colors, shapes and existence only; "choices" asks mostly multiple choice
    (a fifth of it about the options alone, without the picture); "all" asks everything; "hard" asks mostly what takes
    longest to learn.
    """
    makers, edges = makers_of(scene), MIXES.get(phase, MIXES["all"])  # "easy" has no edges: it never looks at them
    result: list[Turn] = []
    maker: Maker
    for _ in range(number * 3):  # a maker may find nothing to ask, so there are more tries than turns
        if len(result) >= number:
            break
        # Pictures of many shapes are too long to describe, so they have fewer open turns.
        if rng.random() < (0.12 if scene.kind != "shapes" else 0.04):
            if turn := _open_turn(scene, rng):
                result.append(turn)
            continue
        draw, choice_share = rng.random(), 0.5
        if phase == "easy":
            maker, choice_share = pick(rng, EASY), 0.0
        elif draw < edges[0]:
            result.append(_match_turn(rng))
            continue
        elif draw < edges[1]:
            maker, choice_share = pick(rng, LOOKUPS), 0.8
        elif draw < edges[2]:
            maker, choice_share = pick(rng, HARD), 0.6
        elif draw < edges[3]:
            maker = pick(rng, makers)
        else:
            # What sort of picture it is, for MME's "scene".
            maker = scene_is if rng.random() < 0.1 else pick(rng, makers)
        question = maker(scene, rng)
        if question is not None:
            result.append(_turn(question, scene, rng, choice_share))
    return result


def _match_turn(rng: np.random.Generator) -> Turn:
    """Ask what needs no picture: the letter of an option, or the option of a letter."""
    pool = (COLOR_NAMES, SHAPE_NAMES, WORDS, ("1", "2", "3", "4", "5", "6", "7", "8", "9"))[int(rng.integers(4))]
    options = [pool[i] for i in rng.permutation(len(pool))[: int(rng.integers(2, 6))]]
    right = int(rng.integers(len(options)))
    letter = OPTION_LETTERS[right]
    if rng.random() < 0.5:
        return Turn("choice match", choice_text(f"Which option says {options[right]}?", options), letter)
    lines = "\n".join(lettered(options))
    return Turn("option text", short_text(f"What does option {letter} say?\n{lines}"), options[right])


_OPTION_COUNTS = (2, 3, 4, 4, 4, 4, 5)  # drawn by index, so that four options are the usual case


def _turn(question: Question, scene: Scene, rng: np.random.Generator, choice_share: float) -> Turn:
    """Put a question in one of the prompt forms."""
    draw = rng.random()
    clues = (*question.clues, ("?", question.answer))  # "?" stands for the question as a whole
    # A story is asked with options alone, since only that form has a place for the context.
    if question.wrong and (draw < choice_share or question.context):
        options, right = with_options(question, rng, pick(rng, _OPTION_COUNTS))
        if not question.context and rng.random() < 0.08:
            return Turn(f"options {question.kind}", options_text(question.text, options), OPTION_LETTERS[right])
        text = choice_text(question.text, options, question.context)
        return Turn(f"choice {question.kind}", text, OPTION_LETTERS[right], clues)
    if draw > 0.93:
        return Turn(f"open {question.kind}", question.text, question.sentence, clues)
    # TextVQA's form, with the words that a text reader found.
    if question.kind == "word" and draw < 0.75:
        text = ocr_text(question.text, ocr_tokens(scene, rng))
        return Turn(f"ocr {question.kind}", text, question.answer)
    # ChartQA's form.
    if question.kind.startswith("bar") and draw < 0.8:
        return Turn(f"chart {question.kind}", chart_text(question.text), question.answer, clues)
    return Turn(question.kind, short_text(question.text), question.answer, clues)


def ocr_tokens(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Return what a text reader would report: the words in any order, now and then without one."""
    tokens = [word.text for word in scene.words if rng.random() > 0.08]
    return [tokens[i] for i in rng.permutation(len(tokens))]


def _open_turn(scene: Scene, rng: np.random.Generator) -> Turn | None:
    """Return a caption, a description or an answer with a reason; None where the one that was drawn does not fit."""
    draw = rng.random()
    if scene.kind == "shapes":
        answer = most_common(scene)
        return Turn("complex", COMMON, answer) if answer else None
    if draw < 0.5 and content(scene):
        wording = 0 if rng.random() < 0.8 else int(rng.integers(len(WORDINGS)))
        return Turn("caption", CAPTION, caption(WORDINGS[wording], content(scene)))
    if draw < 0.65 and content(scene):
        return Turn("detail", DETAIL, detail(scene))
    if draw < 0.75 and content(scene):
        return Turn("listing", LISTING, f"I see {join(content(scene))}.")
    if draw < 0.85:
        answer = best_bar(scene)
        return Turn("complex", BEST, answer) if answer else None
    if pair := two_in_one(scene, rng):
        text, _, sentence, _ = pair
        return Turn("two in one", text, sentence)
    return None


def random_kind(rng: np.random.Generator, phase: str = "all") -> str:
    """Draw a kind of scene in the shares of the training mix; the easy phase has only pictures with shapes."""
    if phase == "easy":
        return pick(rng, ("shapes", "few", "few", "signs"))
    # A numpy text becomes a plain one, as a key of dictionaries and in messages.
    return str(rng.choice(KINDS, p=[SCENE_SHARES[kind] for kind in KINDS]))
