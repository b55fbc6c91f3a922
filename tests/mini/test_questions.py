"""Questions: every answer is found again by reading the grid, not by the code that made the question."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from himap.mini import conversations, descriptions, scenes
from himap.mini.glyphs import COLOR_NAMES, NAMES, SHAPE_NAMES
from himap.mini.questions.bars import BAR_MAKERS, bar_count, bar_larger
from himap.mini.questions.forms_and_sums import FIELD_MAKERS, SUM_MAKERS, scene_is
from himap.mini.questions.knowledge import FACTS, THINGS
from himap.mini.questions.marks import MARK_MAKERS, exists
from himap.mini.questions.question import CAPTION, ONE_WORD, SHORT, Maker, Question, with_options
from himap.mini.questions.words import WORD_MAKERS

MAKERS = (
    *MARK_MAKERS,
    *WORD_MAKERS,
    *BAR_MAKERS,
    *FIELD_MAKERS,
    *SUM_MAKERS,
    scene_is,
)


def marks(scene: scenes.Scene) -> list[tuple[int, int, str, str]]:
    """Row, column, color and shape of every mark, read from the grid."""
    cells = [(r, c) for r in range(scenes.SIDE) for c in range(scenes.SIDE) if NAMES[scene.glyphs[r, c]] in SHAPE_NAMES]
    return [(r, c, COLOR_NAMES[scene.colors[r, c]], NAMES[scene.glyphs[r, c]]) for r, c in cells]


def singular(shape: str) -> str:
    return next(name for name in SHAPE_NAMES if shape in (name, name + "s", name + "es"))


def read_off(text: str, grid: list[tuple[int, int, str, str]]) -> str | None:
    """The answer to a question about marks, from the grid; None for questions this reader does not know."""
    colors, shapes = [color for _, _, color, _ in grid], [shape for *_, shape in grid]
    named = {f"{color} {shape}": (row, column) for row, column, color, shape in grid}
    if found := re.fullmatch(r"What color is the (\w+)\?", text):
        return next(color for *_, color, shape in grid if shape == found[1])
    if found := re.fullmatch(r"Which shape is (\w+)\?", text):
        return next(shape for *_, color, shape in grid if color == found[1])
    if found := re.fullmatch(r"Is there an? (\w+ \w+) in the image\?", text):
        return "yes" if found[1] in named else "no"
    if found := re.fullmatch(r"How many (\w+) shapes are there\?", text):
        return str(colors.count(found[1]))
    if text == "How many shapes are there in total?":
        return str(len(grid))
    if found := re.fullmatch(r"How many (\w+) are there\?", text):
        return str(shapes.count(singular(found[1])))
    if found := re.fullmatch(r"(?:Is|Are) there (\d) (\w+) in the image\?", text):
        return "yes" if shapes.count(singular(found[2])) == int(found[1]) else "no"
    if found := re.fullmatch(r"Are there more (\w+) than (\w+)\?", text):
        return "yes" if shapes.count(singular(found[1])) > shapes.count(singular(found[2])) else "no"
    if found := re.fullmatch(r"Is the (\w+ \w+) (to the left of|to the right of|above|below) the (\w+ \w+)\?", text):
        first, second = named[found[1]], named[found[3]]
        holds = {
            "to the left of": first[1] < second[1],
            "to the right of": first[1] > second[1],
            "above": first[0] < second[0],
            "below": first[0] > second[0],
        }
        return "yes" if holds[found[2]] else "no"
    if found := re.fullmatch(r"Is the (\w+) (\w+)\?", text):
        return "yes" if f"{found[2]} {found[1]}" in named else "no"
    if found := re.fullmatch(
        r"(Which shape|What color) is directly (left of|right of|above|below) the (\w+ \w+)\?", text
    ):
        row, column = named[found[3]]
        down, right = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}[found[2]]
        color, shape = next((c, s) for r, k, c, s in grid if (r, k) == (row + down, column + right))
        return shape if found[1] == "Which shape" else color
    if found := re.fullmatch(r"Which shape has the same color as the (\w+)\?", text):
        color = next(color for *_, color, shape in grid if shape == found[1])
        return next(shape for *_, other, shape in grid if other == color and shape != found[1])
    return None


def test_answers_about_marks_are_what_the_grid_shows() -> None:
    checked: Counter[str] = Counter()
    for number in range(300):
        rng = scenes.generator("train", 3, number)
        scene = scenes.make_scene(("shapes", "few")[number % 2], rng)
        grid = marks(scene)
        for maker in MARK_MAKERS:
            question = maker(scene, rng)
            if question is None:
                continue
            expected = read_off(question.text, grid)
            if expected is not None:
                assert question.answer == expected, question.text
                checked[question.kind] += 1
    kinds = (
        "color",
        "shape",
        "existence",
        "count",
        "position",
        "neighbour",
        "same color",
        "more",
        "count is",
        "color is",
    )
    assert all(checked[kind] >= 10 for kind in kinds), checked


def test_answers_about_bars_are_the_heights_drawn() -> None:
    for number in range(100):
        rng = scenes.generator("train", 4, number)
        scene = scenes.make_scene("chart", rng)
        heights: Counter[str] = Counter()
        for row, column in np.argwhere(scene.glyphs == NAMES.index("bar")).tolist():
            heights[COLOR_NAMES[scene.colors[row, column]]] += 1
        larger = bar_larger(scene, rng)
        assert larger is not None
        found = re.fullmatch(r"Which bar is (larger|smaller), (\w+) or (\w+)\?", larger.text)
        assert found is not None
        choose = max if found[1] == "larger" else min
        assert larger.answer == choose(found[2], found[3], key=lambda color: heights[color])
        count = bar_count(scene, rng)
        assert count is not None
        assert count.answer == str(len(heights))


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_every_maker_finds_questions_whose_wrong_answers_are_wrong(maker: Maker) -> None:
    found = 0
    for number in range(120):
        rng = scenes.generator("train", 5, number)
        question = maker(scenes.make_scene(scenes.KINDS[number % len(scenes.KINDS)], rng), rng)
        if question is None:
            continue
        found += 1
        assert question.answer not in question.wrong
        if question.wrong:
            options, right = with_options(question, rng, 4)
            assert options[right] == question.answer
            assert len(set(options)) == len(options)
    assert found >= 5


def true_of(word: str, scene: scenes.Scene, question: Question) -> set[str]:
    """What a word of a question may stand for: read from the grid, the context, or what everybody knows."""
    grid = marks(scene)
    known = {thing.split()[-1]: color for color, things in THINGS.items() for thing in things}
    known |= {fact.split()[-1]: shape for shape, fact in FACTS.items()}
    if word in known:
        return {known[word]}
    if told := re.search(rf"{re.escape(word)} likes the (\w+)", question.context):
        return {told[1]}
    if scene.terms and word in ("sum", "result", "?"):
        first, second = scene.terms
        return {{"sum": str(first), "result": str(second), "?": str(first + second)[-1]}[word]}
    if scene.bars:
        ends = {"largest": max, "smallest": min}
        by_height = ends[word](scene.bars, key=lambda bar: bar.value) if word in ends else None
        (bar,) = [bar for bar in scene.bars if bar is by_height or word in (bar.color, bar.label)]
        named = question.kind == "bar color" or (by_height and question.answer_type != "number")
        return {bar.color if named else str(bar.value)}
    shapes = [shape for *_, shape in grid]
    if question.kind in ("more", "count is"):
        return {str(shapes.count(singular(word)))}
    return {shape if color == word else color for *_, color, shape in grid if word in (color, shape)}


def test_clues_are_words_of_the_question_and_true() -> None:
    seen: Counter[str] = Counter()
    for index in range(400):
        rng = scenes.generator("train", 5, index)
        scene = scenes.make_scene(conversations.random_kind(rng), rng)
        for maker in MAKERS:
            question = maker(scene, rng)
            for word, truth in question.clues if question else ():
                assert word == "?" or re.search(rf"\b{word}\b", f"{question.context} {question.text}"), question
                assert true_of(word, scene, question) == {truth}, question
                seen[question.kind] += 1
    kinds = "more", "count is", "color is", "same color", "knowledge", "commonsense", "story", "sum", "sum is"
    bars = "bar larger", "bar more", "bar value", "bar extreme", "bar color"
    assert all(seen[kind] > 5 for kind in (*kinds, *bars))


def test_yes_and_no_are_about_equally_frequent() -> None:
    answers: Counter[str] = Counter()
    for number in range(400):
        rng = scenes.generator("train", 6, number)
        question = exists(scenes.make_scene("shapes", rng), rng)
        if question:
            answers[question.answer] += 1
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_captions_come_in_different_wordings_and_name_what_is_there() -> None:
    for number in range(30):
        rng = scenes.generator("train", 7, number)
        scene = scenes.make_scene("few", rng)
        captions = descriptions.captions(scene, rng, 10)
        assert len(set(captions)) == 10
        assert all(mark.name in captions[0] for mark in scene.marks)


def test_the_training_mix_holds_every_prompt_form() -> None:
    forms = {
        "multiple choice": "directly.",
        "short": SHORT,
        "ocr": "Reference OCR token:",
        "chart": ONE_WORD,
        "caption": CAPTION,
        "detail": descriptions.DETAIL,
        "context": "Context: ",
        "fastv": "Just output the letter",
    }
    prompts = []
    for number in range(300):
        rng = scenes.generator("train", 8, number)
        scene = scenes.make_scene(conversations.random_kind(rng), rng)
        prompts += [turn.prompt for turn in conversations.turns(scene, rng, 12)]
    for form, mark in forms.items():
        assert any(mark in prompt for prompt in prompts), form
