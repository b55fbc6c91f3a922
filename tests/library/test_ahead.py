"""While a batch is answered, the next one is made ready: in order, bounded, and without padding that costs time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import checkpoint
import pytest
import torch
from himap.decoder import loop
from himap.experiments import answers, batches, pictures
from himap.experiments.answers import Question
from himap.experiments.batches import answer_all
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.pruning.stage import Schedule, Stage
from himap.workflow.jobs.journal import Journal

SIZE = 3
HIMAP = Schedule((Stage(2, 0.5, "instruction_attention"), Stage(5, 0.25, "image_attention")), "himap")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model."""
    return load(checkpoint.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with a core to spare, whatever machine runs the tests."""
    monkeypatch.setattr(batches, "has_core_for_it", lambda model: True)


def asked(count: int, repeats: Callable[[int], int] = lambda n: n % 3) -> list[Question]:
    """Questions about as many pictures, some longer than others."""
    return [
        Question(f"s{n}", [checkpoint.encoded(n)], Prompt("What is this?" + " Look closely." * repeats(n)))
        for n in range(count)
    ]


def test_the_next_batch_is_made_ready_beside_the_present_one_and_no_more_than_that(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: WeakSet[Any] = WeakSet()
    taken = 0

    def counted(*given: Any) -> Any:
        pixels = pictures.pixels_of(*given)
        alive.add(pixels)
        return pixels

    def questions() -> Iterator[Question]:
        nonlocal taken
        for question in asked(12):
            taken += 1
            yield question

    monkeypatch.setattr(answers, "pixels_of", counted)
    rows = answer_all(model, questions(), HIMAP, max_new_tokens=2, batch_size=SIZE)
    names, most = [next(rows)["sample_id"]], 0
    until = time.monotonic() + 60
    while taken < 2 * SIZE and time.monotonic() < until:  # nothing is asked of the iterator meanwhile
        time.sleep(0.01)
    assert taken == 2 * SIZE
    for row in rows:
        names.append(row["sample_id"])
        most = max(most, len(alive))
    assert names == [f"s{n}" for n in range(12)]
    assert most <= 2 * SIZE + 1  # a batch, the next one, and the picture that the thread last made


def test_answers_are_those_of_a_job_with_one_core(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = list(answer_all(model, asked(7), HIMAP, max_new_tokens=4, batch_size=SIZE))
    monkeypatch.setattr(batches, "has_core_for_it", lambda model: False)
    assert beside == list(answer_all(model, asked(7), HIMAP, max_new_tokens=4, batch_size=1))


def test_a_broken_picture_of_a_later_batch_costs_no_earlier_answer(model: Any) -> None:
    questions = asked(7)
    questions[5] = replace(questions[5], images=[b"no picture"])
    rows = answer_all(model, questions, HIMAP, max_new_tokens=1, batch_size=SIZE)
    names = [next(rows)["sample_id"] for _ in range(SIZE)]
    with pytest.raises(ValueError, match=r"sample 's5': the image cannot be read"):
        next(rows)
    assert names == ["s0", "s1", "s2"]


def test_prompts_of_unequal_length_need_no_mask_on_a_processor(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A masked kernel computes every pair of tokens: a batch of unequal prompts took longer than one after another."""
    masks = []
    visible = loop.visible
    # of several queries: the last layer's single column sees all that its sample has, at the price of one row
    monkeypatch.setattr(
        loop, "visible",
        lambda rows, *given: (masks.append(rows) if rows.groups.shape[1] > 1 else None) or visible(rows, *given),
    )  # fmt: skip
    shares = padded_shares(monkeypatch)
    together = list(answer_all(model, asked(6), HIMAP, max_new_tokens=1, batch_size=6))
    assert not masks
    assert len(shares) == 1
    assert together == list(answer_all(model, asked(6), HIMAP, max_new_tokens=1, batch_size=1))


def test_prompts_of_very_unequal_length_run_in_groups_with_little_padding(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = padded_shares(monkeypatch)
    questions = asked(6, lambda n: 40 * (n > 2))
    together = list(answer_all(model, questions, HIMAP, max_new_tokens=2, batch_size=6))
    assert len(shares) == 2
    assert max(shares) <= 1 / 8
    assert together == list(answer_all(model, questions, HIMAP, max_new_tokens=2, batch_size=1))


def padded_shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets the share of padding in each batch that runs."""
    shares: list[float] = []
    prefills = answers.prefills

    def noted(model: Any, prompt: Any, *given: Any) -> Any:
        shares.append(float((prompt.positions < 0).to(torch.float32).mean()))
        return prefills(model, prompt, *given)

    monkeypatch.setattr(answers, "prefills", noted)
    return shares


def test_a_journal_keeps_no_answer_in_memory(tmp_path: Path) -> None:
    """20,000 answers under ten methods would fill hundreds of megabytes."""
    journal = Journal(tmp_path / "out.jsonl", "key")
    tracemalloc.start()
    try:
        for number in range(2000):
            journal.add({"sample_id": str(number), "prediction": f"{number}" * 500})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    journal.close()
    assert held < 1e6
    assert journal.done["1999"]["prediction"] == "1999" * 500
