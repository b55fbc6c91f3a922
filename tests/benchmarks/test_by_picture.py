"""Samples about one picture are answered one after another, with its bytes in memory once and few pictures waiting."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from himap.benchmarks._base import Sample
from himap.benchmarks.samples import files
from himap.benchmarks.samples.spool import Spool


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


def test_pictures_wait_on_disk_and_not_in_memory() -> None:
    def drawn(count: int) -> Iterator[Sample]:
        for turn in range(2):
            for number in range(count):
                yield Sample(f"{turn}-{number}", "?", [], [], [bytes([number]) * 100_000], {"file": str(number)})

    counts = Counter(sample.metadata["file"] for sample in drawn(100))
    tracemalloc.start()
    try:
        found = [sample.sample_id for sample in files.by_picture(drawn(100), lambda one: one.metadata["file"], counts)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [f"{turn}-{number}" for number in range(100) for turn in range(2)]
    assert most < 2e6  # of 10 MB that wait


def test_room_that_a_picture_has_left_is_used_again() -> None:
    spool = Spool()
    parked = [spool.park([bytes([number]) * 50, b"x"]) for number in range(3)]
    spool.release(parked[1])
    again = spool.park([b"a" * 20, b"b" * 31])
    assert again.place == parked[1].place
    assert [spool.images(parked[0]), spool.images(again)] == [[bytes(50), b"x"], [b"a" * 20, b"b" * 31]]
    assert spool.images(parked[2]) == [bytes([2]) * 50, b"x"]
    assert spool.end == 3 * 51
