"""Beside an output: one writer at a time, and a journal that keeps what is finished and believes nothing damaged."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from himap.locks import locked, try_lock
from himap.workflow.jobs.journal import Journal, forget
from himap.workflow.jobs.sole_writer import RUN, is_replaced, sole_writer

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
    code = (
        "import json, sys; from himap.workflow.jobs.journal import Journal\n"
        "from himap.workflow.jobs.sole_writer import sole_writer\n"
        "with sole_writer(sys.argv[1]): print(json.dumps(sorted(Journal(sys.argv[1], 'key').done)), flush=True)"
    )
    with sole_writer(tmp_path / "out"):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "out")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "waiting for it" in second.stderr.readline()
        write(tmp_path / "out")
        assert second.poll() is None
    assert json.loads(second.communicate(timeout=30)[0]) == ["0", "1", "2", "3"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.journal"]  # no lock is left


def test_many_writers_never_overlap(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from himap.locks import locked\n"
        "for _ in range(20):\n"
        "    with locked(sys.argv[1]):\n"
        "        os.mkdir(sys.argv[1]); time.sleep(0.001); os.rmdir(sys.argv[1])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")]) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert list(tmp_path.iterdir()) == []


SCRIPTS = {
    "evaluate_method.py": ("--method", "{}"),
    "extract_saliency.py": (),
    "disrupt_attention.py": ("--layers", "0-1"),
    "explore_grid.py": (),
    "count_flops.py": ("--method", "{}"),
    "measure_latency.py": ("--methods", "{}"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_orphan_waits_for_the_newer_runs_job_and_leaves_its_output_alone(tmp_path: Path, script: str) -> None:
    latest, output = tmp_path / "latest", tmp_path / "out"
    latest.write_text("7")
    words = ["--model", "none", "--benchmark", "pope", "--samples", "none", "--out", str(output), *SCRIPTS[script]]
    place = Path(__file__).resolve().parents[2] / "workflow_scripts" / script
    with locked(output):
        orphan = subprocess.Popen(
            [sys.executable, place, *words], env={**os.environ, RUN: f"{latest}:7"}, stderr=subprocess.PIPE, text=True
        )
        assert orphan.stderr is not None
        assert orphan.stderr.readline() == "out: another job is writing this output; waiting for it\n"
        latest.write_text("8")
        output.write_text("of the newer run")
    assert "left to the newer run" in orphan.communicate(timeout=60)[1]
    assert orphan.returncode == 0  # at an error, Snakemake would remove the output
    assert output.read_text() == "of the newer run"


@pytest.mark.parametrize(("latest", "replaced"), [("8", True), ("7", False), ("6", False), ("", False), (None, False)])
def test_a_job_is_replaced_by_a_later_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latest: str | None, replaced: bool
) -> None:
    monkeypatch.delenv(RUN, raising=False)
    assert not is_replaced()
    if latest is not None:  # an old number is an old state of a shared folder
        (tmp_path / "latest").write_text(latest)
    monkeypatch.setenv(RUN, f"{tmp_path / 'latest'}:7")
    assert is_replaced() is replaced
    if replaced:
        with pytest.raises(ValueError, match="a newer one replaced; nothing was done"), sole_writer(tmp_path / "out"):
            raise AssertionError("nothing is done")
        assert [path.name for path in tmp_path.iterdir()] == ["latest"]


@pytest.mark.slow
def test_snakemake_itself_stops_in_a_job_of_a_replaced_run_before_it_touches_an_output(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("8")
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "snakemake", "-n", "--snakefile", root / "Snakefile", "--directory", tmp_path]
    words += ["--configfile", root / "config.yaml"]
    environment = {**os.environ, RUN: f"{tmp_path / 'latest'}:7"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a newer one has replaced" in done.stderr


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_trusted_with_one_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from himap.workflow import exclusive_run, status
    from himap.workflow.jobs import gpus

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(gpus, "folder", lambda: tmp_path)
    with sole_writer(tmp_path / "out"), (tmp_path / "reproduce.lock").open("w") as lock:
        assert try_lock(lock)
        assert exclusive_run.taken(lock)
    assert not status.is_held(tmp_path / "reproduce.lock")
    device = gpus.take("GPU-a")
    assert device is not None
    os.close(device)


def test_another_refusal_of_a_lock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "out"):
        raise AssertionError("nothing is done")


def test_a_used_output_leaves_no_journal(tmp_path: Path) -> None:
    write(tmp_path / "out")
    forget(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
