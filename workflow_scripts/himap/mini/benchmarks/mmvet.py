"""Open questions, each with the capabilities it takes; some have two parts, some count in words or digits."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.descriptions import NUMBERS, two_in_one
from himap.mini.questions.forms_and_sums import total
from himap.mini.questions.knowledge import like_thing
from himap.mini.questions.marks import color_of_shape, count_shape, neighbor
from himap.mini.questions.question import Maker, about, about_question
from himap.mini.questions.words import word_color, word_place, word_text
from himap.mini.scenes import Scene

QUESTIONS: tuple[tuple[str, tuple[str, ...], Maker], ...] = (  # capabilities, kinds of scenes, maker
    ("rec", ("shapes", "few"), color_of_shape),
    ("rec,know", ("shapes", "few"), like_thing),
    ("rec,spat", ("shapes",), neighbor),
    ("ocr", ("signs",), word_text),
    ("ocr,spat", ("signs",), word_place),
    ("ocr,math", ("sum",), total),
    ("ocr,rec", ("signs",), word_color),
    ("math,rec", ("shapes",), count_shape),
)


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture, every fifth with a question of two parts."""
    rows = []
    for index in range(number):
        # The fifth, tenth …, so that the plain ones go on in turn between them.
        scene, text, answer, capability, topic = two_parts(draw) if index % 5 == 4 else one_part(draw, index)
        rows.append(
            {
                "question_id": f"v1_{index}",
                "image": picture(scene, f"v1_{index}.png"),
                "question": text,
                "answer": answer,
                "image_source": "generated",
                "capability": capability,
                "about": topic,
            }
        )
    return rows


def two_parts(draw: Drawer) -> tuple[Scene, str, str, str, Row]:
    """Return a scene with a question of two parts, its answer "first<AND>second", its capabilities, what it is about."""
    while True:
        scene, rng = draw.scene("signs", "few", "sum")
        if pair := two_in_one(scene, rng):
            text, answer, _, cells = pair
            # Told by the words: a pair does not say which makers made it.
            reads = "written" in text or "say" in text or "sum" in text
            return scene, text, answer, "ocr,rec" if reads else "rec", about("two in one", cells)


def one_part(draw: Drawer, index: int) -> tuple[Scene, str, str, str, Row]:
    """Return a scene with a plain question, its answer, its capabilities (all in turn) and what it is about."""
    capability, kinds, maker = QUESTIONS[index % len(QUESTIONS)]
    scene, _, question = draw.question(kinds, (maker,))
    answer = question.answer
    # "3<OR>three": MM-Vet's own way of writing that either will do; 0 would be "no".
    if question.kind == "count" and 0 < int(answer) < 10:
        answer = f"{answer}<OR>{NUMBERS[int(answer)]}"
    return scene, question.text, answer, capability, about_question(question)


MINI = MiniBenchmark(
    name="mmvet",
    columns={
        "question_id": TEXT,
        "image": IMAGE,
        "question": TEXT,
        "answer": TEXT,
        "image_source": TEXT,
        "capability": TEXT,
    },
    samples=200,
    make=make,
)
