"""Disruption: which pairs are cut, that nothing else changes, and that the sweep equals running every cut by itself."""

from __future__ import annotations

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.loop import forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, join_rows, new_rows
from himap.experiments.cut_runs import run_undisturbed, sweep, top5_overlap
from himap.experiments.disruption import BLOCKS, EXTENTS, FLOWS, Disruption, make_cut
from tiny import SHAPES, oracle, prompt, tiny_model

REAL = ("img2txt", "img2img")


def pairs_of(rows, flow, layer=2, seed=0, extent="single"):
    """The causal pairs [T, T] of one prompt that a cut blocks at its own layer."""
    disruption = Disruption([make_cut(flow, layer, extent, 6)], rows, [seed])
    cut = disruption.cut(layer, rows, rows.positions, rows.groups)[0]
    return cut & (rows.positions[0][:, None] >= rows.positions[0][None, :])


@pytest.mark.parametrize("shape", SHAPES[:2], ids=["one image", "two images"])
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("flow", REAL)
def test_a_cut_is_what_the_oracle_computes(model, shape, flow, block, extent):
    rows = prompt(model, shape)
    groups = rows.groups[0]
    pairs = (groups == (INSTRUCTION if flow == "img2txt" else IMAGE))[:, None] & (groups == IMAGE)[None, :]
    layers = {"single": [2], "suffix": [2, 3, 4, 5], "prefix": [0, 1], "window": [2, 3, 4]}[extent]
    cut = make_cut(flow, 2, extent, 6, window=3)

    def cut_here(layer):
        return pairs if layer in layers else torch.zeros_like(pairs)

    how = {"zeros": cut_here} if block == "post" else {"seen": lambda layer: ~cut_here(layer)}
    expected, _, entering = oracle(model, rows, **how)
    with torch.no_grad():
        after = forward(model, rows, Cache(), [Disruption([cut], rows, [0], block)])
    torch.testing.assert_close(next_token_logits(model, after)[0], expected[-1], rtol=1e-4, atol=1e-5)
    clean = oracle(model, rows)[2]
    begin = layers[0]
    assert all(torch.equal(a, b) for a, b in zip(clean[: begin + 1], entering[: begin + 1], strict=True))
    assert not torch.allclose(clean[begin + 1], entering[begin + 1], atol=1e-3)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_single_cut_leaves_every_other_layer_alone(model, flow):
    rows = prompt(model, *SHAPES)
    disruption = Disruption([make_cut(flow, 2, "single", 6)] * 3, rows, [1, 2, 3])
    found = [disruption.cut(layer, rows, rows.positions, rows.groups) for layer in range(6)]
    assert [pairs is not None for pairs in found] == [False, False, True, False, False, False]
    assert not bool(found[2][rows.groups == 0].any())  # padding asks nothing


@pytest.mark.parametrize("shape", SHAPES, ids=["one image", "two images", "short"])
@pytest.mark.parametrize("seed", range(5))
def test_random_controls_cut_as_many_pairs(plain_model, shape, seed):
    rows = prompt(plain_model, shape)
    first = int((rows.groups[0] == IMAGE).nonzero()[0])
    wanted = {"random": "img2txt", "random_img2img": "img2img"}
    for control, flow in wanted.items():
        pairs = pairs_of(rows, control, seed=seed)
        assert int(pairs.sum()) == int(pairs_of(rows, flow).sum())
        assert not bool(pairs[:first].any())
        assert not bool(pairs[:, rows.groups[0] != IMAGE].any())
        partial = [int(n) for n in pairs.sum(1) if n not in (0, *_full(rows))]
        assert len(partial) <= 1  # whole rows, but for the last one drawn


def _full(rows):
    """How many image tokens each row sees."""
    return {int(n) for n in (rows.groups[0] == IMAGE).cumsum(0)}


@pytest.mark.parametrize("seed", range(5))
def test_the_published_control_cuts_as_many_rows_but_fewer_pairs(plain_model, seed):
    rows = prompt(plain_model, SHAPES[0])
    pairs = pairs_of(rows, "random_unmatched", seed=seed)
    is_instruction = rows.groups[0] == INSTRUCTION
    seen = (rows.groups[0] == IMAGE).cumsum(0)
    asked = pairs.any(1)
    assert int(asked.sum()) == int(is_instruction.sum())
    assert torch.equal(pairs.sum(1)[asked], seen[asked])
    average = torch.stack([pairs_of(rows, "random_unmatched", seed=n).sum() for n in range(40)]).float().mean()
    assert average < 0.8 * float(pairs_of(rows, "img2txt").sum())


def test_draws_differ_between_seeds_and_layers_only(plain_model):
    rows = prompt(plain_model, SHAPES[0])
    one = pairs_of(rows, "random", layer=2, seed=7)
    assert torch.equal(one, pairs_of(rows, "random", layer=2, seed=7))
    assert torch.equal(one, pairs_of(rows, "random", layer=2, seed=7, extent="suffix"))
    assert not torch.equal(one, pairs_of(rows, "random", layer=2, seed=8))
    assert not torch.equal(one, pairs_of(rows, "random", layer=3, seed=7))


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("new_tokens", [1, 3])
def test_the_sweep_equals_every_cut_by_itself(model, block, new_tokens):
    rows = prompt(model, SHAPES[1])
    clean = run_undisturbed(model, rows, new_tokens)
    plain = generate(model, rows, new_tokens)
    assert clean.ids == plain.ids[0]
    torch.testing.assert_close(clean.logits, plain.first_logits)
    settings = {"window": 2, "block": block, "new_tokens": new_tokens, "seed": 3}
    outcomes = list(sweep(model, clean, range(6), FLOWS, EXTENTS, **settings))
    names = {(outcome.layer, outcome.flow, outcome.extent) for outcome in outcomes}
    assert names == {(layer, flow, extent) for layer in range(6) for flow in FLOWS for extent in EXTENTS}
    assert len(outcomes) == len(names)
    for outcome in outcomes:
        cut = make_cut(outcome.flow, outcome.layer, outcome.extent, 6, 2)
        direct = generate(model, rows, new_tokens, [Disruption([cut], rows, [3], block)])
        torch.testing.assert_close(outcome.logits, direct.first_logits[0], rtol=1e-4, atol=1e-5)
        assert outcome.ids == direct.ids[0], outcome


def test_a_batch_of_cuts_equals_each_alone(model):
    rows = prompt(model, *SHAPES)
    cuts = [
        make_cut("img2txt", 1, "single", 6),
        make_cut("random", 3, "suffix", 6),
        make_cut("img2img", 0, "window", 6),
    ]
    together = generate(model, rows, 4, [Disruption(cuts, rows, [1, 2, 3])])
    for b, shape in enumerate(SHAPES):
        alone = prompt(model, shape)
        single = generate(model, alone, 4, [Disruption([cuts[b]], alone, [b + 1])])
        torch.testing.assert_close(together.first_logits[b], single.first_logits[0], rtol=1e-4, atol=1e-5)
        assert together.ids[b] == single.ids[0]


@pytest.mark.parametrize("flow", REAL)
def test_generated_tokens_are_cut_off_from_the_image_too(model, flow):
    """With a cache and without, so that what is generated is under the same cut."""
    rows = prompt(model, SHAPES[0])
    cut = make_cut(flow, 1, "suffix", 6)
    cached = generate(model, rows, 5, [Disruption([cut], rows, [0])])
    anew = generate(model, rows, 5, [Disruption([cut], rows, [0])], rerank=True)
    assert cached.ids == anew.ids


@pytest.mark.parametrize("seed", range(3))
def test_the_matched_control_takes_as_many_pairs_from_a_generated_token(plain_model, seed):
    """img2txt cuts a generated token off from every image token, so its control does too; the released one sometimes."""
    rows = prompt(plain_model, SHAPES[0])
    cut = {flow: Disruption([make_cut(flow, 2, "suffix", 6)], rows, [seed]) for flow in FLOWS}
    taken = dict.fromkeys(FLOWS, 0)
    for step in range(1, 41):
        token = new_rows(torch.zeros(1, 1, 32), rows.positions[:, -1:] + step)
        for flow in FLOWS:
            taken[flow] += int(cut[flow].cut(3, token, rows.positions, rows.groups).sum())
    assert taken["random"] == taken["img2txt"] == 40 * 16
    assert taken["random_img2img"] == taken["img2img"] == 0
    assert 0 < taken["random_unmatched"] < taken["random"]


@pytest.mark.parametrize("texts", [("A", "B", "C"), ("AB", "AC", "BA")], ids=["one token", "two tokens"])
def test_a_question_with_choices_is_measured_by_its_likeliest_choice_as_the_evaluation_does(model, texts, monkeypatch):
    rows = prompt(model, SHAPES[0])
    monkeypatch.setattr(model, "answer_ids", lambda text: [10 + ord(letter) - ord("A") for letter in text])
    clean = run_undisturbed(model, rows, 3, choices=texts)
    assert clean.ids in [model.answer_ids(text) for text in texts]
    outcomes = list(sweep(model, clean, [1, 4], ["img2txt", "random"], ["suffix"], new_tokens=3, seed=5))
    for outcome in outcomes:
        cut = Disruption([make_cut(outcome.flow, outcome.layer, "suffix", 6)], rows, [5])
        losses = {text: choice_loss(model, rows, model.answer_ids(text), cut) for text in texts}
        assert outcome.ids == model.answer_ids(min(losses, key=losses.__getitem__)), losses


def choice_loss(model, rows, ids, cut):
    """Mean loss of some tokens after a prompt, all in one pass without a cache."""
    end = int(rows.positions[0, -1])
    positions = torch.arange(end + 1, end + len(ids))[None]
    text = join_rows(rows, new_rows(model.embed_tokens(torch.tensor([ids[:-1]])), positions)) if len(ids) > 1 else rows
    with torch.no_grad():
        hidden = forward(model, text, Cache(), [cut]).hidden[0, -len(ids) :]
        logits = model.head(model.norm(hidden)).float().log_softmax(-1)
    return float(-logits.gather(1, torch.tensor(ids)[:, None]).mean())


def test_top5_overlap():
    scores = torch.arange(20.0)
    assert top5_overlap(scores, scores) == 1.0
    assert top5_overlap(scores, -scores) == 0.0
    assert top5_overlap(scores, scores.roll(1)) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("img2text", 0, "single", 6), ["img2text", "'img2txt'"]),
        (("img2txt", 0, "sufix", 6), ["sufix", "'suffix'"]),
        (("img2txt", 6, "single", 6), ["6", "0 to 5"]),
        (("img2txt", -1, "single", 6), ["-1", "0 to 5"]),
        (("img2txt", "1", "single", 6), ["'1'", "0 to 5"]),
        (("img2txt", 1, "window", 6, 0), ["window", "0", "at least 1"]),
    ],
)
def test_bad_cuts_are_named(arguments, words):
    with pytest.raises(ValueError) as caught:
        make_cut(*arguments)
    assert all(word in str(caught.value) for word in words)


def test_what_cannot_be_cut_is_refused(plain_model):
    rows = prompt(plain_model, SHAPES[0])
    with pytest.raises(ValueError, match=r"'before'.*post.*pre"):
        Disruption([make_cut("img2txt", 0, "single", 6)], rows, [0], "before")
    with pytest.raises(ValueError, match="one prompt"):
        run_undisturbed(plain_model, prompt(plain_model, *SHAPES), 1)
    model = tiny_model()
    bare = prompt(model, {"system": 0, "seed": 1})
    cut = make_cut("img2img", 0, "single", 6)
    with pytest.raises(ValueError, match=r"nothing to attend to.*post"):
        generate(model, bare, 1, [Disruption([cut], bare, [0])])
    assert generate(model, bare, 1, [Disruption([cut], bare, [0], "post")]).first_logits.isfinite().all()
