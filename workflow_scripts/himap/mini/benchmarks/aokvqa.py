"""Four options; most questions need something everybody knows, or a second look."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, annotators, picture
from himap.mini.questions.knowledge import fact, like_thing
from himap.mini.questions.marks import color_of_shape, count_shape, neighbor, same_color
from himap.mini.questions.question import about_question, with_options
from himap.mini.questions.words import word_color, word_text

MAKERS = (
    like_thing,
    like_thing,
    fact,
    same_color,
    neighbor,
    color_of_shape,
    count_shape,
    word_text,
    word_color,
)
KINDS = ("shapes", "shapes", "few", "signs")


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture."""
    rows = []
    for index in range(number):
        # `wrong` is empty where a question is one of yes or no, which has no four options.
        scene, rng, question = draw.question(KINDS, MAKERS, lambda question: bool(question.wrong))
        options, right = with_options(question, rng, 4)
        rows.append(
            {
                "image": picture(scene, f"{index:012d}.png"),
                "question_id": f"mini{draw.split[:2]}{draw.drawn:016d}",
                "question": question.text,
                "choices": options,
                "correct_choice_idx": right,
                "direct_answers": repr(annotators(question, rng)),  # a list as text, as in the published set
                "difficult_direct_answer": False,
                "rationales": [question.sentence] * 3,
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="aokvqa",
    columns={
        "image": IMAGE,
        "question_id": TEXT,
        "question": TEXT,
        "choices": [TEXT],
        "correct_choice_idx": "int8",
        "direct_answers": TEXT,
        "difficult_direct_answer": "bool",
        "rationales": [TEXT],
    },
    samples=400,
    make=make,
)
