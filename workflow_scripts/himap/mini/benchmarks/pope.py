"""Six questions about a picture in each of three settings that share the three positives.

Negatives are any absent objects (random), the most frequent objects of the whole set that the picture lacks (popular), and
absent objects whose color and shape both occur in the picture, on different objects (adversarial).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.questions.marks import absent_names
from himap.mini.questions.question import about, article, cells_of
from himap.mini.scenes import Scene

SETTINGS = ("adversarial", "popular", "random")  # in the order of the published file
ROWS_PER_PICTURE = 18
OBJECTS = [f"{color} {shape}" for color in COLOR_NAMES for shape in SHAPE_NAMES]

Drawn = tuple[Scene, np.random.Generator, list[str]]  # a scene, its random numbers, and the objects in it


def make(draw: Drawer, number: int) -> list[Row]:
    """Return at least so many rows; every picture keeps all of its 18, without which settings could not be compared."""
    # Rounded up. All scenes come first, because what is popular is counted over the whole set.
    drawn = draw_scenes(draw, -(-number // ROWS_PER_PICTURE))
    frequency = Counter(name for _, _, present in drawn for name in present)
    # Ties by name, so that the order is always the same.
    by_frequency = [name for name, _ in sorted(frequency.items(), key=lambda item: (-item[1], item[0]))]
    rows_of: dict[str, list[Row]] = {setting: [] for setting in SETTINGS}
    for index, (scene, rng, present) in enumerate(drawn):
        positives = three(rng, present)
        negatives = negatives_of(scene, rng, present, by_frequency)
        source = f"mini_val_{index:012d}"
        image = picture(scene, f"{source}.png")
        # The published order: setting by setting, and within it picture by picture, a yes before a no.
        for setting, rows in rows_of.items():
            for yes, no in zip(positives, negatives[setting], strict=True):
                for name, answer in ((yes, "yes"), (no, "no")):
                    rows.append(
                        {
                            "question_id": str(len(rows) + 1),  # counted from 1 in every setting, as published
                            "question": f"Is there {article(name)} in the image?",
                            "answer": answer,
                            "image_source": source,
                            "image": image,
                            "category": setting,
                            "about": about("existence", cells_of(*(mark for mark in scene.marks if mark.name == name))),
                        }
                    )
    every_row = [row for rows in rows_of.values() for row in rows]
    return [{"id": str(i), **row} for i, row in enumerate(every_row)]


def draw_scenes(draw: Drawer, number: int) -> list[Drawn]:
    """Draw scenes with at least three objects to ask for and three adversarial ones."""
    drawn: list[Drawn] = []
    while len(drawn) < number:
        scene, rng = draw.scene("shapes")
        present = sorted({mark.name for mark in scene.marks})
        if len(present) >= 3 and len(mixed_names(scene)) >= 3:
            drawn.append((scene, rng, present))
    return drawn


def negatives_of(
    scene: Scene, rng: np.random.Generator, present: list[str], by_frequency: list[str]
) -> dict[str, list[str]]:
    """Return three absent objects for every setting."""
    absent = [name for name in OBJECTS if name not in present]
    # Filled up where few objects are in the set.
    popular = [name for name in by_frequency if name not in present] + absent
    return {
        "random": three(rng, absent),
        "popular": list(dict.fromkeys(popular))[:3],  # without chance: the three most frequent ones
        "adversarial": three(rng, mixed_names(scene)),
    }


def three(rng: np.random.Generator, names: list[str]) -> list[str]:
    """Draw three of the names."""
    return [names[i] for i in rng.permutation(len(names))[:3]]


def mixed_names(scene: Scene) -> list[str]:
    """Return absent objects whose color and shape the picture both shows."""
    colors, shapes = {mark.color for mark in scene.marks}, {mark.shape for mark in scene.marks}
    return [name for name in absent_names(scene) if name.split()[0] in colors and name.split()[1] in shapes]


MINI = MiniBenchmark(
    name="pope",
    columns={
        "id": TEXT,
        "question_id": TEXT,
        "question": TEXT,
        "answer": TEXT,
        "image_source": TEXT,
        "image": IMAGE,
        "category": TEXT,
    },
    samples=720,
    make=make,
)
