"""Three lines in a notebook: load, ask, look at the kept tokens."""

from __future__ import annotations

import checkpoint
import himap
import numpy as np
import pytest
from himap.decoder.layout import Layout, Part
from himap.models.images import DIMMED, kept_mask, kept_picture, pad_to_square
from himap.pruning.stage import Schedule, Stage
from PIL import Image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return himap.load(checkpoint.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


def test_load_ask_look(model, tmp_path):
    image = tmp_path / "picture.png"
    checkpoint.picture(3).save(image)
    answer = himap.generate(model, image, "What is this?", method="himap", max_new_tokens=4)
    assert [stage.layer for stage in answer.stages] == [2, 5]  # the checkpoint's own schedules.json
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
    pixels = np.asarray(kept_picture(white, [0, 3], Layout.square(4), side=20))
    assert pixels[:10, :10].min() == pixels[10:, 10:].min() == 200
    assert pixels[:10, 10:].max() == pixels[10:, :10].max() == int(200 * DIMMED)
    assert kept_mask([1, 2], Layout.square(4)).tolist() == [[False, True], [True, False]]


def test_a_place_is_dark_when_neither_its_tile_nor_the_view_of_the_whole_is_left():
    tiles = [Part(1, 2, (0.0, 0.0, 0.5, 1.0)), Part(1, 2, (0.5, 0.0, 1.0, 1.0)), Part(1, 1)]
    layout = Layout(tuple(tiles))
    assert Layout.from_json(layout.to_json()) == layout
    assert (int(layout), layout.grid) == (5, (1, 4))
    assert kept_mask([1, 2], layout).tolist() == [[False, True, True, False]]
    assert kept_mask([4], layout).all()
    ends = Layout((Part(2, 2, row_ends=True),))  # the third and the last token show no place
    assert kept_mask([0, 2, 5], ends).tolist() == [[True, False], [False, False]]
    assert ends.density(np.array([0, 1, 1, 1, 0, 0], dtype=bool), (2, 2)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("size", [(30, 10), (10, 30)])
def test_a_picture_is_in_the_middle_of_its_square(size):
    square = np.asarray(pad_to_square(Image.new("RGB", size, (9, 9, 9)), (1, 2, 3)))
    assert square.shape == (30, 30, 3)
    place = (slice(10, 20), slice(None)) if size[0] > size[1] else (slice(None), slice(10, 20))
    assert (square[place] == 9).all()
    assert (square == (1, 2, 3)).all(axis=-1).sum() == 30 * 20


def test_a_schedule_of_ones_own_is_a_list_of_stages_or_a_definition(model):
    stages = [
        {"layer": 1, "keep": 0.5, "criterion": "instruction_attention"},
        {"layer": 3, "keep": 3, "criterion": "image_attention"},
    ]
    answers = [
        himap.generate(model, checkpoint.picture(3), "What?", method=method, max_new_tokens=2)
        for method in (stages, {"stages": stages}, {"stages": {"qa": stages}}, {"name": "mine", "stages": stages})
    ]
    for answer in answers:
        assert [stage.to_json() for stage in answer.stages] == stages
        assert [len(kept) for kept in answer.kept] == [8, 3]
    schedule = Schedule(answers[0].stages)
    for method in (schedule, schedule.to_json(), list(schedule.stages)):
        again = himap.generate(model, checkpoint.picture(3), "What?", method=method, max_new_tokens=2)
        assert (again.text, again.stages, again.kept) == (answers[0].text, answers[0].stages, answers[0].kept)
    resolved = himap.generate(
        model, checkpoint.picture(3), "What?", method={"like": "himap", "only": [0]}, max_new_tokens=1
    )
    assert [stage.layer for stage in resolved.stages] == [2]
    for wrong, message in (
        ([{"layer": 1, "keep": 2.0, "criterion": "random"}], r"stages\[0\].keep: 2.0 is outside"),
        ({"stage": stages}, "unknown key in method '\\(own\\)' 'stage'"),
        ({}, "no form"),
        (7, "method: 7 is not a method; give a name"),
        (Schedule((Stage(50, 0.5, "random"),)), r"stages\[0\].layer: 50 is not below the last layer"),
    ):
        with pytest.raises(ValueError, match=message):
            himap.generate(model, checkpoint.picture(3), "What?", method=wrong)


def test_a_numpy_picture_is_answered_like_the_same_pil_one_and_others_are_refused_in_one_line(model):
    array = np.asarray(checkpoint.picture(3))
    given = [himap.generate(model, image, "What?", max_new_tokens=3) for image in (array, checkpoint.picture(3))]
    assert (given[0].text, given[0].kept) == (given[1].text, given[1].kept)
    for wrong, message in (
        (array.astype(float) / 255, r"an array of float64 \[44, 60, 3\] is not a picture; give a file"),
        (array.transpose(2, 0, 1), r"array of uint8 \[3, 44, 60\]"),
        (array[:0], r"array of uint8 \[0, 60, 3\]"),
        (b"bytes", "a bytes is not a picture"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            himap.generate(model, wrong, "What?")
        assert "\n" not in str(refused.value)
