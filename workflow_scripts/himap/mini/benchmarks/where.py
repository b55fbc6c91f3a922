"""Where an object is: one of three rows and one of three columns."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.marks import where
from himap.mini.questions.question import about_question


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture."""
    rows = []
    for index in range(number):
        scene, _, question = draw.question(("shapes", "few"), (where,))
        rows.append(
            {
                "question": question.text,
                "answer": question.answer,
                "image": picture(scene, f"{index}.png"),
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(name="where", columns={"question": TEXT, "answer": TEXT, "image": IMAGE}, samples=300, make=make)
