"""The batch size `auto`: it grows to what the memory holds, halves when it holds no more, and changes no answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from himap.experiments import answers as evaluation
from himap.experiments import batches
from himap.experiments.answers import Question
from himap.experiments.batches import answer_all
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.pruning.stage import Schedule, read_stages
from world import configuration

pytestmark = pytest.mark.slow

COUNT = 19


@pytest.fixture(scope="module")
def model(small_model: Path) -> Any:
    """The small model, loaded once."""
    return load(small_model)


@pytest.fixture(scope="module")
def asked(questions: Path) -> list[Question]:
    """Questions of different lengths."""
    import pyarrow.parquet as pq

    rows = pq.read_table(questions).slice(0, COUNT).to_pylist()
    return [
        Question(row["id"], [row["image"]["bytes"]], Prompt("Well. " * (n % 4) + row["question"]))
        for n, row in enumerate(rows)
    ]


def answers(model: Any, asked: list[Question], **options: Any) -> list[dict[str, Any]]:
    """What the model says under HiMAP's stages."""
    schedule = Schedule(read_stages(configuration()["methods"]["himap"]["stages"]))
    return list(answer_all(model, asked, schedule, max_new_tokens=3, **options))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that pretends a device with room for so many questions; it returns the sizes of all batches tried."""

    def hold(room: int) -> list[int]:
        tried: list[int] = []
        batch = evaluation.answer_in_parts

        def limited(model: Any, questions: list[Question], *options: Any) -> Any:
            tried.append(len(questions))
            if len(questions) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return batch(model, questions, *options)

        monkeypatch.setattr(evaluation, "answer_in_parts", limited)
        monkeypatch.setattr(batches, "_has_room", lambda model: True)
        monkeypatch.setattr(batches, "CPU_BATCH", 2)
        return tried

    return hold


def test_auto_grows_until_the_memory_is_full_then_halves_and_goes_on_with_the_same_answers(
    model: Any, asked: list[Question], memory: Any
) -> None:
    one_by_one = answers(model, asked, batch_size=1)
    tried = memory(room=5)
    assert answers(model, asked, batch_size="auto") == one_by_one
    assert tried == [2, 4, 8, 4, 4, 4, 1]  # the 8 were too many; none of them is lost, none asked twice


def test_a_fixed_size_that_is_too_large_is_halved_too(model: Any, asked: list[Question], memory: Any) -> None:
    one_by_one = answers(model, asked[:8], batch_size=1)
    tried = memory(room=2)
    assert answers(model, asked[:8], batch_size=8) == one_by_one
    assert tried == [8, 4, 2, 2, 2, 2]


def test_a_device_without_room_for_one_says_what_helps(model: Any, asked: list[Question], memory: Any) -> None:
    memory(room=0)
    with pytest.raises(ValueError, match=r"out of memory with a batch of one; use dtype bfloat16"):
        answers(model, asked, batch_size="auto")


@pytest.mark.parametrize(("taken", "grows"), [(10, True), (29, True), (40, False), (95, False)])
def test_a_batch_grows_only_if_twice_of_it_surely_fits(
    model: Any, monkeypatch: pytest.MonkeyPatch, taken: int, grows: bool
) -> None:
    weights = sum(one.numel() * one.element_size() for one in model.module.parameters())
    card = SimpleNamespace(device=torch.device("cuda"), module=model.module)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: weights + taken)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=weights + 100))
    assert batches._has_room(card) is grows
    assert batches._has_room(model) is False  # on a processor it stays as it is
