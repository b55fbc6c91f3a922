"""Saliency equals plain autograd through the whole maps of an eager decoder, written out in the oracle."""

from __future__ import annotations

import pytest
import torch
from himap.decoder.tokens import GROUPS
from himap.experiments import saliency as module
from himap.experiments.saliency import saliency
from himap.models.loading import redraw_weights
from tiny import SHAPES, oracle, prompt, tiny_model


def by_autograd(model, rows, target):
    """Both definitions' maps, per layer [T, T]: masks of ones on every map, one backward pass through all layers."""
    length = rows.positions.shape[1]
    masks = [torch.ones(model.dims.heads, length, length, requires_grad=True) for _ in model.layers]
    logits, weights, _ = oracle(model, rows, masks=masks)
    loss = torch.nn.functional.cross_entropy(logits[-1:], torch.tensor([target]))
    gradients = torch.autograd.grad(loss, masks)  # A * dL/dA
    paper = [g.sum(0).abs() for g in gradients]
    released = [(g * w).abs().mean(0).detach() for g, w in zip(gradients, weights, strict=True)]
    return {"paper": paper, "released": released}


def blocks(map_, groups):
    return torch.tensor([[map_[groups == q][:, groups == k].sum() for k in GROUPS.values()] for q in GROUPS.values()])


@pytest.mark.parametrize("shape", SHAPES, ids=["one image", "two images", "short"])
@pytest.mark.parametrize("kind", ["sdpa", "flash", "eager"])
@pytest.mark.parametrize("heads", ["heads", "grouped"])
def test_equals_autograd(shape, kind, heads):
    model = tiny_model(heads)
    model.attention = kind
    rows = prompt(model, shape)
    found, maps = saliency(model, rows, 17), by_autograd(model, rows, 17)
    groups = rows.groups[0]
    assert found.sizes.tolist() == [int((groups == kind).sum()) for kind in GROUPS.values()]
    for definition, expected in maps.items():
        for layer, map_ in enumerate(expected):
            sums = blocks(map_, groups)
            torch.testing.assert_close(found.blocks[definition][layer], sums, rtol=1e-3, atol=1e-7)
            torch.testing.assert_close(found.rows(definition)[layer], sums.sum(1) / found.sizes, rtol=1e-3, atol=1e-7)
            torch.testing.assert_close(
                found.columns(definition)[layer], sums.sum(0) / found.sizes, rtol=1e-3, atol=1e-7
            )
            assert float(found.block(definition, "instruction", "image")[layer]) == pytest.approx(
                float(sums[2, 1]), rel=1e-3
            )


def test_a_map_in_pieces_is_the_same_map(model, monkeypatch):
    rows = prompt(model, SHAPES[0])
    whole = saliency(model, rows, 5)
    monkeypatch.setattr(module, "MAP_ELEMENTS", 1)
    pieces = saliency(model, rows, 5)
    for definition in whole.blocks:
        torch.testing.assert_close(whole.blocks[definition], pieces.blocks[definition], rtol=1e-5, atol=1e-9)


def test_one_layers_map_in_memory_at_a_time(plain_model, monkeypatch):
    """No map of a layer is there any more when the next layer's is made."""
    import gc
    import weakref

    alive, inner = [], module._maps

    def watched(*arguments):
        gc.collect()
        assert sum(reference() is not None for reference in alive) == 0
        maps = inner(*arguments)
        alive.extend(weakref.ref(map_) for map_ in maps.values())
        return maps

    monkeypatch.setattr(module, "_maps", watched)
    saliency(plain_model, prompt(plain_model, SHAPES[0]), 5)
    assert len(alive) == 2 * 6


def test_the_last_layers_gradient_is_only_in_the_last_row(model, monkeypatch):
    seen = []
    inner = module._maps

    def watched(*arguments):
        maps = inner(*arguments)
        seen.append(maps)
        return maps

    monkeypatch.setattr(module, "_maps", watched)
    rows = prompt(model, SHAPES[0])
    found = saliency(model, rows, 5)
    last = seen[0]  # the backward pass begins at the last layer
    for map_ in last.values():
        assert float(map_[:-1].abs().max()) == 0
        assert float(map_[-1].abs().max()) > 0
    assert found.blocks["paper"][-1, :2].abs().max() == 0
    assert found.block("paper", "image", "image")[-1] == 0
    assert (found.blocks["paper"][0].diagonal()[1:] > 0).all()


def test_what_the_causal_mask_forbids_has_no_saliency(model):
    found = saliency(model, prompt(model, SHAPES[0]), 5)
    for sums in found.blocks.values():
        assert float(sums[:, 0, 1:].abs().max()) == 0  # system tokens see neither image nor instruction
        assert float(sums[:, 1, 2].abs().max()) == 0  # the image sees no instruction


def test_a_model_in_half_precision_is_looked_at_in_full(monkeypatch):
    full, half = tiny_model("grouped"), tiny_model("grouped", torch.bfloat16)
    kinds = set()
    inner = module._maps

    def watched(queries, *arguments):
        kinds.add(queries.dtype)
        return inner(queries, *arguments)

    monkeypatch.setattr(module, "_maps", watched)
    expected, found = saliency(full, prompt(full, SHAPES[0]), 5), saliency(half, prompt(half, SHAPES[0]), 5)
    assert kinds == {torch.float32}
    assert half.dtype == torch.bfloat16
    for definition in expected.blocks:
        total, error = expected.blocks[definition], found.blocks[definition] - expected.blocks[definition]
        assert float(error.abs().sum()) < 0.3 * float(total.sum())


def test_no_gradient_of_a_weight_is_made(model):
    saliency(model, prompt(model, SHAPES[0]), 5)
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_random_weights_are_a_control_of_the_same_shape():
    model = tiny_model("grouped")
    before = {name: p.clone() for name, p in model.module.named_parameters()}
    learnt = saliency(model, prompt(model, SHAPES[0]), 5)
    redraw_weights(model, 3)
    first = {name: p.clone() for name, p in model.module.named_parameters()}
    redraw_weights(model, 3)
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, first[name]), name
        assert parameter.shape == before[name].shape
        if parameter.ndim >= 2:
            assert not torch.equal(parameter, before[name]), name
            assert float(parameter.std()) == pytest.approx(0.02, rel=0.2)
        if "norm" in name and name.endswith("weight"):
            assert torch.equal(parameter, torch.ones_like(parameter))
    redraw_weights(model, 4)
    assert not torch.equal(next(iter(model.module.parameters())), next(iter(first.values())))
    control = saliency(model, prompt(model, SHAPES[0]), 5)
    assert control.blocks["paper"].shape == learnt.blocks["paper"].shape
    assert control.blocks["paper"].isfinite().all()


def test_one_definition_can_be_asked_for(plain_model):
    rows = prompt(plain_model, SHAPES[0])
    both = saliency(plain_model, rows, 5)
    for definition in ("paper", "released"):
        alone = saliency(plain_model, rows, 5, (definition,))
        assert list(alone.blocks) == [definition]
        torch.testing.assert_close(alone.blocks[definition], both.blocks[definition])


@pytest.mark.parametrize("target", [-1, 97, 5000])
def test_a_target_that_is_no_token_is_refused(plain_model, target):
    with pytest.raises(ValueError, match=f"target: {target} .*0 to 96"):
        saliency(plain_model, prompt(plain_model, SHAPES[0]), target)


def test_a_batch_is_refused(plain_model):
    with pytest.raises(ValueError, match="one prompt"):
        saliency(plain_model, prompt(plain_model, *SHAPES), 5)
