"""Conversation, detail and complex questions; the caption is what a judge knows of the picture."""

from __future__ import annotations

import numpy as np

from himap.mini import descriptions
from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.bars import bar_value
from himap.mini.questions.marks import color_of_shape
from himap.mini.questions.question import about, about_question, ask, cells_of
from himap.mini.scenes import Scene

Asked = tuple[str, str, str, Row]  # category, question, answer, what it is about


def make(draw: Drawer, number: int) -> list[Row]:
    """Return rows until there are enough; a picture has one to three."""
    rows: list[Row] = []
    while len(rows) < number:
        scene, rng = draw.scene("few", "signs", "chart", "shapes")
        caption = f"The picture shows {descriptions.join(descriptions.content(scene))}."
        # Cut, because the number of rows is exact: the last picture may have fewer questions than fit it.
        for category, text, answer, topic in questions_about(scene, rng)[: number - len(rows)]:
            rows.append(
                {
                    "question_id": str(len(rows)),
                    "question": text,
                    "image": picture(scene, f"{draw.drawn:03d}.png"),
                    "category": category,
                    "image_id": f"{draw.drawn:03d}.png",
                    "gpt_answer": answer,
                    "caption": caption,
                    "about": topic,
                }
            )
    return rows


def questions_about(scene: Scene, rng: np.random.Generator) -> list[Asked]:
    """Return the questions that fit a scene; a long description is only asked for where there is little to describe."""
    asked: list[Asked] = []
    if question := ask(color_of_shape, scene, rng):
        asked.append(("conv", question.text, question.sentence, about_question(question)))
    if scene.kind == "chart":
        if question := ask(bar_value, scene, rng):
            asked.append(("conv", question.text, question.sentence, about_question(question)))
        topic = about("bar value", cells_of(*scene.bars))
        # A chart always has bars; `or ""` is for the type checker.
        asked.append(("complex", descriptions.BEST, descriptions.best_bar(scene) or "", topic))
    if scene.kind != "shapes":
        asked.append(("detail", descriptions.DETAIL, descriptions.detail(scene), about("caption")))
    elif common := descriptions.most_common(scene):
        topic = about("count", cells_of(*scene.marks))
        asked.append(("complex", descriptions.COMMON, common, topic))
    return asked


MINI = MiniBenchmark(
    name="llavabench",
    columns={
        "question_id": TEXT,
        "question": TEXT,
        "image": IMAGE,
        "category": TEXT,
        "image_id": TEXT,
        "gpt_answer": TEXT,
        "caption": TEXT,
    },
    samples=60,
    make=make,
)
