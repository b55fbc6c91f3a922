"""Spans come from the ids alone, for any number of images, any text and any padding."""

from __future__ import annotations

import pytest
import torch
from himap.decoder.bitmaps import from_bitmap, to_bitmap
from himap.decoder.ids import expand_image_tokens, token_groups
from himap.decoder.tokens import (
    GROUPS,
    IMAGE,
    INSTRUCTION,
    PADDING,
    SYSTEM,
    batch_rows,
)
from tiny import prompt, sequence


def test_groups():
    assert token_groups([1, 5, 9, 9, 6, 9, 7], 9) == [SYSTEM, SYSTEM, IMAGE, IMAGE, INSTRUCTION, IMAGE, INSTRUCTION]
    assert token_groups([9], 9) == [IMAGE]
    assert GROUPS == {"system": SYSTEM, "image": IMAGE, "instruction": INSTRUCTION}
    with pytest.raises(ValueError, match=r"3 tokens.*no image token.*9"):
        token_groups([1, 2, 3], 9)


def test_one_mark_per_image_becomes_as_many_as_it_has_tokens():
    assert expand_image_tokens([1, 9, 2, 9, 3], 9, [2, 3]) == [1, 9, 9, 2, 9, 9, 9, 3]
    assert expand_image_tokens([1, 9, 9, 2], 9, [2]) == [1, 9, 9, 2]
    with pytest.raises(ValueError, match=r"2 image marks.*1 images"):
        expand_image_tokens([9, 9], 9, [3])
    with pytest.raises(ValueError, match=r"1 image marks.*2 images"):
        expand_image_tokens([9, 4], 9, [3, 3])


def test_left_padding_keeps_each_prompt_as_it_is():
    groups = [[SYSTEM, IMAGE, IMAGE, INSTRUCTION], [IMAGE, INSTRUCTION]]
    rows = batch_rows([torch.ones(4, 3), torch.full((2, 3), 2.0)], groups)
    assert rows.groups.tolist() == [groups[0], [PADDING, PADDING, *groups[1]]]
    assert rows.positions.tolist() == [[0, 1, 2, 3], [-1, -1, 0, 1]]
    assert rows.image_index.tolist() == [[-1, 0, 1, -1], [-1, -1, 0, -1]]
    assert not rows.dense
    assert rows.hidden[1, :2].abs().sum() == 0
    assert batch_rows([torch.ones(2, 3)] * 2, [groups[1]] * 2).dense


def test_selected_rows_stay_in_order_and_are_padded_on_the_left():
    groups = [[SYSTEM, IMAGE, IMAGE, INSTRUCTION], [IMAGE, IMAGE, IMAGE, INSTRUCTION]]
    rows = batch_rows([torch.arange(4.0)[:, None]] * 2, groups)
    left = rows.select(torch.tensor([[True, False, True, True], [False, False, False, True]]))
    assert left.positions.tolist() == [[0, 2, 3], [-1, -1, 3]]
    assert left.image_index.tolist() == [[-1, 1, -1], [-1, -1, -1]]
    assert left.hidden[0, :, 0].tolist() == [0, 2, 3]
    assert left.hidden[1, -1, 0] == 3
    assert not left.dense
    assert rows.select(rows.groups != PADDING).positions.equal(rows.positions)


def test_images_are_where_the_ids_say(plain_model):
    ids, features = sequence(plain_model, images=2, seed=3)
    rows = plain_model.embed([ids], [features])
    where = rows.groups[0] == IMAGE
    torch.testing.assert_close(rows.hidden[0][where], features.flatten(0, 1))
    text = torch.tensor([token for token in ids if token != plain_model.image_token_id])
    torch.testing.assert_close(rows.hidden[0][~where], plain_model.embed_tokens(text))
    repeated = [t for token in ids for t in [token] * (16 if token == plain_model.image_token_id else 1)]
    torch.testing.assert_close(plain_model.embed([repeated], [features]).hidden, rows.hidden)


def test_a_prompt_that_does_not_go_with_its_images_is_refused(plain_model):
    ids, features = sequence(plain_model, images=2, seed=3)
    with pytest.raises(ValueError, match=r"2 image marks.*1 images"):
        plain_model.embed([ids], [features[:1]])
    with pytest.raises(ValueError, match=r"sample 0.*no image"):
        plain_model.embed([ids], [features[:0]])
    without = [token for token in ids if token != plain_model.image_token_id]
    with pytest.raises(ValueError, match=r"0 image marks.*2 images"):
        plain_model.embed([without], [features])


def test_a_batch_holds_each_sample_whole(plain_model):
    shapes = ({"seed": 1}, {"seed": 2, "images": 2}, {"seed": 3, "system": 1, "instruction": 2})
    rows = prompt(plain_model, *shapes)
    for b, shape in enumerate(shapes):
        alone = prompt(plain_model, shape)
        size = alone.positions.shape[1]
        for name in ("hidden", "positions", "groups", "image_index"):
            assert torch.equal(getattr(rows, name)[b, -size:], getattr(alone, name)[0])


@pytest.mark.parametrize("total", [1, 4, 5, 16, 576])
def test_bitmaps_come_back(total):
    for kept in ([], [0], [total - 1], list(range(0, total, 3)), list(range(total))):
        assert from_bitmap(to_bitmap(kept, total)) == kept
    assert len(to_bitmap([], total)) == -(-total // 4)
    assert to_bitmap([0], 8) == "80"
