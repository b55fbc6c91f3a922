"""Attention led astray: weights move the ranking alone, and the attack's gradient is that of the pixels in free cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from himap.benchmarks import get as benchmark_named
from himap.decoder.cache import Cache
from himap.decoder.loop import forward
from himap.decoder.tokens import IMAGE
from himap.experiments import attacks, questions
from himap.experiments.answers import Question
from himap.mini.benchmarks._draw import Drawer
from himap.mini.benchmarks.kinds import make
from himap.models.loading import load
from himap.models.model import Model
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage
from tiny import SHAPES, prompt

STAGE = Stage(3, 6, "instruction_attention")
EVIDENCE = [1, 5, 9]


def kept(model: Model, stage: Stage, weight: float | None) -> list[list[int]]:
    """Which tokens a stage keeps in a batch with another weight on all tokens but the evidence; None is without any."""
    rows = prompt(model, SHAPES[0], SHAPES[2])
    evidence = [EVIDENCE, EVIDENCE[:1]]
    plain = Pruning(model, [stage], rows, [7, 8])
    pruning = plain if weight is None else attacks.Weighted(model, [stage], rows, [7, 8], evidence, weight)
    with torch.no_grad():
        forward(model, rows, Cache(), [pruning])
    return pruning.kept[3]


def test_a_weight_of_one_changes_nothing_and_a_large_or_small_one_drops_or_keeps_the_evidence(
    plain_model: Model,
) -> None:
    assert kept(plain_model, STAGE, 1.0) == kept(plain_model, STAGE, None)
    assert not {*EVIDENCE} & {*kept(plain_model, STAGE, 1e6)[0]}
    assert {*EVIDENCE} <= {*kept(plain_model, STAGE, 1e-6)[0]}
    assert EVIDENCE[0] in kept(plain_model, STAGE, 1e-6)[1]


@pytest.mark.parametrize("criterion", ["random", "embedding_norm"])
def test_criteria_that_look_at_no_attention_are_not_weighted(plain_model: Model, criterion: str) -> None:
    stage = Stage(3, 6, criterion)
    assert kept(plain_model, stage, 1e6) == kept(plain_model, stage, None)


def asked(model: Model) -> tuple[list[int], torch.Tensor]:
    """Ids of a prompt, and pixels of its picture."""
    side = model.dims.grid[0] * 14
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3))
    return [5, 6, 7, model.image_token_id, 11, 12, 13], pixels


def test_an_attack_lowers_the_evidence_within_its_bounds_in_free_cells_alone_and_noise_does_not(
    plain_model: Model,
) -> None:
    ids, pixels = asked(plain_model)
    free = torch.ones(16, dtype=torch.bool)
    free[EVIDENCE] = False
    free[14] = False

    def share(picture: torch.Tensor) -> float:
        """The evidence's share of the stage's scores."""
        with torch.no_grad():
            scores, _ = attacks.scores_and_logits(plain_model, ids, picture, STAGE)
        return float(scores[EVIDENCE].sum() / scores.sum())

    with torch.no_grad():
        target = int(attacks.scores_and_logits(plain_model, ids, pixels, STAGE)[1].argmax())
    attacked = attacks.attack(plain_model, ids, pixels, STAGE, EVIDENCE, free, target, size=0.3, steps=8)
    noisy = attacks.noise(pixels, free, size=0.3, seed=1)
    for changed in (attacked, noisy):
        difference = (changed - pixels).abs()[0].amax(dim=0)  # [H, W]
        assert 0.29 < float(difference.max()) <= 0.3 + 1e-5
        cells = difference.unflatten(0, (4, 14)).unflatten(2, (4, 14)).amax(dim=(1, 3)).flatten()
        assert (cells > 0).tolist() == free.tolist()
        assert float(changed.min()) >= float(pixels.min()) - 1e-5
    assert share(attacked) < 0.8 * share(pixels)
    assert share(attacked) < 0.8 * share(noisy)


def test_scores_are_those_of_the_stage_and_their_gradient_reaches_the_pixels(plain_model: Model) -> None:
    ids, pixels = asked(plain_model)
    given = pixels.clone().requires_grad_()
    scores, _ = attacks.scores_and_logits(plain_model, ids, given, STAGE)
    with torch.no_grad():
        rows = plain_model.embed([ids], [plain_model.encode_images(pixels)])
        pruning = Pruning(plain_model, [STAGE], rows, [0])
        forward(plain_model, rows, Cache(), [pruning])
    assert sorted(scores.topk(6).indices.tolist()) == pruning.kept[3][0]
    assert int((rows.groups == IMAGE).sum()) == len(scores)
    scores[EVIDENCE].sum().backward()
    assert given.grad is not None
    along = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ends = [
            float(attacks.scores_and_logits(plain_model, ids, pixels + step * along, STAGE)[0][EVIDENCE].sum())
            for step in (-3e-3, 3e-3)
        ]
    assert (ends[1] - ends[0]) / 6e-3 == pytest.approx(float((given.grad * along).sum()), rel=0.05, abs=2e-3)


@pytest.mark.slow
def test_where_no_evidence_is_known_attention_can_be_drawn_to_the_border() -> None:
    benchmark, question = benchmark_named("kinds"), questions.get("attack")
    samples = [benchmark.sample(row, number) for number, row in enumerate(make(Drawer("kinds", "test", 0), 2))]
    group = [
        questions.Asked(sample, Question(sample.sample_id, sample.images, benchmark.prompt(sample, "llava")), benchmark)
        for sample in samples
    ]
    words = {"seed": 0, **question.settings, "weights": [1, 64], "steps": 1, "defenses": ["random"]}
    assert question.groups(group, words) == []
    words["border"] = 3
    (asked,) = question.groups(group, words)
    model = load(Path(__file__).resolve().parents[2] / "models" / "mini")
    rows = pd.DataFrame(question.measure(model, asked, words))
    recall = rows[rows["part"] == "weighted"].groupby(["method", "weight"])["recall"].mean()
    assert recall["himap", 64] < recall["himap", 1]
    assert recall["random", 64] == recall["random", 1]
    attacked = rows[rows["part"] == "attack"]
    assert set(attacked["picture"]) == {"clean", "attacked", "noise"}
    assert (attacked[attacked["method"] == "unpruned"]["recall"] == 1).all()  # all of the 6 x 6 cells inside
    assert ((36 * attacked["recall"]).round(6) % 1 == 0).all()
