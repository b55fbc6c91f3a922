"""Half questions that compare bars (human), half that read one off (augmented)."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.bars import bar_color, bar_count, bar_extreme, bar_larger, bar_more, bar_value
from himap.mini.questions.question import about_question

HUMAN = (bar_larger, bar_extreme, bar_more)
AUGMENTED = (bar_value, bar_value, bar_color, bar_count)


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture, the human half first."""
    rows = []
    for index in range(number):
        # The names of the published set's column `type`.
        half, makers = ("human_test", HUMAN) if index < number / 2 else ("augmented_test", AUGMENTED)
        scene, _, question = draw.question(("chart",), makers)
        # "Yes", as published.
        answer = question.answer.capitalize() if question.answer_type == "yes/no" else question.answer
        rows.append(
            {
                "type": half,
                "question": question.text,
                "answer": answer,
                "image": picture(scene, f"{index}.png"),
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="chartqa",
    columns={"type": TEXT, "question": TEXT, "answer": TEXT, "image": IMAGE},
    samples=300,
    make=make,
)
