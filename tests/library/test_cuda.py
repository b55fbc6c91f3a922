"""A GPU gives what the processor gives: every job of a run on the embedded model, once on each. Needs a GPU, and is skipped without one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import ask_question
import disrupt_attention
import evaluate_method
import explore_grid
import extract_saliency
import make_mini_benchmarks
import measure_latency
import pandas as pd
import pytest
import torch
from himap.benchmarks import get, read_samples
from himap.benchmarks.samples.prepare import prepare
from himap.benchmarks.samples.source import from_path
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.experiments import importance, questions
from himap.experiments.answers import AnswerRow, Question, encode
from himap.experiments.batches import answer_all
from himap.models.loading import load
from himap.models.model import Model
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import load_all, resolve
from himap.pruning.stage import Schedule
from himap.workflow.jobs.model_script import question

GPU = "cuda:0"  # by number, so that no job waits for a GPU that another test has claimed
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")]

MINI = Path(__file__).resolve().parents[2] / "models" / "mini"
SHOWN = ("vanilla", "fastv", "himap")
COUNT = 36  # each kind of question about three pictures
NEAR = 1e-3


# Questions that fit something on every fourth question of each kind: with one of each kind none would be left to report on.
FITTED = ("oq2", "oq3")
# Rank correlations with what single tokens do to the answer. Most do next to nothing, so that their order hangs on the last
# digits: on the processor alone, weights changed by 3e-7 of themselves move these columns by up to 0.009, and log-probabilities
# by 2e-5. The falls that are ranked are compared instead, below.
RANKED = {"importance": ["agreement", "influence"]}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of the embedded world: each kind of question about three pictures."""
    return drawn(tmp_path_factory.mktemp("kinds"), COUNT)


@pytest.fixture(scope="module")
def more_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions of each kind, so that one can be fitted on and the other reported on."""
    return drawn(tmp_path_factory.mktemp("more"), 2 * COUNT)


def drawn(folder: Path, count: int) -> Path:
    make_mini_benchmarks.main(["--benchmark", "kinds", "--limit", str(count), "--out", str(folder / "rows.parquet")])
    benchmark = get("kinds")
    found = from_path(folder / "rows.parquet", benchmark.source)
    prepare(benchmark, benchmark.source, found, folder / "samples.parquet", folder / "manifest.json")
    return folder / "samples.parquet"


@pytest.fixture(scope="module")
def asked(samples: Path) -> list[Question]:
    return [question(sample, get("kinds"), "llava", {}) for sample in read_samples(samples)]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {device: load(MINI, device=device) for device in ("cpu", GPU)}


def every_schedule(model: Model) -> dict[str, Schedule]:
    """Every built-in method that the embedded model can be asked under."""
    known = model.extras["schedules"]
    names = [name for name in load_all() if name != "cdpruner"]  # which needs CLIP's text tower
    return {name: resolve(name, model.dims, kind="qa", schedules=known) for name in names}


def schedules(model: Model) -> dict[str, Schedule]:
    """The same methods, those with equal stages once."""
    made = every_schedule(model)
    once = {(schedule.stages, schedule.image_grid, schedule.rerank): name for name, schedule in made.items()}
    return {name: made[name] for name in once.values()} | {name: made[name] for name in SHOWN}


def answers(
    model: Model, asked: list[Question], schedule: Schedule, batch_size: int | str, tokens: int = 6
) -> list[AnswerRow]:
    return sorted(
        answer_all(model, asked, schedule, batch_size=batch_size, max_new_tokens=tokens),
        key=lambda row: row["sample_id"],
    )


def share_of_equal(some: list[AnswerRow], others: list[AnswerRow]) -> float:
    return sum(a["prediction"] == b["prediction"] for a, b in zip(some, others, strict=True)) / len(some)


@pytest.mark.parametrize("name", [name for name in load_all() if name != "cdpruner"])
def test_answers_and_kept_tokens_under_every_method_are_those_of_the_processor(
    models: dict[str, Model], asked: list[Question], name: str
) -> None:
    schedule = every_schedule(models["cpu"])[name]
    assert answers(models[GPU], asked, schedule, 12) == answers(models["cpu"], asked, schedule, 12)


@pytest.mark.parametrize("name", SHOWN)
def test_a_batch_answers_as_its_questions_do_one_by_one(
    models: dict[str, Model], asked: list[Question], name: str
) -> None:
    schedule = schedules(models[GPU])[name]
    assert answers(models[GPU], asked, schedule, "auto") == answers(models[GPU], asked, schedule, 1)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flash"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_finite_and_answers_mostly_the_same(
    models: dict[str, Model], asked: list[Question], dtype: str, attention: str
) -> None:
    half = load(MINI, device=GPU, dtype=dtype, attention=attention)
    for name in SHOWN:
        schedule = schedules(half)[name]
        prompt = encode(half, asked[:12])
        with torch.no_grad():
            rows = forward(half, prompt, Cache(), [Pruning(half, schedule.stages, prompt, [0] * 12)])
            assert bool(next_token_logits(half, rows).isfinite().all())
        exact = answers(models["cpu"], asked, schedule, 12)
        assert share_of_equal(answers(half, asked, schedule, 12), exact) >= 0.8


def test_a_batch_that_does_not_fit_is_halved_and_every_question_answered(
    models: dict[str, Model], asked: list[Question], capsys: pytest.CaptureFixture[str]
) -> None:
    many = [replace(each, sample_id=f"{each.sample_id} {number}") for number in range(16) for each in asked]
    schedule = schedules(models[GPU])["vanilla"]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400e6) / total)
    try:
        rows = answers(models[GPU], many, schedule, len(many), tokens=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "does not fit in memory" in capsys.readouterr().err
    exact = {row["sample_id"]: row["prediction"] for row in answers(models["cpu"], asked, schedule, 12, tokens=2)}
    assert [row["prediction"] for row in rows] == [exact[row["sample_id"].rpartition(" ")[0]] for row in rows]


# ---- the jobs of a run


def both(script: Any, folder: Path, samples: Path, settings: dict[str, Any], ending: str, **more: str) -> list[Path]:
    """What a script writes on the processor and on the GPU."""
    files = []
    for device in ("cpu", GPU):
        files.append(folder / f"{device}{ending}")
        words = {
            "model": str(MINI), "benchmark": "kinds", "samples": str(samples), "device": device,
            "settings": json.dumps(settings), "out": str(files[-1]), **more,
        }  # fmt: skip
        script.main([part for key, value in words.items() for part in (f"--{key}", value)])
    return files


def differences(one: pd.DataFrame, other: pd.DataFrame) -> Iterator[str]:
    """Cells that differ: numbers by more than a thousandth, anything else at all."""
    assert list(one) == list(other)
    assert len(one) == len(other)
    for column in one:
        for row, (a, b) in enumerate(zip(one[column].tolist(), other[column].tolist(), strict=True)):
            is_number = isinstance(a, float) and isinstance(b, float)
            if not (math.isclose(a, b, rel_tol=NEAR, abs_tol=NEAR) or (a != a and b != b) if is_number else a == b):
                yield f"{column}, row {row}: {a} on the processor, {b} on the GPU"


def test_saliency_is_that_of_the_processor(samples: Path, tmp_path: Path) -> None:
    files = both(extract_saliency, tmp_path, samples, {"limit": 6}, ".parquet")
    assert not list(differences(*map(pd.read_parquet, files)))


def test_a_disruption_sweep_is_that_of_the_processor(samples: Path, tmp_path: Path) -> None:
    flows = ["img2txt", "img2img", "random", "random_img2img", "random_unmatched"]
    settings = {"limit": 4, "only_correct": False, "new_tokens": 3, "flows": flows, "blocks": ["pre", "post"]}
    files = both(disrupt_attention, tmp_path, samples, settings, ".parquet", layers="0-11")
    assert not list(differences(*map(pd.read_parquet, files)))


def test_the_jobs_of_evaluation_and_grid_write_what_the_processor_writes(samples: Path, tmp_path: Path) -> None:
    himap = schedules(load(MINI))["himap"].to_json()
    evaluated = both(evaluate_method, tmp_path, samples, {}, ".jsonl", method=json.dumps(himap))
    assert evaluated[0].read_text() == evaluated[1].read_text()
    grid_settings = {"k1": [2, 3], "r1": [0.5], "k2": [6, 8], "r2": [0.5, 0.75], "limit": 6}
    grid = both(explore_grid, tmp_path, samples, grid_settings, ".grid.jsonl")
    assert grid[0].read_text() == grid[1].read_text()


def test_times_are_measured_with_the_eager_kernel_and_in_batches(samples: Path, tmp_path: Path) -> None:
    methods = {name: schedule.to_json() for name, schedule in schedules(load(MINI)).items() if name in SHOWN}
    settings = {"examples": 8, "rounds": 2, "batches": [8], "eager": True, "max_new_tokens": 4}
    cpu, gpu = map(pd.read_csv, both(measure_latency, tmp_path, samples, settings, ".csv", methods=json.dumps(methods)))
    told = ["sample_id", "method", "round", "batch_size", "image_tokens", "text_tokens", "tokens_per_layer", "cache_mb"]
    assert not list(differences(cpu[told], gpu[told]))
    assert set(gpu["device"]) == {torch.cuda.get_device_name()}
    assert {"eager"} < set(gpu["kernel"])
    for column in ("seconds_vision", "seconds_prefill", "seconds_total", "peak_mb", "tflops_counted"):
        assert (gpu[column] > 0).all()
    assert gpu["tflops_counted"].tolist() == pytest.approx(cpu["tflops_counted"].tolist())


@pytest.mark.parametrize("name", questions.names())
def test_open_questions_get_the_rows_of_the_processor(
    samples: Path, more_samples: Path, tmp_path: Path, name: str
) -> None:
    asked, limit = (more_samples, 2 * COUNT) if name in FITTED else (samples, COUNT)
    files = both(ask_question, tmp_path, asked, {"limit": limit}, ".csv", question=name)
    cpu, gpu = (pd.read_csv(file).drop(columns=RANKED.get(name, [])) for file in files)
    assert not list(differences(cpu, gpu))


def falls(model: Model, asked: Question, layer: int) -> torch.Tensor:
    """By how much the answer's log-probability falls without each image token [N]."""
    at = importance.entering(model, encode(model, [asked]), layer)
    total = int((at.rows.image_index >= 0).sum())
    target = importance.next_token(model, at.rows, layer)
    masks = [torch.ones(1, total, dtype=torch.bool), importance.left_out([[token] for token in range(total)], total)]
    clean, without = (importance.log_probability(model, at.rows, layer, target, mask).cpu() for mask in masks)
    return clean - without


def test_an_image_token_matters_on_the_gpu_as_much_as_on_the_processor(
    models: dict[str, Model], asked: list[Question]
) -> None:
    pairs = 0
    for each, stage in product(asked[5::12], schedules(models["cpu"])["himap"].stages):
        cpu, gpu = (falls(models[device], each, stage.layer) for device in ("cpu", GPU))
        assert float((cpu - gpu).abs().max()) < NEAR
        ahead = cpu[:, None] - cpu > 2 * NEAR  # where no difference of this size can turn the order
        assert bool((gpu[:, None] > gpu)[ahead].all())
        pairs += int(ahead.sum())
    assert pairs > 0
