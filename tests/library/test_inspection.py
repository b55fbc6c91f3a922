"""One prompt under the glass: maps against a decoder that is written out, probabilities against plain forward passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.experiments.inspection import layers_of, token_chances
from himap.pruning.stage import Schedule
from tiny import STAGES, oracle, prompt


def test_maps_are_what_the_instruction_pays_to_each_image_token_and_every_tokens_attention_sums_to_one(model) -> None:
    rows = prompt(model, {"system": 5, "instruction": 7})
    logits, weights, _ = oracle(model, rows)
    layers = layers_of(model, rows, int(logits[-1].argmax()))
    groups = rows.groups[0]
    for layer, map_ in zip(layers, weights, strict=True):
        expected = map_.mean(dim=0)[groups == 3][:, groups == 2].sum(dim=0)
        torch.testing.assert_close(torch.tensor(layer.maps["attention"]), expected, rtol=1e-4, atol=1e-6)
        assert layer.flows["attention"].sum(axis=1) == pytest.approx([5, 16, 7], abs=1e-4)
        assert layer.flows["paper"][2, 1] == pytest.approx(layer.maps["paper"].sum(), rel=1e-4)
    assert len(layers) == model.dims.layers


@pytest.mark.parametrize("rerank", [False, True], ids=["cached", "ranked again"])
def test_a_tokens_probability_is_that_of_a_pass_over_all_tokens_before_it(plain_model, rerank: bool) -> None:
    rows = prompt(plain_model, {"system": 5, "instruction": 7})
    ids = [11, 23, 42]
    pruned = Schedule(tuple(STAGES), "pruned", rerank=rerank)
    chances = list(token_chances(plain_model, rows, replace(pruned, stages=()), ids, seed=0))
    text, _, _ = oracle(plain_model, rows)
    assert chances[0] == pytest.approx(float(text[-1].softmax(-1)[11]), rel=1e-4)
    assert len(chances) == 3
    assert len(set(chances)) == 3
    first = next(token_chances(plain_model, rows, pruned, ids, seed=0))
    whole = next_token_logits(plain_model, forward(plain_model, rows, Cache()))[0].softmax(-1)[11]
    assert first != pytest.approx(float(whole), rel=1e-3)  # the stages are at work
