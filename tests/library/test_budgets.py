"""Budgets: every method is solved for a mean number of image tokens, or for another method's FLOPs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from himap.costs.formulas import flops, image_tokens_per_layer, keep_count
from himap.models.sizes import Dims
from himap.pruning.budget import mean_tokens
from himap.pruning.resolve import load_all, resolve

SIZES = Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)
SMALL = Dims(12, 128, 4, 4, 32, 320, 500, 144)
# in jumps of a whole layer, or of a row of the picture
COARSE = {"vtw", "downsample"}
METHODS = sorted(set(load_all()) - {"vanilla", "asked_otherwise", "in_float16", "in_bfloat16"})


def solved(name, dims, **budget):
    """Return a method's schedule under a budget, and the number of image tokens that enter the decoder."""
    schedule = resolve("mine", dims, methods={"mine": {"like": name, **budget}})
    rows, columns = schedule.image_grid or dims.grid
    return schedule, rows * columns


@pytest.mark.parametrize("dims", [SIZES, SMALL], ids=["7b", "mini"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_meets_192_128_and_64_tokens_of_576_and_a_share_elsewhere(name, dims):
    for share in ("1/3", "2/9", "1/9"):
        target = dims.tokens_per_image * eval(share)
        schedule, entering = solved(name, dims, tokens_of=share)
        layers = image_tokens_per_layer(dims, schedule.stages, entering)
        near = 0.11 * dims.tokens_per_image if name in COARSE else 1
        assert abs(sum(layers) / len(layers) - target) <= near, (share, layers)
        assert solved(name, dims, tokens_of=round(target))[0].stages == schedule.stages


@pytest.mark.parametrize("name", METHODS)
def test_every_method_meets_the_flops_of_another(name):
    wanted = flops(SIZES, resolve("himap", SIZES).stages)
    schedule, entering = solved(name, SIZES, flops_of="himap")
    found = flops(SIZES, schedule.stages, n_image=entering)
    assert found == pytest.approx(wanted, rel=0.12 if name in COARSE else 0.01)


def test_published_settings_follow_from_the_budget():
    """FastV's counts at equal mean tokens, PyramidDrop's powers of one share, VTW's layer, as computed by hand."""
    keeps = {}
    for name in ("fastv", "pyramiddrop", "visionzip"):
        for share in ("1/3", "2/9", "1/9"):
            stages = solved(name, SIZES, tokens_of=share)[0].stages
            keeps.setdefault(name, []).append([round(stage.keep * 576) for stage in stages])
    assert keeps["fastv"] == [[166], [98], [30]]
    assert keeps["visionzip"] == [[192], [128], [64]]
    for share, counts in zip((0.561, 0.421, 0.193), keeps["pyramiddrop"], strict=True):
        assert counts == pytest.approx([576 * share**power for power in (1, 2, 3)], abs=2)
    assert [solved("vtw", SIZES, tokens_of=share)[0].stages[0].layer for share in ("1/3", "2/9", "1/9")] == [11, 7, 4]
    assert mean_tokens(SIZES, resolve("pyramiddrop", SIZES).stages) == 270


def test_stages_move_toward_the_input_only_if_their_layers_are_too_deep_for_the_budget():
    own = {"mine": {"stages": [{"layer": 6, "keep": 0.5, "criterion": "random"}]}}
    layers = {}
    for tokens in (100, 80, 48, 16):
        methods = {**own, "solved": {"like": "mine", "tokens_of": tokens}}
        (stage,) = resolve("solved", SMALL, methods=methods).stages
        layers[tokens] = stage.layer
    assert layers == {100: 6, 80: 6, 48: 3, 16: 1}


def test_a_method_written_for_32_layers_is_at_the_same_depths_of_another_decoder():
    assert [stage.layer for stage in resolve("pyramiddrop", SMALL).stages] == [3, 6, 9]
    assert [stage.layer for stage in resolve("sparsevlm", SMALL).stages] == [1, 3, 6]
    assert [stage.layer for stage in resolve("dart", SMALL).stages] == [1]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"like": "himap", "tokens_of": 600}, ["tokens_of", "600", "576"]),
        ({"like": "himap", "tokens_of": "a third"}, ["tokens_of", "a third", "1/3"]),
        ({"like": "himap", "tokens_of": 0.0001}, ["tokens_of", "0.0576"]),
        ({"like": "himap", "tokens_of": True}, ["tokens_of", "True"]),
        ({"like": "himap", "tokens_of": 64, "flops_of": "fastv"}, ["tokens_of and flops_of"]),
        ({"like": "himap", "tokens_of": 10}, ["budget of 10", "least"]),
        ({"like": "vanilla", "tokens_of": 64}, ["drops nothing"]),
        ({"downsample": True}, ["flops_of", "tokens_of"]),
        ({"like": "himap", "positions": "renumbered"}, ["renumbered", "'renumber'"]),
    ],
)
def test_a_budget_that_cannot_be_met_is_named(definition, words):
    with pytest.raises(ValueError) as caught:
        resolve("mine", SIZES, methods={"mine": definition})
    assert all(word in str(caught.value) for word in words), caught.value


def test_budgets_are_solved_without_torch():
    code = (
        "import sys; from himap.pruning.resolve import resolve; from himap.models.sizes import Dims;"
        f"resolve('x', {SIZES!r}, methods={{'x': {{'like': 'sparsevlm', 'tokens_of': 64}}}});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_share_of_the_tokens_counts_the_layers_that_look_at_the_picture():
    """Sixteen layers, five of them of cross-attention: the others have no image token that could be dropped."""
    beside = Dims(16, 128, 4, 4, 32, 320, 500, 145, cross=(1, 4, 7, 10, 13), picture_width=128)
    assert mean_tokens(beside, ()) == 145
    schedule, _ = solved("random_tokens", beside, tokens_of="1/3")
    assert [keep_count(stage.keep, 145) for stage in schedule.stages] == [48]
    later, _ = solved("fastv", beside, tokens_of="1/3")
    seen = [tokens for tokens in image_tokens_per_layer(beside, later.stages, 145) if tokens]
    assert len(seen) == 5
    assert seen[0] > seen[-1]
    assert abs(sum(seen) / 5 - 145 / 3) <= 1
