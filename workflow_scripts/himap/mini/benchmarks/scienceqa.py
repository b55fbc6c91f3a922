"""Multiple choice with two to five options; many questions have a context, which some need and others do not."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.bars import bar_extreme, bar_value
from himap.mini.questions.forms_and_sums import total
from himap.mini.questions.knowledge import fact, like_thing, story
from himap.mini.questions.marks import color_of_shape, count_color, count_shape, same_color, shape_of_color
from himap.mini.questions.question import about_question, with_options

MAKERS = (  # a maker listed three times is drawn three times as often
    story,
    story,
    story,
    like_thing,
    fact,
    color_of_shape,
    shape_of_color,
    count_shape,
    count_color,
    same_color,
    bar_extreme,
    bar_value,
    total,
)
KINDS = ("shapes", "shapes", "few", "few", "chart", "sum")  # one is drawn for each row
OPTION_COUNTS = (2, 2, 3, 3, 4, 4, 4, 5)  # taken in turn
MATHEMATICS = ("bar value", "bar extreme", "sum", "count")


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture."""
    rows = []
    for index in range(number):
        scene, rng, question = draw.question(KINDS, MAKERS, lambda question: bool(question.wrong))
        options, right = with_options(question, rng, OPTION_COUNTS[index % len(OPTION_COUNTS)])
        rows.append(
            {
                "image": picture(scene, "image.png"),
                "question": question.text,
                "choices": options,
                "answer": right,
                "hint": question.context,
                "task": "closed choice",
                "grade": f"grade{1 + index % 12}",
                "subject": "mathematics" if question.kind in MATHEMATICS else "natural science",
                "topic": question.kind,
                "category": scene.kind,
                "skill": question.kind,
                "lecture": "",
                "solution": question.sentence,
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="scienceqa",
    columns={
        "image": IMAGE,
        "question": TEXT,
        "choices": [TEXT],
        "answer": "int8",
        "hint": TEXT,
        "task": TEXT,
        "grade": TEXT,
        "subject": TEXT,
        "topic": TEXT,
        "category": TEXT,
        "skill": TEXT,
        "lecture": TEXT,
        "solution": TEXT,
    },
    samples=400,
    make=make,
)
