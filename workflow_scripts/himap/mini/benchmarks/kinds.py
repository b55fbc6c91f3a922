"""Every kind of question, three times in the same words: about a picture, about one with another answer, about one with the same.

Scenes are drawn into a pool first and asked everything; questions that some of them answer alike and others differently make
a triple. No two samples show the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.questions.bars import bar_larger, bar_value
from himap.mini.questions.forms_and_sums import field_value, total
from himap.mini.questions.knowledge import fact, like_thing, story
from himap.mini.questions.marks import (
    color_of_shape,
    count_color,
    count_shape,
    exists,
    neighbor,
    relation,
    shape_of_color,
)
from himap.mini.questions.question import Maker, Question, about_question, lettered
from himap.mini.questions.words import word_place, word_text
from himap.mini.scenes import SPLITS, Scene

KINDS: dict[str, tuple[str, tuple[Maker, ...]]] = {  # the sort of scenes, and who asks
    "existence": ("shapes", (exists,)),
    "color": ("shapes", (color_of_shape,)),
    "shape": ("shapes", (shape_of_color,)),
    "count": ("shapes", (count_shape, count_color)),
    "position": ("shapes", (relation,)),
    "neighbor": ("shapes", (neighbor,)),
    "knowledge": ("shapes", (like_thing, fact)),
    "story": ("few", (story,)),
    "word": ("signs", (word_text, word_place)),
    "number": ("document", (field_value,)),
    "sum": ("sum", (total,)),
    "bar value": ("chart", (bar_value, bar_larger)),
}
TRIPLE = 3
SCENES = 60  # that a pool grows by when no triple is left in it
TRIES = 6  # of each maker on a scene: makers draw what they ask about
OPTIONS = 4


@dataclass(frozen=True)
class Known:
    """A question, and the scene of its pool that answers it."""

    scene: int
    question: Question


class Pool:
    """Scenes of one sort with the questions of one kind about them, by their words and then by their answers."""

    def __init__(self, draw: Drawer, kind: str):
        self.draw, (self.sort, self.makers), self.kind = draw, KINDS[kind], kind
        self.scenes: list[Scene] = []
        self.used: set[int] = set()
        self.known: dict[str, dict[str, list[Known]]] = {}  # text, answer, and who gives it

    def grow(self) -> None:
        """Draw further scenes and ask everything about them."""
        for _ in range(SCENES):
            scene, rng = self.draw.scene(self.sort)
            for maker in (maker for maker in self.makers for _ in range(TRIES)):
                question = maker(scene, rng)
                # `field_value` asks for words and for numbers; the pool of numbers keeps only the latter.
                if question is not None and about_question(question)["kind"] == self.kind:
                    # The same question with another context is another question.
                    answers = self.known.setdefault(f"{question.context}\n{question.text}", {})
                    answers.setdefault(question.answer, []).append(Known(len(self.scenes), question))
            self.scenes.append(scene)

    def triple(self, rng: np.random.Generator) -> list[Known]:
        """Return a question with its scene, one with another answer and one with the same; the pool grows until there is one."""
        while True:
            texts = list(self.known)
            for index in rng.permutation(len(texts)):
                if triple := self.triple_of(self.known[texts[index]], rng):
                    self.used |= {known.scene for known in triple}
                    return triple
            self.grow()

    def triple_of(self, answers: dict[str, list[Known]], rng: np.random.Generator) -> list[Known]:
        """Return a triple among the unused scenes that answer one question, or nothing."""
        fresh = {answer: self.fresh(known) for answer, known in answers.items()}
        # An answer that two unused scenes share: the first and the last of the triple.
        twice = [answer for answer, known in fresh.items() if len(known) > 1]
        if not twice:
            return []
        answer = twice[int(rng.integers(len(twice)))]
        # One scene for each other answer: the middle of the triple.
        others = [known[0] for other, known in fresh.items() if other != answer and known]
        if not others:
            return []
        first, same = fresh[answer][:2]
        other = others[int(rng.integers(len(others)))]
        # A scene may answer a question in two ways (the color of either of two words): then it would be there twice.
        return [first, other, same] if len({first.scene, other.scene, same.scene}) == TRIPLE else []

    def fresh(self, known: list[Known]) -> list[Known]:
        """Return one question for each scene that no triple has yet."""
        # A scene that was asked the same twice counts once.
        return list({entry.scene: entry for entry in known if entry.scene not in self.used}.values())


def make(draw: Drawer, number: int) -> list[Row]:
    """Return at least so many rows: triples of every kind in turn, so that the first rows hold all kinds alike."""
    pools = {kind: Pool(draw, kind) for kind in KINDS}
    kinds = list(pools)
    rows: list[Row] = []
    # Of the choice of triples; scenes have random numbers of their own.
    rng = np.random.default_rng([SPLITS[draw.split], draw.seed])
    while len(rows) < number:
        group = len(rows) // TRIPLE
        pool = pools[kinds[group % len(kinds)]]
        triple = pool.triple(rng)
        options = options_of(triple, rng)
        rows += [row_of(pool.scenes[known.scene], known.question, group, options) for known in triple]
    return rows


def options_of(triple: list[Known], rng: np.random.Generator) -> list[str]:
    """Return the options of a question with a context, which the model knows as multiple choice alone: the same for all three."""
    if not triple[0].question.context:
        return []
    first, other = triple[0].question, triple[1].question
    wrong = [value for value in (*first.wrong, *other.wrong) if value not in (first.answer, other.answer)]
    # Both answers are options, so that only the picture tells which is right.
    pool = [first.answer, other.answer, *dict.fromkeys(wrong)][:OPTIONS]
    return [pool[index] for index in rng.permutation(len(pool))]


def row_of(scene: Scene, question: Question, group: int, options: list[str]) -> Row:
    """Return a sample's row."""
    about = about_question(question)
    answer = lettered(options)[options.index(question.answer)][0] if options else question.answer
    return {
        "group": str(group),
        "kind": about["kind"],
        "context": question.context,
        "question": question.text,
        "options": options,
        "answer": answer,
        "image": picture(scene, f"{group}.png"),
        # Probes of dropped tokens and attacks on empty cells need to know what every image token shows.
        "about": {**about, "content": scene.content()},
    }


MINI = MiniBenchmark(
    name="kinds",
    columns={
        "group": TEXT, "kind": TEXT, "context": TEXT, "question": TEXT, "options": [TEXT], "answer": TEXT, "image": IMAGE,
    },
    samples=432,
    make=make,
)  # fmt: skip
