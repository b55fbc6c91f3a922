"""The committed mini model: small, quick to load, right on held-out pictures, and lost without them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from himap import benchmarks as adapters
from himap.mini import benchmarks
from himap.pruning.stage import Schedule, Stage, read_stages
from PIL import Image

MODEL = Path(__file__).resolve().parents[2] / "models" / "mini"


@pytest.fixture(scope="module")
def model() -> object:
    """The committed checkpoint in the library."""
    import himap

    return himap.load(str(MODEL))


def accuracy(model, name: str, samples: int, blind: bool = False, stages: Sequence[Stage] = ()) -> float:
    """The benchmark's own headline on drawn test rows, with the pictures or with grey ones."""
    from himap.benchmarks._scoring import score
    from himap.experiments.answers import Question
    from himap.experiments.batches import answer_all

    benchmark = adapters.get(name)
    grey = io.BytesIO()
    Image.new("RGB", (96, 96), (128, 128, 128)).save(grey, "PNG")
    held = [benchmark.sample(row, index) for index, row in enumerate(benchmarks.make(name, "test", samples=samples))]
    questions = [
        Question(one.sample_id, [grey.getvalue()] if blind else one.images, benchmark.prompt(one, "llava"))
        for one in held
    ]
    longest = benchmark.max_new_tokens("llava")
    rows = answer_all(model, questions, Schedule(tuple(stages)), max_new_tokens=longest, batch_size=32)
    headline = score(benchmark, held, {row["sample_id"]: row["prediction"] for row in rows}).headline
    assert headline is not None
    return headline


def test_it_is_small_and_has_a_card() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 12e6
    assert "blind" in (MODEL / "README.md").read_text().lower()


def test_it_has_the_layout_of_llava_with_144_image_tokens() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert 12 <= config["text_config"]["num_hidden_layers"] <= 16
    assert config["image_seq_length"] == 144


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seen", "blind"), [("aokvqa", 75, 45), ("scienceqa", 62, 55), ("vqav2", 65, 45)])
def test_it_answers_with_the_picture_and_guesses_without(model, name: str, seen: float, blind: float) -> None:
    assert accuracy(model, name, 60) >= seen
    assert accuracy(model, name, 60, blind=True) <= blind


@pytest.mark.slow
def test_it_captions_what_it_sees(model) -> None:
    assert accuracy(model, "nocaps", 40) > 3 * accuracy(model, "nocaps", 40, blind=True)


@pytest.mark.slow
def test_dropping_the_image_at_the_first_layer_hurts(model) -> None:
    stages = [Stage(1, 0.05, "random")]
    assert accuracy(model, "vqav2", 60, stages=stages) < accuracy(model, "vqav2", 60) - 10


def test_its_schedules_are_valid_for_its_layers() -> None:
    schedules = json.loads((MODEL / "schedules.json").read_text())
    assert {"himap", "fastv"} <= set(schedules)
    for kinds in schedules.values():
        for stages in kinds.values():
            read_stages(stages, layers=12, image_tokens=144)
