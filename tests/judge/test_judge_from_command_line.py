"""A judge that misbehaves, seen by a user of ./reproduce: the job fails in one line or the table says so, and nothing is kept that should not be."""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from himap.tables.builtin import load_all
from loopback_judge import KEY, Judge, completion
from small_project import Project, copy_project

pytestmark = pytest.mark.slow
FOLDER = "results/evaluation/mini/mmvet/vanilla"
VERDICTS, SCORE = f"{FOLDER}/judgements.jsonl", f"{FOLDER}/score.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one judged benchmark of three questions, one method and one table."""
    project = copy_project(tmp_path_factory.mktemp("judged") / "project")

    def configure(config: dict[str, Any]) -> None:
        config["benchmarks"] = {"mmvet": {"source": "mini", "limit": 3, "max_new_tokens": 4}}
        config["tables"] = {name: {"benchmarks": []} for name in load_all()}
        config["tables"]["table3"] = {"benchmarks": ["mmvet"], "methods": ["vanilla"]}
        for analysis in ("saliency", "disruption", "latency", "grid"):
            config[analysis] = {"benchmarks": []}

    project.configure(configure)
    return project


@pytest.fixture
def ask(project: Project, judge: Judge) -> Callable[..., tuple[int, str]]:
    """`./reproduce` with this judge and settings and no verdict yet; its exit status and words."""
    for path in (project.folder / FOLDER).glob("[!p]*"):
        path.unlink()

    def run(*words: str, **settings: Any) -> tuple[int, str]:
        project.configure(lambda config: config.update(judge={"base_url": judge.url, "runs": 1, **settings}))
        done = project.call(*words, timeout=300, HIMAP_JUDGE_API_KEY=KEY)
        return done.returncode, done.stdout

    return run


def kept(project: Project) -> list[Path]:
    """The replies in the judge's cache."""
    return list((project.folder / ".cache/judge").rglob("*.json"))


def test_unreadable_verdicts_fail_the_job_or_are_counted_in_table_and_report_and_none_is_kept(
    project: Project, judge: Judge, ask: Callable[..., tuple[int, str]]
) -> None:
    judge.behave = lambda request, number: completion("it depends")
    status, words = ask("table3")
    assert status == 1
    assert f"reason: error: mmvet: 3 of 3 verdicts of the judge gpt-4-0613 at {judge.url} could not be read" in words
    assert not any((project.folder / file).exists() for file in (VERDICTS, SCORE, "results/tables/table3.csv"))
    assert kept(project) == []

    first = judge.requests[0]["messages"][0]["content"]
    judge.behave = lambda request, number: completion("1.0" if request["messages"][0]["content"] == first else "")
    status, words = ask("table3", "report", unreadable=0.7)
    assert status == 0, words
    assert len(kept(project)) == 1
    note = "MM-Vet, mini, Vanilla: 2 of 3."
    assert note in (project.folder / "results/tables/table3.md").read_text()
    assert note in (project.folder / "results/report.html").read_text()


def test_a_judge_that_hangs_floods_or_echoes_the_key_costs_neither_time_nor_memory_nor_the_secret(
    project: Project, judge: Judge, ask: Callable[..., tuple[int, str]]
) -> None:
    sent: Counter[str] = Counter()

    def drip() -> Iterator[bytes]:
        """A byte every half second: sixteen years for the body."""
        sent["drips"] += 1
        yield head(1_000_000_000)
        while True:
            time.sleep(0.5)
            yield b" "

    def flood() -> Iterator[bytes]:
        """A gigabyte at once."""
        yield head(1_000_000_000)
        for _ in range(1000):
            yield b" " * (1 << 20)
            sent["megabytes"] += 1

    def foreign() -> Iterator[bytes]:
        """Something that is no UTF-8."""
        yield head(100) + f"<p>\xff{KEY}</p>".encode("latin-1").ljust(100)

    def echo() -> Iterator[bytes]:
        """A verdict with the key in it."""
        body = completion(f"0.5 by {KEY}", model=f"judge of {KEY}")[2]
        yield head(len(body)) + body

    turns = iter([drip, flood, foreign])  # what the three answers get first
    judge.raw = lambda: next(turns, echo)()
    status, words = ask(SCORE, timeout=2, attempts=4)
    assert status == 0, words
    assert sent["drips"] == 1
    assert sent["megabytes"] < 200  # with what the system buffers: read no further
    assert "0.5 by ***" in (project.folder / VERDICTS).read_text()
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept(project)} == {0o600}

    files = [path for path in project.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def head(length: int) -> bytes:
    """The beginning of a reply with a body of so many bytes."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
