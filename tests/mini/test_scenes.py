"""Scenes: what is drawn is what is described, and no picture of one split occurs in another."""

from __future__ import annotations

import io

import numpy as np
import pytest
from himap.mini import benchmarks, conversations, scenes
from himap.mini.glyphs import COLOR_NAMES, INDEX, INKS, NAMES, SHAPE_NAMES
from PIL import Image


def drawn(split: str, kind: str, number: int) -> scenes.Scene:
    return scenes.make_scene(kind, scenes.generator(split, 0, number))


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_the_same_seed_draws_the_same_picture(kind: str) -> None:
    first, second = drawn("train", kind, 5), drawn("train", kind, 5)
    assert first.content_hash() == second.content_hash()
    assert scenes.png(first) == scenes.png(second)


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_pictures_are_small_squares(kind: str) -> None:
    picture = Image.open(io.BytesIO(scenes.png(drawn("train", kind, 1))))
    assert picture.size == (scenes.PIXELS, scenes.PIXELS)
    assert scenes.SIDE**2 == 144


def test_a_mark_is_one_cell_in_its_own_ink() -> None:
    for number in range(20):
        scene = drawn("train", "shapes", number)
        picture = scenes.render(scene).astype(float)
        for mark in scene.marks:
            cell = picture[8 * mark.row : 8 * mark.row + 8, 8 * mark.column : 8 * mark.column + 8].reshape(-1, 3)
            paper = np.median(picture.reshape(-1, 3), axis=0)
            inked = cell[np.abs(cell - paper).sum(1) > 60]
            distance = {name: np.abs(inked.mean(0) - ink).sum() for name, ink in INKS.items()}
            assert min(distance, key=distance.__getitem__) == mark.color


def test_the_grid_and_the_description_agree() -> None:
    for number in range(50):
        scene = drawn("train", "shapes", number)
        shown = {
            (row, column): f"{COLOR_NAMES[scene.colors[row, column]]} {NAMES[scene.glyphs[row, column]]}"
            for row, column in np.argwhere(np.isin(scene.glyphs, [INDEX[shape] for shape in SHAPE_NAMES])).tolist()
        }
        assert shown == {(mark.row, mark.column): mark.name for mark in scene.marks}
        for word in scene.words:
            letters = scene.glyphs[word.row, word.column : word.column + len(word.text)]
            assert "".join(NAMES[index] for index in letters) == word.text


def test_splits_share_no_picture() -> None:
    seen = {}
    for split in scenes.SPLITS:
        hashes = set()
        for number in range(400):
            rng = scenes.generator(split, 0, number)
            hashes.add(scenes.make_scene(conversations.random_kind(rng), rng).content_hash())
        assert len(hashes) == 400, f"{split} repeats itself"
        seen[split] = hashes
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_benchmarks_of_two_splits_share_no_picture_and_one_split_is_always_the_same() -> None:
    def pictures(split: str) -> set[bytes]:
        rows = [row for name in benchmarks.names() for row in benchmarks.make(name, split, samples=20)]
        return {row["image"]["bytes"] for row in rows}

    test, validation = pictures("test"), pictures("validation")
    assert not test & validation
    assert test == pictures("test")
