"""OQ2: thresholds fitted to a fixed schedule's FLOPs, on samples that are not reported; the oracle and its control."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from himap.costs.formulas import flops
from himap.decoder.cache import Cache
from himap.decoder.loop import forward
from himap.experiments.fitting import fitted, layer_ranges, signals
from himap.experiments.questions._samples import divided
from himap.figures.oq2 import numbers_of
from himap.metrics.ranks import spearman, spearman_interval
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage
from tiny import SHAPES, prompt, tiny_model

GOAL = (Stage(3, 0.5, "instruction_attention"), Stage(7, 0.25, "image_attention"))


@pytest.fixture(scope="module")
def deep():
    return tiny_model(layers=12, tokens_per_image=64)


@pytest.mark.parametrize("policy", ["mass", "depth", "both"])
def test_fitted_rules_cost_what_the_fixed_schedule_costs_when_they_are_really_run(deep, policy):
    prompts = [prompt(deep, *({**shape, "seed": 10 * n + s} for s, shape in enumerate(SHAPES))) for n in range(3)]
    stages = fitted(deep, prompts, GOAL, policy)
    spent, goal, acted = [], [], []
    for rows in prompts:
        pruning = Pruning(deep, stages, rows, [0, 0, 0])
        with torch.no_grad():
            forward(deep, rows, Cache(), [pruning])
        for b, n in enumerate(pruning.image_tokens):
            acted.append(pruning.as_acted(b))
            spent.append(flops(deep.dims, acted[-1], n_image=n))
            goal.append(flops(deep.dims, GOAL, n_image=n))
    assert np.mean(spent) == pytest.approx(np.mean(goal), rel=0.01)
    if policy != "depth":
        assert len({stage.keep for stages in acted for stage in stages}) > 4
    if policy != "mass":
        assert len({stage.layer for stages in acted for stage in stages}) > 2
        for stage, (first, last) in zip(stages, layer_ranges([3, 7], 12), strict=True):
            assert (stage.layer, stage.latest) == (first, last)


def test_stages_may_move_halfway_to_their_neighbors():
    assert layer_ranges([3, 8], 12) == [(1, 5), (6, 10)]
    assert layer_ranges([2], 32) == [(1, 3)]


def test_signals_of_a_batch_are_those_of_the_unpruned_maps(deep):
    from himap.decoder.tokens import IMAGE, INSTRUCTION
    from tiny import oracle

    rows = prompt(deep, *SHAPES)
    found = signals(deep, rows, {"instruction_share": 3, "image_entropy": 7})
    for b, shape in enumerate(SHAPES):
        alone = prompt(deep, shape)
        _, weights, _ = oracle(deep, alone)
        groups = alone.groups[0]
        share = weights[2].mean(0)[groups == INSTRUCTION][:, groups == IMAGE].sum(1).mean()
        received = weights[6].mean(0)[groups == IMAGE][:, groups == IMAGE].sum(0)
        parts = received / received.sum()
        entropy = -(parts * parts.log()).sum() / torch.tensor(float(len(parts))).log()
        assert found["instruction_share"][b] == pytest.approx(float(share), abs=1e-4)
        assert found["image_entropy"][b] == pytest.approx(float(entropy), abs=1e-4)


class FakeAsked:
    """As much of a sample as its place among validation and test samples depends on."""

    def __init__(self, number, kind, group):
        self.kind = kind
        self.sample = type("Sample", (), {"metadata": {"group": group}, "sample_id": str(number)})()


def test_validation_and_test_share_no_question_and_both_have_every_kind():
    samples = [FakeAsked(n, "ab"[n // 3 % 2], str(n // 3)) for n in range(24)]
    validation, test = divided(samples, 4)
    groups = [{asked.sample.metadata["group"] for asked in part} for part in (validation, test)]
    assert [len(part) for part in (validation, test)] == [6, 18]
    assert not groups[0] & groups[1]
    assert {asked.kind for asked in validation} == {asked.kind for asked in test} == {"a", "b"}


def frame(needs):
    """Samples that need a cheap, a middle or the dearest schedule; only then the answer is right."""
    levels = {"cheap": 0.3, "himap": 0.5, "unpruned": 1.0}
    order = list(levels)
    return pd.DataFrame(
        [
            {"sample_id": f"{n:03}", "kind": "word", "policy": policy, "cost": cost, "by_evidence": order.index(need) + n / 1e4}
            | {"score": float(order.index(policy) >= order.index(need)), "same": int(order.index(policy) >= order.index(need))}
            for n, need in enumerate(needs)
            for policy, cost in levels.items()
        ]
    )  # fmt: skip


def by_name(needs):
    return {row["name"]: row for row in numbers_of(frame(needs)) if row["part"] not in ("spread", "saved")}


def test_the_oracle_spends_what_each_sample_needs_and_the_shuffled_one_loses_answers():
    needs = 20 * ["cheap", "himap", "unpruned"]
    rows = by_name(needs)
    assert (rows["oracle"]["x"], rows["oracle"]["value"]) == (pytest.approx(60), 100)
    shuffled = rows["oracle's schedules, shuffled"]
    assert shuffled["x"] == pytest.approx(60)
    assert shuffled["high"] < 95  # the control: the same schedules in any other order
    assert rows["by_evidence"]["value"] > 0.9
    alike = by_name(60 * ["himap"])
    assert alike["oracle"]["value"] == alike["oracle's schedules, shuffled"]["value"] == 100  # no sample needs its own


def test_what_the_oracle_saves_has_the_interval_of_a_library():
    from scipy.stats import bootstrap

    data = frame(9 * ["cheap"] + 20 * ["cheap", "himap"] + ["unpruned"])
    (saved,) = (row for row in numbers_of(data) if row["part"] == "saved")
    spent = np.array(9 * [0.3] + 20 * [0.3, 0.5] + [1.0])
    known = bootstrap((spent,), lambda x, axis: 100 * (1 - x.mean(axis) / 0.5), method="percentile", rng=0)
    assert saved["value"] == pytest.approx(100 * (1 - spent.mean() / 0.5))
    assert (saved["low"], saved["high"]) == pytest.approx(tuple(known.confidence_interval), abs=0.7)
    assert saved["n"] == len(spent)


def test_rank_correlation_is_that_of_a_library_and_its_interval_covers_what_it_should():
    from scipy.stats import spearmanr

    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        first = rng.integers(0, 9, 60)
        second = first + rng.normal(0, 4, 60)
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
        low, high = spearman_interval(spearman(first, second), 60)
        inside += low < 0.5433 < high  # of this law, by four million pairs
    assert 0.91 < inside / 400 < 0.99
    assert np.isnan(spearman([1, 1, 1, 1], [1, 2, 3, 4]))
