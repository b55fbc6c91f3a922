"""Captions, longer answers, and the mix of prompts and answers about one picture on which the model is trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from himap.mini import questions as q
from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.scenes import KINDS, SIDE, WORDS, Scene

DETAIL = "Describe this picture in detail."
LISTING = "What objects are in this picture?"
COMMON = "Which color is the most common, and why?"
BEST = "Which bar would you choose to get the most, and why?"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

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
SCENE_SHARES = {"shapes": 0.37, "few": 0.14, "signs": 0.12, "chart": 0.21, "document": 0.05, "sum": 0.11}


@dataclass(frozen=True)
class Turn:
    """One prompt and its answer; `group` is under which name its accuracy is counted, `clues` are the question's."""

    group: str
    prompt: str
    answer: str
    clues: tuple[tuple[str, str], ...] = ()


def join(parts: list[str]) -> str:
    """A list of phrases with commas and a final "and"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def content(scene: Scene) -> list[str]:
    """The things a caption names, in reading order: words first, then shapes; bars and lines of a form in their order."""
    if scene.kind == "chart":
        bars = sorted(scene.bars, key=lambda bar: bar.value)
        return [
            f"a bar chart with {NUMBERS[len(bars)]} bars",
            f"a {bars[-1].color} one as the largest".replace("a o", "an o"),
            f"{q.article(bars[0].color)} one as the smallest",
        ]
    if scene.kind == "document":
        return ["a form with the " + join([name.lower() for name in scene.fields])]
    words = [f"the word {word.text} in {word.color}" for word in scene.words]
    return words + [q.article(mark.name) for mark in scene.marks]


def captions(scene: Scene, rng: np.random.Generator, number: int) -> list[str]:
    """Captions in different wordings; the first names everything in reading order, others may change or shorten that."""
    parts = content(scene)
    result = [_sentence(WORDINGS[0], parts)]
    for wording in rng.permutation(len(WORDINGS) - 1)[: number - 1] + 1:
        chosen = list(parts)
        if scene.kind != "chart" and len(chosen) > 2:
            if rng.random() < 0.25:
                chosen = [chosen[i] for i in rng.permutation(len(chosen))]
            if rng.random() < 0.25:
                chosen.pop()
        result.append(_sentence(WORDINGS[wording], chosen))
    return result


def _sentence(wording: str, parts: list[str]) -> str:
    text = wording.format(join(parts))
    return text[0].upper() + text[1:]


def place(row: int, column: int) -> str:
    """Where a cell is, in words."""
    vertical = ("top", "middle", "bottom")[row * 3 // SIDE]
    return f"{vertical} {('left', 'center', 'right')[column * 3 // SIDE]}"


def detail(scene: Scene) -> str:
    """A description of every object of a picture with few of them, or of what a chart or form holds."""
    if scene.kind == "chart":
        return " ".join(f"The {bar.color} bar {bar.label} has the value {bar.value}." for bar in scene.bars)
    if scene.kind == "document":
        return " ".join(f"The {name.lower()} is {value}." for name, value in scene.fields.items())
    lines = [f"The word {word.text} is at the {place(word.row, word.column)}." for word in scene.words]
    lines += [f"{q.article(mark.name).capitalize()} is at the {place(mark.row, mark.column)}." for mark in scene.marks]
    return " ".join(lines)


def most_common(scene: Scene) -> str | None:
    """The answer to "which color is the most common, and why", when one is."""
    counts = Counter(mark.color for mark in scene.marks).most_common(2)
    if not counts or counts[0][1] < 2 or (len(counts) > 1 and counts[0][1] == counts[1][1]) or counts[0][1] > 9:
        return None
    color, number = counts[0]
    return f"The most common color is {color}, because {NUMBERS[number]} shapes are {color}."


def best_bar(scene: Scene) -> str | None:
    """The answer to "which bar would you choose", for charts."""
    if not scene.bars:
        return None
    bar = max(scene.bars, key=lambda b: b.value)
    return f"I would choose the {bar.color} bar, because its value is {bar.value}."


def two_in_one(scene: Scene, rng: np.random.Generator) -> tuple[str, str, str] | None:
    """A question with two parts, its answer in both parts and as a sentence: (text, "first<AND>second", sentence)."""
    makers = [
        maker
        for maker in (q.word, q.color_of_shape, q.shape_of_color, q.total)
        if maker is not q.word or len(scene.words) == 1
    ]
    found = [question for maker in makers if (question := q.ask(maker, scene, rng, tries=2))]
    if len(found) < 2:
        return None
    first, second = (found[i] for i in sorted(rng.permutation(len(found))[:2]))
    text = f"{first.text.rstrip('?')}, and {second.text[0].lower()}{second.text[1:]}"
    sentence = f"{first.sentence.rstrip('.')} and {second.sentence[0].lower()}{second.sentence[1:]}"
    return text, f"{first.answer}<AND>{second.answer}", sentence


def makers_of(scene: Scene) -> tuple[q.Maker, ...]:
    """The question makers that fit a kind of scene."""
    if scene.kind == "chart":
        return q.BAR_MAKERS
    if scene.kind == "document":
        return q.FIELD_MAKERS
    if scene.kind == "sum":
        return (*q.SUM_MAKERS, *q.SUM_MAKERS, q.color_of_shape, q.exists)
    if scene.kind == "signs":
        return (*q.WORD_MAKERS, *q.WORD_MAKERS, q.color_of_shape, q.exists, q.relation)
    return (*q.MARK_MAKERS, *(q.WORD_MAKERS if scene.words else ()))


EASY = (q.color_of_shape, q.color_of_shape, q.shape_of_color, q.shape_of_color, q.exists, q.word_color, q.bar_color)
LOOKUPS = (q.color_of_shape, q.shape_of_color, q.word_color, q.bar_color, q.like_thing, q.fact, q.word, q.field_value)
HARD = (  # what takes longest to learn gets a share of its own
    q.story,
    q.story,
    q.count_shape,
    q.count_shape,
    q.count_color,
    q.count_all,
    q.more,
    q.neighbour,
    q.neighbour,
    q.relation,
    q.relation,
    q.same_color,
    q.bar_value,
    q.bar_extreme,
    q.bar_larger,
    q.total,
)


MIXES = {  # up to which draw a turn is about options alone, a lookup, something hard, or something that fits the picture
    "choices": (0.2, 0.75, 0.75, 0.75),
    "all": (0.02, 0.12, 0.45, 0.8),
    "hard": (0.01, 0.08, 0.7, 0.9),
}


def turns(scene: Scene, rng: np.random.Generator, number: int, phase: str = "all") -> list[Turn]:
    """Prompts and answers about one picture, in the prompt forms of the benchmarks.

    The phases of the curriculum: "easy" asks for colors, shapes and existence only, "choices" mostly asks multiple choice
    (and for the letters and texts of options, which is half of it), "all" asks everything, and "hard" most of all what takes
    longest to learn.
    """
    makers, edges = makers_of(scene), MIXES.get(phase, MIXES["all"])
    result: list[Turn] = []
    for _ in range(number * 3):
        if len(result) >= number:
            break
        if rng.random() < (0.12 if scene.kind != "shapes" else 0.04):
            if turn := _open_turn(scene, rng):
                result.append(turn)
            continue
        draw, share = rng.random(), 0.5
        if phase == "easy":
            maker, share = _pick(rng, EASY), 0.0
        elif draw < edges[0]:
            result.append(_match_turn(rng))
            continue
        elif draw < edges[1]:
            maker, share = _pick(rng, LOOKUPS), 0.8
        elif draw < edges[2]:
            maker, share = _pick(rng, HARD), 0.6
        elif draw < edges[3]:
            maker = _pick(rng, makers)
        else:
            maker = q.scene_is if rng.random() < 0.1 else _pick(rng, makers)
        question = maker(scene, rng)
        if question is not None:
            result.append(_turn(question, scene, rng, share))
    return result


def _pick(rng: np.random.Generator, makers: tuple[q.Maker, ...]) -> q.Maker:
    return makers[int(rng.integers(len(makers)))]


def _match_turn(rng: np.random.Generator) -> Turn:
    """A question that needs no picture: the letter of an option, or the option of a letter."""
    pool = (COLOR_NAMES, SHAPE_NAMES, WORDS, ("1", "2", "3", "4", "5", "6", "7", "8", "9"))[int(rng.integers(4))]
    options = [pool[i] for i in rng.permutation(len(pool))[: int(rng.integers(2, 6))]]
    right = int(rng.integers(len(options)))
    letter = "ABCDE"[right]
    if rng.random() < 0.5:
        return Turn("choice match", q.choice_text(f"Which option says {options[right]}?", options), letter)
    lines = "\n".join(f"{'ABCDE'[i]}. {option}" for i, option in enumerate(options))
    return Turn("option text", q.short_text(f"What does option {letter} say?\n{lines}"), options[right])


def _turn(question: q.Question, scene: Scene, rng: np.random.Generator, choices: float) -> Turn:
    """Put a question in one of the prompt forms; `choices` is the share of multiple choice."""
    draw = rng.random()
    clues = (*question.clues, ("?", question.answer))
    if question.wrong and (draw < choices or question.context):
        options, right = q.with_options(question, rng, int(_CHOICES[int(rng.integers(len(_CHOICES)))]))
        if not question.context and rng.random() < 0.08:
            return Turn(f"options {question.kind}", q.options_text(question.text, options), "ABCDE"[right])
        text = q.choice_text(question.text, options, question.context)
        return Turn(f"choice {question.kind}", text, "ABCDE"[right], clues)
    if draw > 0.93:
        return Turn(f"open {question.kind}", question.text, question.sentence, clues)
    if question.kind == "word" and draw < 0.75:
        text = q.ocr_text(question.text, ocr_tokens(scene, rng))
        return Turn(f"ocr {question.kind}", text, question.answer)
    if question.kind.startswith("bar") and draw < 0.8:
        return Turn(f"chart {question.kind}", q.chart_text(question.text), question.answer, clues)
    return Turn(question.kind, q.short_text(question.text), question.answer, clues)


_CHOICES = (2, 3, 4, 4, 4, 4, 5)


def ocr_tokens(scene: Scene, rng: np.random.Generator) -> list[str]:
    """What a text reader would report: the words in any order, now and then one missed."""
    tokens = [word.text for word in scene.words if rng.random() > 0.08]
    return [tokens[i] for i in rng.permutation(len(tokens))]


def _open_turn(scene: Scene, rng: np.random.Generator) -> Turn | None:
    """A caption, a description or an answer with a reason."""
    draw = rng.random()
    if scene.kind == "shapes":
        answer = most_common(scene)
        return Turn("complex", COMMON, answer) if answer else None
    if draw < 0.5 and content(scene):
        wording = 0 if rng.random() < 0.8 else int(rng.integers(len(WORDINGS)))
        return Turn("caption", q.CAPTION, _sentence(WORDINGS[wording], content(scene)))
    if draw < 0.65 and content(scene):
        return Turn("detail", DETAIL, detail(scene))
    if draw < 0.75 and content(scene):
        return Turn("listing", LISTING, f"I see {join(content(scene))}.")
    if draw < 0.85:
        answer = best_bar(scene)
        return Turn("complex", BEST, answer) if answer else None
    if found := two_in_one(scene, rng):
        return Turn("two in one", found[0], found[2])
    return None


def random_kind(rng: np.random.Generator, phase: str = "all") -> str:
    """A kind of scene, in the shares of the training mix; only pictures with shapes are easy."""
    if phase == "easy":
        return ("shapes", "few", "few", "signs")[int(rng.integers(4))]
    return str(rng.choice(KINDS, p=[SCENE_SHARES[kind] for kind in KINDS]))


def colors_in(text: str) -> list[str]:
    """The color words of a text (for tests and blind baselines)."""
    return [color for color in COLOR_NAMES if color in text.lower()]
