"""The journal loses nothing that was finished and believes nothing that was altered."""

from __future__ import annotations

import json
from pathlib import Path

from himap.workflow.jobs.journal import Journal, forget

ROWS = [
    {"sample_id": f"s{n}", "prediction": text} for n, text in enumerate(["yes", "é \u2028 \x85 two\nlines", "“no”"])
]


def begun(folder: Path, key: str = "key") -> Path:
    """An output whose journal holds all rows, left by a job that was stopped."""
    journal = Journal(folder / "out.jsonl", key)
    for row in ROWS:
        journal.add(row)
    journal.close()
    return folder / "out.jsonl"


def found(output: Path, key: str = "key") -> dict:
    journal = Journal(output, key)
    journal.close()
    return journal.done


def test_what_was_finished_is_there_again(tmp_path):
    output = begun(tmp_path)
    assert found(output) == {row["sample_id"]: row for row in ROWS}
    assert found(output) == {row["sample_id"]: row for row in ROWS}


def test_a_row_is_kept_before_the_journal_is_closed(tmp_path):
    journal = Journal(tmp_path / "out.jsonl", "key")
    journal.add(ROWS[1])
    lines = journal.path.read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[1])["row"] == ROWS[1]
    journal.close()


def test_a_torn_line_does_not_count_and_does_not_grow_into_the_next(tmp_path):
    output = begun(tmp_path)
    path = Path(f"{output}.journal")
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(output, "key")
    assert list(journal.done) == ["s0", "s1"]
    journal.add({"sample_id": "s9", "prediction": "after"})
    journal.close()
    assert list(found(output)) == ["s0", "s1", "s9"]


def test_an_altered_line_does_not_count(tmp_path):
    output = begun(tmp_path)
    path = Path(f"{output}.journal")
    path.write_text(path.read_text(encoding="utf-8").replace('"yes"', '"yea"'), encoding="utf-8")
    assert list(found(output)) == ["s1", "s2"]


def test_lines_of_another_kind_do_not_count(tmp_path):
    output = begun(tmp_path)
    with Path(f"{output}.journal").open("a", encoding="utf-8") as file:
        file.write('[1, 2]\n"row"\n{"row": 3}\n{"row": {"prediction": "x"}, "check": "0"}\n\x00\x00\n')
    assert list(found(output)) == ["s0", "s1", "s2"]


def test_the_journal_of_another_job_does_not_count(tmp_path):
    output = begun(tmp_path)
    assert found(output, "another key") == {}
    assert found(output) == {}


def test_a_file_that_is_no_journal_does_not_count(tmp_path):
    Path(tmp_path / "out.jsonl.journal").write_bytes(b"\xff\xfe\x00 nothing of ours")
    assert found(tmp_path / "out.jsonl") == {}


def test_a_journal_that_was_used_is_dropped(tmp_path):
    output = begun(tmp_path)
    forget(output)
    forget(output)
    assert list(tmp_path.iterdir()) == []
