"""True importance by leaving tokens out: against the oracle with the token hidden, and what no information may show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.loop import forward
from himap.decoder.tokens import IMAGE
from himap.experiments import importance
from himap.experiments.questions import get
from himap.experiments.questions.importance import at_stage
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage
from tiny import SHAPES, oracle, prompt


def test_leaving_a_token_out_is_hiding_it_from_the_layer_on(model):
    for shape in SHAPES[:2]:
        rows = prompt(model, shape)
        columns = (rows.groups[0] == IMAGE).nonzero()[:, 0]
        for layer in (1, 3):
            at = importance.entering(model, rows, layer)
            target = importance.next_token(model, at.rows, layer)
            assert target == int(oracle(model, rows)[0][-1].argmax())
            parts = [[0], [5, 6], [len(columns) - 1]]
            found = importance.log_probability(model, at.rows, layer, target, importance.left_out(parts, len(columns)))
            for part, value in zip(parts, found.tolist(), strict=True):
                hidden = torch.zeros(rows.groups.shape[1], dtype=torch.bool)
                hidden[columns[part]] = True
                own = torch.eye(len(hidden), dtype=torch.bool)
                logits, _, _ = oracle(model, rows, seen=lambda index: own | ~(hidden & (index >= layer))[None, :])  # noqa: B023
                assert value == pytest.approx(float(logits[-1].log_softmax(-1)[target]), abs=1e-4)


@pytest.mark.parametrize("criterion", ["instruction_attention", "image_attention", "embedding_norm", "random"])
def test_scores_are_those_by_which_a_stage_keeps_its_tokens(model, criterion):
    rows = prompt(model, SHAPES[1])
    at = importance.entering(model, rows, 3)
    scores = importance.scores(model, rows, at, 3, criterion, 7, 9)
    pruning = Pruning(model, [Stage(3, 9, criterion)], rows, [7])
    with torch.no_grad():
        forward(model, rows, Cache(), [pruning])
    assert importance.best(scores, 9).nonzero()[:, 0].tolist() == pruning.kept[3][0]


def test_the_earlier_of_equal_tokens_is_the_better_one():
    assert importance.best(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [False, True, True, False]


@pytest.fixture(scope="module")
def mini():
    from himap.models.loading import load

    return load(Path(__file__).resolve().parents[2] / "models" / "mini")


def asked_about(rng, number):
    """One question about one red circle in a picture of the embedded world, and the cells that it is about."""
    from himap.benchmarks import get as benchmark_named
    from himap.benchmarks._base import Sample
    from himap.experiments.answers import Question
    from himap.experiments.questions import Asked
    from himap.mini.questions.marks import color_of_shape
    from himap.mini.questions.question import about_question
    from himap.mini.scenes import make_scene, png
    from himap.models.prompts import Prompt

    while True:
        scene = make_scene("shapes", rng)
        question = color_of_shape(scene, rng)
        if question is not None:
            break
    sample = Sample(
        str(number), question.text, references=[question.answer], images=[png(scene)], metadata=about_question(question)
    )
    text = f"{question.text}\nAnswer the question using a single word or phrase."
    return Asked(sample, Question(str(number), [png(scene)], Prompt(text)), benchmark_named("kinds"))


def test_attention_finds_evidence_and_neither_a_random_order_nor_shuffled_evidence_does(mini):
    """The negative controls: what is drawn without looking keeps as much of the evidence as of anything."""
    from himap.experiments.answers import encode
    from himap.mini.scenes import generator

    rng, rows = generator("test", 11), []
    settings = {**get("importance").settings, "criteria": ["instruction_attention", "random"], "group": 36, "seed": 0}
    for number in range(12):
        asked = asked_about(rng, number)
        rows += at_stage(mini, asked, encode(mini, [asked.question]), Stage(3, 0.25, "image_attention"), settings)
    means = {
        (name, measure): np.mean([row[measure] for row in rows if row["criterion"] == name])
        for name in settings["criteria"]
        for measure in ("recall", "recall_shuffled", "loss")
    }
    assert means["instruction_attention", "recall"] > 0.8
    for blind in (("random", "recall"), ("random", "recall_shuffled"), ("instruction_attention", "recall_shuffled")):
        assert 0.1 < means[blind] < 0.45  # a quarter of all tokens is kept
    assert means["random", "loss"] > means["instruction_attention", "loss"] + 0.5
    assert {row["count"] for row in rows} == {36}
