"""Three lines in a notebook: load, ask, look at the kept tokens."""

from __future__ import annotations

import checkpoint
import himap
import numpy as np
import pytest
from himap.picture import DIMMED, kept_mask, kept_picture, pad_to_square
from PIL import Image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return himap.load(checkpoint.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


def test_load_ask_look(model, tmp_path):
    image = tmp_path / "picture.png"
    checkpoint.picture(3).save(image)
    answer = himap.generate(model, image, "What is this?", method="himap", max_new_tokens=4)
    assert [stage["layer"] for stage in answer.stages] == [2, 5]  # the checkpoint's own schedules.json
    assert [len(kept) for kept in answer.kept] == [8, 4]
    assert set(answer.kept[1]) < set(answer.kept[0])
    assert str(answer) == answer.text
    assert answer.picture().size == (336, 336)
    lit = [np.asarray(answer.picture(stage)).astype(float).sum() for stage in (0, 1)]
    assert lit[0] > lit[1]
    again = himap.generate(model, checkpoint.picture(3), "What is this?", method="himap", max_new_tokens=4)
    assert (again.text, again.kept) == (answer.text, answer.kept)


def test_without_pruning_all_is_lit(model):
    answer = himap.generate(model, checkpoint.picture(3, (50, 50)), "What?", method="vanilla", max_new_tokens=1)
    assert answer.kept == []
    whole = checkpoint.picture(3, (50, 50)).resize((336, 336), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(answer.picture()).astype(int) - np.asarray(whole)).max() <= 1


def test_a_smaller_image_is_a_method_too(model):
    answer = himap.generate(model, checkpoint.picture(3), "What?", method="downsample", max_new_tokens=2)
    assert answer.grid == (3, 3)
    assert answer.picture().size == (336, 336)


def test_an_unknown_method_is_named(model):
    with pytest.raises(ValueError, match=r"'hymap'.*'himap'"):
        himap.generate(model, checkpoint.picture(3), "What?", method="hymap")


def test_kept_cells_are_lit_and_the_others_dimmed():
    white = Image.new("RGB", (40, 40), (200, 200, 200))
    pixels = np.asarray(kept_picture(white, [0, 3], (2, 2), side=20))
    assert pixels[:10, :10].min() == pixels[10:, 10:].min() == 200
    assert pixels[:10, 10:].max() == pixels[10:, :10].max() == int(200 * DIMMED)
    assert kept_mask([1, 2], (2, 2)).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("size", [(30, 10), (10, 30)])
def test_a_picture_is_in_the_middle_of_its_square(size):
    square = np.asarray(pad_to_square(Image.new("RGB", size, (9, 9, 9)), (1, 2, 3)))
    assert square.shape == (30, 30, 3)
    place = (slice(10, 20), slice(None)) if size[0] > size[1] else (slice(None), slice(10, 20))
    assert (square[place] == 9).all()
    assert (square == (1, 2, 3)).all(axis=-1).sum() == 30 * 20
