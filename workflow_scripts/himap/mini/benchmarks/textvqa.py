"""Reading words; the prompt lists what a text reader found, in any order and not always all of it."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.conversations import ocr_tokens
from himap.mini.questions.question import about_question
from himap.mini.questions.words import word_place, word_text
from himap.mini.scenes import PIXELS


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture, with ten answers of which one may name another word."""
    rows = []
    for index in range(number):
        scene, rng, question = draw.question(("signs",), (word_text, word_place))
        # The published answers are mostly lower case.
        answers = [question.answer.lower() if rng.random() < 0.8 else question.answer for _ in range(10)]
        # One of the ten reads another word, as people do; three that agree are enough for the full score.
        if len(scene.words) > 1 and rng.random() < 0.5:
            other = next(word.text for word in scene.words if word.text != question.answer)
            answers[int(rng.integers(10))] = other.lower()
        rows.append(
            {
                "image_id": f"{draw.split[:2]}{draw.drawn:014x}",
                "question_id": 30_000 + index,
                "question": question.text.lower(),  # the adapter's prompt begins with a capital again
                "question_tokens": question.text.lower().rstrip("?").split(),
                "image": picture(scene, f"{draw.drawn:016x}.png"),
                "image_width": PIXELS,
                "image_height": PIXELS,
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "answers": answers,
                "image_classes": sorted({mark.shape for mark in scene.marks}),
                "set_name": "val",
                "ocr_tokens": ocr_tokens(scene, rng),
                "about": about_question(question),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="textvqa",
    columns={
        "image_id": TEXT,
        "question_id": "int32",
        "question": TEXT,
        "question_tokens": [TEXT],
        "image": IMAGE,
        "image_width": "int32",
        "image_height": "int32",
        "flickr_original_url": TEXT,
        "flickr_300k_url": TEXT,
        "answers": [TEXT],
        "image_classes": [TEXT],
        "set_name": TEXT,
        "ocr_tokens": [TEXT],
    },
    samples=300,
    make=make,
)
