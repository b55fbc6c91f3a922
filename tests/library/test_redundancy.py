"""OQ3: ridge regression, neighbors and gradients against references of their own, and what cannot be told is not found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from himap.decoder.layout import Layout, Part
from himap.decoder.tokens import IMAGE
from himap.experiments import redundancy
from himap.models.model import Model
from tiny import SHAPES, oracle, prompt

PLACES = {"input": 0, "layer 3": 3}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("penalty", [0.0, 0.1, 3.0])
def test_ridge_is_least_squares_with_the_penalty_as_further_rows(penalty: float) -> None:
    inputs, outputs = drawn(50, 7) * torch.arange(1, 8), drawn(50, 3, seed=1) + 2
    x, y = ((part - part.mean(dim=0)).double().numpy() for part in (inputs, outputs))
    rows = np.sqrt(penalty * (x**2).sum(axis=0).mean()) * np.eye(7)
    weights = np.linalg.lstsq(np.vstack([x, rows]), np.vstack([y, np.zeros((7, 3))]), rcond=None)[0]
    found = redundancy.fit(inputs, outputs, penalty)
    np.testing.assert_allclose(found.weights, weights, atol=1e-4)
    expected = (drawn(5, 7, seed=2).numpy() - inputs.mean(dim=0).numpy()) @ weights + outputs.mean(dim=0).numpy()
    np.testing.assert_allclose(found(drawn(5, 7, seed=2)), expected, atol=1e-3)


def test_kept_copies_tell_all_and_other_tokens_nothing() -> None:
    places = redundancy.places_of([Layout.square(16)])
    kept = torch.arange(16) % 2 == 0
    near = redundancy.nearest(places, places[~kept], kept, 1)

    def explained(twins: bool) -> float:
        """R² on pictures whose dropped tokens are copies of their left neighbors, or are not."""
        parts = []
        for seed in range(40):
            features = drawn(16, 3, seed=seed)
            if twins:
                features[~kept] = features[near[:, 0]]
            parts.append((redundancy.told_by(features, near, kept), features[~kept]))
        (inputs, wanted), (others, unseen) = (
            map(torch.cat, zip(*part, strict=True)) for part in (parts[:30], parts[30:])
        )
        ridge = redundancy.fit(inputs, wanted, 1e-3)
        return 1 - float((ridge(others) - unseen).square().sum() / (unseen - ridge.outputs_mean).square().sum())

    assert explained(twins=True) > 0.99
    assert explained(twins=False) < 0.05


def test_the_nearest_kept_tokens_are_those_of_a_loop_over_all_and_too_few_are_repeated() -> None:
    layout = Layout((Part(3, 4), Part(2, 2, (0.5, 0.0, 1.0, 1.0), row_ends=True)))
    places = redundancy.places_of([layout, layout])
    assert len(places) == 2 * (12 + 6)
    kept = drawn(len(places)) > 0
    dropped = ~kept
    found = redundancy.nearest(places, places[dropped], kept, 3)
    for token, near in zip(dropped.nonzero()[:, 0].tolist(), found.tolist(), strict=True):
        others = sorted(
            (float((places[token] - places[other]).norm()), other) for other in range(len(places)) if bool(kept[other])
        )
        lengths = [float((places[token] - places[other]).norm()) for other in near]
        assert lengths == pytest.approx([length for length, _ in others[:3]], abs=1e-5)
    alone = torch.zeros(len(places), dtype=torch.bool)
    alone[5] = True
    assert redundancy.nearest(places, places[:2], alone, 3).tolist() == [[5, 5, 5], [5, 5, 5]]


def test_features_and_influence_are_those_of_the_decoder_written_out(model: Model) -> None:
    rows = prompt(model, *SHAPES)
    features, values = (at(model, rows, PLACES) for at in (redundancy.look_at, redundancy.influence))
    for b, shape in enumerate(SHAPES):
        alone = prompt(model, shape)
        is_image = alone.groups[0] == IMAGE
        alone.hidden = alone.hidden.detach().requires_grad_()
        logits, _, entering = oracle(model, alone)
        entering[3].retain_grad()
        torch.nn.functional.cross_entropy(logits[-1:], logits[-1:].argmax(dim=-1)).backward()
        for place, states, gradient in (
            ("input", alone.hidden[0], alone.hidden.grad[0]),  # type: ignore[index]
            ("layer 3", entering[3], entering[3].grad),
        ):
            torch.testing.assert_close(features[b][place], states[is_image].detach(), rtol=1e-3, atol=1e-4)
            products = (states * gradient).sum(-1).abs()[is_image].detach()
            torch.testing.assert_close(values[b][place], products, rtol=1e-2, atol=1e-4)
        assert features[b]["tower"].shape[0] == int(is_image.sum())


def test_at_the_tower_the_influence_is_the_change_of_the_loss_along_its_output(plain_model: Model) -> None:
    model = plain_model
    rows = prompt(model, SHAPES[0])
    assert rows.pictures is not None
    tower = rows.pictures.tower(0)
    (values,) = redundancy.influence(model, rows, PLACES)
    is_image = rows.groups[0] == IMAGE

    def loss(token: int, scale: float) -> float:
        """The loss with one of the tower's tokens scaled."""
        states = tower.hidden.clone()
        states[0, token] *= scale
        changed = rows.hidden.clone()
        changed[0, is_image] = tower.project(states)[0]
        logits = oracle(model, rows.with_hidden(changed))[0][-1:]
        return float(torch.nn.functional.cross_entropy(logits.double(), target))

    with torch.no_grad():
        target = oracle(model, rows)[0][-1:].argmax(dim=-1)
        for token in (0, 7, 15):
            slope = (loss(token, 1.02) - loss(token, 0.98)) / 0.04
            assert abs(slope) == pytest.approx(float(values["tower"][token]), rel=0.05, abs=2e-3)


def test_the_effective_number_of_equal_tokens_is_their_number() -> None:
    assert redundancy.effective_number(torch.ones(20)) == pytest.approx(20)
    assert redundancy.effective_number(torch.tensor([1.0, 1.0, 0.0, 0.0])) == pytest.approx(2)
    assert redundancy.top_share(torch.tensor([9.0, *[1.0] * 9])) == pytest.approx(0.5)


def test_narrowed_features_keep_what_varies_most() -> None:
    wide = drawn(60, 2) @ drawn(2, 9, seed=1) + 5
    first = [{"tower": wide[:30], "input": wide[:30, :2]}]
    narrowed = redundancy.Narrowing(first, 2)({"tower": wide[30:], "input": wide[30:, :2]})
    assert narrowed["input"].equal(wide[30:, :2])
    assert narrowed["tower"].shape == (30, 2)
    assert torch.cdist(narrowed["tower"], narrowed["tower"]).allclose(torch.cdist(wide[30:], wide[30:]), atol=1e-2)
