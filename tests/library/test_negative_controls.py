"""Negative controls of the open questions: redrawn weights, same-answer donors and shuffled evidence show no effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from himap.benchmarks import get as benchmark_named
from himap.experiments.answers import Question
from himap.experiments.questions import Asked, get
from himap.mini.benchmarks._draw import Drawer
from himap.mini.benchmarks.kinds import make
from himap.models.loading import load, redraw_weights
from himap.models.model import Model

pytestmark = pytest.mark.slow
KINDS = {"color", "shape", "position"}  # whose evidence is a few cells


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    """Return the embedded model and a copy with new random weights."""
    folder = Path(__file__).resolve().parents[2] / "models" / "mini"
    made = {name: load(folder) for name in ("trained", "redrawn")}
    redraw_weights(made["redrawn"], 0)
    return made


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Three kinds of questions, two of each, about three pictures of the embedded world."""
    benchmark = benchmark_named("kinds")
    rows = make(Drawer("kinds", "test", 0), 72)
    samples = [benchmark.sample(row, number) for number, row in enumerate(rows)]
    for sample, row in zip(samples, rows, strict=True):
        sample.metadata.update(row["about"])
    return [
        Asked(sample, Question(sample.sample_id, sample.images, benchmark.prompt(sample, "llava")), benchmark)
        for sample in samples
        if sample.metadata["kind"] in KINDS
    ]


def measured(name: str, model: Model, samples: Sequence[Asked], **settings: Any) -> pd.DataFrame:
    """The rows of a question."""
    question = get(name)
    chosen = {"max_new_tokens": 8, "seed": 0, **question.settings, **settings}
    return pd.DataFrame(
        row for group in question.groups(samples, chosen) for row in question.measure(model, group, chosen)
    )


def test_blocking_finds_nothing_in_redrawn_weights_and_a_donor_with_the_same_answer_changes_none(
    models: dict[str, Model], asked: list[Asked]
) -> None:
    rows = measured("blocking", models["trained"], asked, layers=[0, 5, 11])
    image = rows[rows["edit"] == "image"].groupby(["donor", "layer"])[["same", "follows"]].mean()
    assert image.loc[("other answer", 0), "follows"] == 1  # the effect …
    assert image.loc["same answer", "same"].min() == 1  # … and its control
    # no answer is right, and none depends on the picture
    assert measured("blocking", models["redrawn"], asked, layers=[0, 5, 11], only_correct=False).empty


def test_attention_finds_evidence_in_trained_weights_alone(models: dict[str, Model], asked: list[Asked]) -> None:
    words = {"criteria": ["instruction_attention", "random"], "group": 36, "random_weights": True}
    gain, control = {}, {}
    for name, model in models.items():
        rows = measured("importance", model, asked, **words)
        rows = rows[rows["stage"] == 0]
        recall = rows.groupby("criterion")[["recall", "recall_shuffled"]].mean()
        gain[name] = recall.loc["instruction_attention", "recall"] - recall.loc["random", "recall"]
        control[name] = recall.loc["instruction_attention", "recall_shuffled"] - recall.loc["random", "recall_shuffled"]
        # the control that the report shows comes out of the trained model's own run, which keeps its weights
        control[f"{name} shown"] = recall.loc["instruction_attention, random weights", "recall"] - 0.5
    assert gain["trained"] > 0.2
    assert gain["redrawn"] < 0.1
    assert max(abs(value) for value in control.values()) < 0.25  # as many tokens anywhere


def test_early_pruning_keeps_evidence_in_trained_weights_and_of_other_samples_in_none(
    models: dict[str, Model], asked: list[Asked]
) -> None:
    for name, model in models.items():
        rows = measured("oq4", model, asked[:9], shallow=3, deep=6, keep=[0.25])
        means = rows[rows["module"] == "shallow"][["recall", "recall_shuffled"]].mean()
        scores = rows.groupby("module")["score"].mean()
        if name == "trained":
            assert means["recall"] > means["recall_shuffled"] + 0.3
            assert scores["unpruned"] > 0.8
        else:
            assert means["recall"] < 0.5
            assert scores.max() == 0  # nothing to lose, so nothing is lost
        assert means["recall_shuffled"] < 0.55


def test_where_tokens_go_matters_to_trained_weights_alone(models: dict[str, Model], asked: list[Asked]) -> None:
    spread = {}
    for name, model in models.items():
        rows = measured(
            "oq3", model, asked, criteria=["divprune", "embedding_norm"], keep=[], points=2, validation_every=2
        )
        arms = rows[rows["part"] == "arm"].groupby(["where", "criterion"])["score"].mean()
        gradient = rows[(rows["part"] == "gradient") & (rows["where"] == "input")]
        spread[name] = (gradient["effective"] / gradient["tokens"]).mean()
        if name == "trained":
            assert arms["tower", "divprune"] > arms["tower", "embedding_norm"] + 0.3
            left = rows[(rows["part"] == "left") & (rows["where"] == "tower") & (rows["criterion"] == "stage 0")]
            told = left.groupby("control")[["told", "own"]].sum()
            assert told.loc[1, "told"] < 0.5 * told.loc[1, "own"]  # another picture's tokens tell little of the content
        else:
            assert arms.max() == 0  # nothing to lose, wherever tokens go
    assert spread["redrawn"] > 2 * spread["trained"]  # the loss depends on no token in particular


def test_a_cut_that_spares_the_evidence_costs_less_in_trained_weights_alone(
    models: dict[str, Model], asked: list[Asked]
) -> None:
    """Without any image token to look at, random weights say something else too; so a cut counts against its control alone."""
    for name, model in models.items():
        rows = measured("oq1", model, asked, points=2, only_correct=name == "trained")
        kept = rows[rows["part"] == "cut"].groupby(["flow", "extent", "layer"])["same"].mean()
        saved = (kept["spared"] - kept["img2alltxt"]).dropna()
        assert saved.index.tolist() == [("prefix", 6), ("suffix", 0), ("suffix", 6)]
        if name == "trained":
            assert kept["img2alltxt", "suffix", 0] < 0.5
            assert saved["suffix", 0] > 0.3
        else:
            assert kept["img2alltxt", "suffix", 0] < 0.5  # the effect is as large …
            assert saved.abs().max() < 0.2  # … and has nothing to do with what is asked about
