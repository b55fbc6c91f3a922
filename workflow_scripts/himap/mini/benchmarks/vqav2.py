"""Open questions with ten answers each, up to three about a picture."""

from __future__ import annotations

from collections import Counter

from himap.mini.benchmarks._draw import IMAGE, NUMBER, TEXT, Drawer, MiniBenchmark, Row, annotators, picture
from himap.mini.questions.bars import bar_color, bar_count
from himap.mini.questions.marks import SIGHT_MAKERS, color_is, count_is
from himap.mini.questions.question import about_question, ask
from himap.mini.questions.words import word_text

MAKERS = (*SIGHT_MAKERS, word_text, bar_color, bar_count, count_is, color_is)
CONFIDENCES = ("yes", "yes", "yes", "maybe", "no")  # how sure an annotator is


def make(draw: Drawer, number: int) -> list[Row]:
    """Return rows until there are enough; the last picture may have fewer than three."""
    rows: list[Row] = []
    while len(rows) < number:
        scene, rng = draw.scene("shapes", "shapes", "shapes", "few", "signs", "chart")  # half of them many shapes
        image_id = 100_000 + draw.drawn
        asked: set[str] = set()
        for index in rng.permutation(len(MAKERS)):
            question = ask(MAKERS[index], scene, rng, tries=2)
            # Two makers may ask the same in the same words; a picture has three questions at most.
            if question is None or question.text in asked or len(asked) == 3 or len(rows) == number:
                continue
            asked.add(question.text)
            answers = annotators(question, rng)
            rows.append(
                {
                    "question_type": " ".join(question.text.rstrip("?").lower().split()[:2]),
                    "multiple_choice_answer": Counter(answers).most_common(1)[0][0],
                    "answers": [
                        {"answer": answer, "answer_confidence": CONFIDENCES[int(rng.integers(5))], "answer_id": i + 1}
                        for i, answer in enumerate(answers)
                    ],
                    "image_id": image_id,
                    "answer_type": question.answer_type,
                    "question_id": image_id * 1000 + len(asked) - 1,  # as published: the picture's id and three digits
                    "question": question.text,
                    "image": picture(scene, f"mini_{image_id:012d}.png"),
                    "about": about_question(question),
                }
            )
    return rows


MINI = MiniBenchmark(
    name="vqav2",
    columns={
        "question_type": TEXT,
        "multiple_choice_answer": TEXT,
        "answers": [{"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER}],
        "image_id": NUMBER,
        "answer_type": TEXT,
        "question_id": NUMBER,
        "question": TEXT,
        "image": IMAGE,
    },
    samples=400,
    make=make,
)
