"""Samples about one picture are answered one after another, with its bytes in memory once and few pictures waiting."""

from __future__ import annotations

from collections import Counter

import pytest
from himap.benchmarks._base import Sample
from himap.benchmarks.samples import files


def samples() -> list[Sample]:
    """Two rounds over three pictures, as POPE's settings ask about the same pictures again."""
    return [
        Sample(f"{turn}{name}", "?", [], [], [bytes([number]) * 10], {"file": name})
        for turn in range(2)
        for number, name in enumerate("abc")
    ]


def grouped() -> list[Sample]:
    counts = Counter(sample.metadata["file"] for sample in samples())
    return list(files.by_picture(iter(samples()), lambda sample: sample.metadata["file"], counts))


def test_questions_about_one_picture_follow_each_other_with_its_bytes_once() -> None:
    found = grouped()
    assert [sample.sample_id for sample in found] == ["0a", "1a", "0b", "1b", "0c", "1c"]
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.images is second.images


def test_pictures_that_wait_leave_when_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WAITING_BYTES", 20)
    found = grouped()
    assert [sample.sample_id for sample in found] == ["0a", "1a", "0b", "1b", "0c", "1c"]
    first, second, *others = found
    assert first.images is not second.images  # the first had left before the second was read
    assert others[0].images is others[1].images
