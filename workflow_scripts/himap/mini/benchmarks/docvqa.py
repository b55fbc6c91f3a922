"""Reading a line of a form."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, NUMBER, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.forms_and_sums import field_value
from himap.mini.questions.question import about_question


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a form."""
    rows = []
    for index in range(number):
        scene, _, question = draw.question(("document",), (field_value,))
        rows.append(
            {
                "questionId": str(index),
                "question": question.text,
                "question_types": ["form"],
                "image": picture(scene, f"{index}.png"),
                "docId": draw.drawn,
                "ucsf_document_id": f"mini{draw.drawn:04d}",
                "ucsf_document_page_no": "1",
                # "PARIS" and "paris"; of a number one.
                "answers": list(dict.fromkeys([question.answer, question.answer.lower()])),
                "data_split": "val",
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="docvqa",
    columns={
        "questionId": TEXT,
        "question": TEXT,
        "question_types": [TEXT],
        "image": IMAGE,
        "docId": NUMBER,
        "ucsf_document_id": TEXT,
        "ucsf_document_page_no": TEXT,
        "answers": [TEXT],
        "data_split": TEXT,
    },
    samples=300,
    make=make,
)
