"""Two questions about each picture, one to be answered Yes and one No, in the subtasks that generated pictures can fill."""

from __future__ import annotations

from collections import Counter

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.forms_and_sums import scene_is, total_is
from himap.mini.questions.knowledge import fact_exists
from himap.mini.questions.marks import color_is, count_is, exists, relation
from himap.mini.questions.question import Maker, Question, about_question, ask
from himap.mini.questions.words import word_is
from himap.mini.scenes import Scene

SUBTASKS: dict[str, tuple[tuple[str, ...], Maker]] = {  # kinds of scenes and the maker of each
    "existence": (("shapes", "few"), exists),
    "count": (("shapes",), count_is),
    "position": (("shapes", "few"), relation),
    "color": (("shapes", "few"), color_is),
    "scene": (("shapes", "chart", "document", "sum"), scene_is),
    "OCR": (("signs",), word_is),
    "commonsense_reasoning": (("shapes", "few"), fact_exists),
    "numerical_calculation": (("sum",), total_is),
}


def make(draw: Drawer, number: int) -> list[Row]:
    """Return two rows for each of `number` pictures, the subtasks in turn."""
    rows = []
    subtasks = list(SUBTASKS)
    pictures_of: Counter[str] = Counter()
    for index in range(number):
        subtask = subtasks[index % len(subtasks)]
        scene, pair = next_pair(draw, *SUBTASKS[subtask])
        pictures_of[subtask] += 1
        file_name = f"{pictures_of[subtask]:04d}.png"  # counted within the subtask, as published
        image = picture(scene, file_name)
        # Two rows of one `question_id`: MME's acc+ counts a picture only if both are right.
        for question in pair:
            rows.append(
                {
                    "question_id": f"{subtask}/{file_name}",
                    "image": image,
                    "question": f"{question.text} Please answer yes or no.",  # MME's own words
                    "answer": question.answer.capitalize(),
                    "category": subtask,
                    "about": about_question(question),
                }
            )
    return rows


def next_pair(draw: Drawer, kinds: tuple[str, ...], maker: Maker) -> tuple[Scene, list[Question]]:
    """Return the next scene that has both a question with yes and one with no."""
    while True:
        scene, rng = draw.scene(*kinds)
        # 25 tries, since a maker says yes or no as it happens.
        pair = [ask(maker, scene, rng, answer=answer, tries=25) for answer in ("yes", "no")]
        if len(questions := [question for question in pair if question is not None]) == 2:
            return scene, questions


MINI = MiniBenchmark(
    name="mme",
    columns={"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT, "category": TEXT},
    samples=160,  # pictures
    make=make,
)
