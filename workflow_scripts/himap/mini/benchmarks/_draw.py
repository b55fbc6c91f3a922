"""What every mini benchmark is made with: its declaration, the types of columns, and the source of its scenes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from himap.mini.descriptions import NUMBERS
from himap.mini.questions.question import Maker, Question, ask
from himap.mini.scenes import Scene, generator, make_scene, png

Row = dict[str, Any]
Columns = dict[str, Any]

TEXT, NUMBER = "string", "int64"
ABOUT = "about"
IMAGE = {"_type": "Image"}  # told apart from a struct by identity

# A benchmark's place in this list is part of the random seed of its scenes. FROZEN: another order, or a name taken out,
# would draw other pictures for all that follow, and the scores in models/mini/README.md were measured on these.
# New benchmarks need no entry: `seed_of` gives them a number that depends on nothing but their name.
SEEDS = (
    "vqav2",
    "textvqa",
    "mme",
    "scienceqa",
    "aokvqa",
    "pope",
    "nocaps",
    "flickr30k",
    "llavabench",
    "mmvet",
    "chartqa",
    "docvqa",
)


def seed_of(name: str) -> int:
    """Return the number that tells a benchmark's scenes from those of all others."""
    if name in SEEDS:
        return SEEDS.index(name)
    # 64 bits of the name's hash: far too large to meet a place in the list, and no new benchmark moves another's scenes.
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


class Drawer:
    """Draw the scenes and random numbers of one benchmark and split, one after another."""

    def __init__(self, benchmark: str, split: str, seed: int):
        self.benchmark, self.split, self.seed = seed_of(benchmark), split, seed
        self.drawn = 0  # scenes so far, those passed over included

    def scene(self, *kinds: str) -> tuple[Scene, np.random.Generator]:
        """Return the next scene, of one of the kinds, and its random numbers."""
        # + 1000: the first thousand seeds belong to training batches, and no benchmark may show one of their scenes.
        rng = generator(self.split, 1000 + self.seed, self.benchmark, self.drawn)
        self.drawn += 1
        return make_scene(kinds[int(rng.integers(len(kinds)))], rng), rng

    def question(
        self, kinds: tuple[str, ...], makers: tuple[Maker, ...], accept: Callable[[Question], bool] = lambda _: True
    ) -> tuple[Scene, np.random.Generator, Question]:
        """Return the next scene with a question that is accepted; scenes without one are passed over."""
        while True:
            scene, rng = self.scene(*kinds)
            # Every maker has its chance, so a maker that seldom finds something to ask is not simply left out.
            for index in rng.permutation(len(makers)):
                question = ask(makers[index], scene, rng, tries=3)
                if question is not None and accept(question):
                    return scene, rng, question


@dataclass(frozen=True)
class MiniBenchmark:
    """Declare a benchmark of the embedded world.

    `columns` gives each column's type: "string", "int64" …, IMAGE, a list with the type of its items, or a dictionary. Beside
    its columns a row has `about`, what the question is about: published sets know nothing of it, so it becomes no column.
    `make` gets a drawer and a number, `samples` being the usual one. It returns that many rows, or more where several rows
    belong to one picture and would mean nothing alone.
    """

    name: str
    columns: Columns
    samples: int
    make: Callable[[Drawer, int], list[Row]]


def picture(scene: Scene, name: str) -> Row:
    """Return an image as data sets store it: encoded bytes and a file name."""
    return {"bytes": png(scene), "path": name}


def annotators(question: Question, rng: np.random.Generator) -> list[str]:
    """Return ten people's answers: most agree, some word it differently, now and then one is wrong."""
    return [_annotator(question, rng) for _ in range(10)]


def _annotator(question: Question, rng: np.random.Generator) -> str:
    """Return one person's answer."""
    draw, answer = rng.random(), question.answer
    # VQA's answers are those of ten people, and its accuracy is built on how many agree.
    if draw < 0.05:
        if question.wrong:
            return question.wrong[int(rng.integers(min(3, len(question.wrong))))]  # one of the likeliest mistakes
        return "no" if answer == "yes" else "yes"  # only questions of yes or no have no wrong answers
    if draw < 0.12:
        return NUMBERS[int(answer)] if answer.isdigit() and 0 < int(answer) < 10 else answer.capitalize()
    return answer
