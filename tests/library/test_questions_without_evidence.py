"""The open questions on data that say nothing about kinds and evidence, as published benchmarks do: rows, figure and no crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from himap import figures
from himap.benchmarks import get as benchmark_named
from himap.experiments import questions
from himap.experiments.answers import Question
from himap.files import write_text
from himap.mini.benchmarks._draw import Drawer
from himap.mini.benchmarks.pope import make
from himap.models.loading import load
from himap.models.model import Model
from himap.paths import Paths

pytestmark = pytest.mark.slow
SMALL: dict[str, dict[str, Any]] = {
    "oq2": {"budgets": [0.38], "policies": ["mass"]},
    "oq3": {"keep": [], "criteria": ["divprune", "random"], "points": 2},
    "importance": {"group": 48, "criteria": ["instruction_attention", "random"]},
    "attack": {"border": 2, "steps": 1, "weights": [1, 64], "defenses": ["random"]},
}


@pytest.fixture(scope="module")
def model() -> Model:
    """Return the embedded model."""
    return load(Path(__file__).resolve().parents[2] / "models" / "mini")


@pytest.fixture(scope="module")
def asked() -> list[questions.Asked]:
    """Eight questions of POPE with nothing in their metadata but a category, as the published file has it."""
    benchmark = benchmark_named("pope")
    samples = [benchmark.sample(row, number) for number, row in enumerate(make(Drawer("pope", "test", 0), 8))]
    return [
        questions.Asked(sample, Question(sample.sample_id, sample.images, benchmark.prompt(sample, "llava")), benchmark)
        for sample in samples
    ]


@pytest.mark.parametrize("name", SMALL)
def test_a_question_is_asked_and_drawn_where_evidence_is_unknown(
    model: Model, asked: list[questions.Asked], tmp_path: Path, name: str
) -> None:
    question = questions.get(name)
    settings = {"max_new_tokens": 4, "seed": 0, **question.settings, **SMALL[name]}
    assert not any(sample.evidence for sample in asked)
    few = asked if name in ("oq2", "oq3") else asked[:3]  # those two fit on some samples and report others
    rows = [row for group in question.groups(few, settings) for row in question.measure(model, group, settings)]
    path = Paths(str(tmp_path)).question("mini", "pope", name)
    write_text(path, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    figure = figures.get(name)
    frame = figure.numbers({"cells": [["mini", "pope"]], "models": {"mini": {"layers": 12}}}, str(tmp_path))
    write_text(tmp_path / "numbers.csv", frame.to_csv(index=False))
    assert figure.panels(pd.read_csv(tmp_path / "numbers.csv"))
