"""The journal beside an evaluation: what is finished is kept across kills, what is damaged or of another job is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from himap.journal import Journal, forget

ROWS = [{"sample_id": str(number), "prediction": f"answer {number}\u2028é", "kept": []} for number in range(4)]


def write(output: Path, key: str = "key") -> None:
    """A journal with four rows, left by a job that was stopped."""
    journal = Journal(output, key)
    for row in ROWS:
        journal.add(row)
    journal.close()


def done(output: Path, key: str = "key") -> dict[str, Any]:
    """What the next start finds."""
    journal = Journal(output, key)
    journal.close()
    return journal.done


def test_a_new_start_finds_every_row(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert list(done(tmp_path / "out").values()) == ROWS


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_dropped_and_the_others_stay(tmp_path: Path, cut: int) -> None:
    write(tmp_path / "out")
    file = tmp_path / "out.journal"
    file.write_bytes(file.read_bytes()[:-cut])
    expected = ROWS if cut == 1 else ROWS[:3]  # without its line break alone the row is whole
    assert list(done(tmp_path / "out").values()) == expected
    assert list(done(tmp_path / "out").values()) == expected


@pytest.mark.parametrize(
    "poison",
    [
        lambda line: line.replace("answer 2", "another answer"),
        lambda line: line.replace('"sample_id": "2"', '"sample_id": "9"'),
        lambda line: "null",
        lambda line: '{"row": [], "check": "0"}',
        lambda line: '{"row": {"sample_id": ["x"]}, "check": 0}',
        lambda line: "\x00" * 30,
        lambda line: line[: len(line) // 2] + "\ufffd",
    ],
)
def test_a_poisoned_line_does_not_count(tmp_path: Path, poison: Any) -> None:
    write(tmp_path / "out")
    file = tmp_path / "out.journal"
    lines = file.read_text().split("\n")
    assert "answer 2" in lines[3]
    lines[3] = poison(lines[3])
    file.write_text("\n".join(lines))
    assert list(done(tmp_path / "out").values()) == [ROWS[0], ROWS[1], ROWS[3]]


@pytest.mark.parametrize("text", ["", "\n", "not json\n", '{"key": "other"}\n', "[]\n"])
def test_a_journal_of_another_job_or_without_a_header_counts_for_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path / "out")
    file = tmp_path / "out.journal"
    file.write_text(text + file.read_text().split("\n", 1)[1])
    assert done(tmp_path / "out") == {}


def test_another_key_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert done(tmp_path / "out", "another key") == {}


def test_a_second_job_for_the_same_output_waits_and_then_finds_everything(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", "key")
    code = (
        "import json, sys; from himap.journal import Journal; "
        "print(json.dumps(sorted(Journal(sys.argv[1], 'key').done)), flush=True)"
    )
    second = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    assert "waiting for it" in second.stderr.readline()
    for row in ROWS:
        journal.add(row)
    assert second.poll() is None
    journal.close()
    assert json.loads(second.communicate(timeout=30)[0]) == ["0", "1", "2", "3"]


def test_a_used_output_leaves_no_journal(tmp_path: Path) -> None:
    write(tmp_path / "out")
    forget(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
