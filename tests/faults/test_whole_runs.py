"""A run is whole or says what it lacks: altered, lost and missing results are made again, and only what needs it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from world import World, kill_group, make_questions, wait_for

pytestmark = pytest.mark.slow

SCORE = "results/evaluation/mini/pope/himap/score.json"
OTHER_ANSWERS = "results/evaluation/mini/pope/vanilla/predictions.jsonl"


def flip_a_bit(path: Path) -> None:
    """Alter one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def score_higher(path: Path) -> None:
    """Put another score where the score is."""
    text = path.read_text()
    changed = re.sub(r'("\w+": )\d+\.\d+', r"\g<1>99.9", text)
    assert changed != text
    path.write_text(changed)


def fill_with_zeros(path: Path) -> None:
    """Leave what a power failure leaves of a file whose data never reached the disk."""
    path.write_bytes(bytes(path.stat().st_size))


def test_results_that_are_altered_after_a_kill_do_not_reach_the_table(copy_of_finished: World, finished: World) -> None:
    world = copy_of_finished
    nothing_run(world)
    said = world.folder / "said.log"
    said.unlink()
    process = world.start("table1", "--cores", "1")
    wait_for(lambda: finished_step("score predictions", said.read_text()), 300, "a score is there")
    damages = {SCORE: score_higher, OTHER_ANSWERS: fill_with_zeros}
    assert all((world.folder / name).exists() for name in damages)
    kill_group(process)
    for name, damage in damages.items():
        damage(world.folder / name)
    done = world.run("table1", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    for name in damages:
        assert f"{name}: not what its job wrote (checksum)" in done.stdout
    assert world.tables() == finished.tables()


def finished_step(step: str, text: str) -> list[str]:
    """Return the lines of finished jobs of a step."""
    return re.findall(rf"^\[ *\d+/\d+\] {step} .*$", text, re.MULTILINE)


def test_an_altered_manifest_is_made_again_and_nothing_that_was_made_from_it(
    copy_of_finished: World, finished: World
) -> None:
    world = copy_of_finished
    names = ("results/models/mini/manifest.json", "results/benchmarks/pope/manifest.json")
    for name in names:
        flip_a_bit(world.folder / name)
    done = world.run("table1", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    for name in names:
        assert f"{name}: not what its job wrote (checksum)" in done.stdout
        assert (world.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    assert world.counts() == {}  # no question was asked again
    assert finished_step("score predictions", done.stdout) == finished_step("make table", done.stdout) == []
    assert "Nothing to be done" in world.run("table1", "-n").stdout


def test_a_large_file_is_read_at_the_start_only_up_to_the_bound_of_the_config(
    tmp_path: Path, small_model: Path
) -> None:
    questions = make_questions(tmp_path / "questions.parquet", 350)
    bound = {"checksums_up_to_mb": 1}
    world = World(tmp_path / "world", small_model, questions, execution=bound)
    target = "results/benchmarks/pope/samples.parquet"
    samples = world.folder / target
    assert world.run(target).returncode == 0
    whole, times = samples.read_bytes(), samples.stat()
    assert len(whole) > 1_000_000
    flip_a_bit(samples)
    os.utime(samples, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "(checksum)" not in world.run(target).stdout  # as docs/cluster.md says: size and time are the same
    bound["checksums_up_to_mb"] = 2
    world.config["execution"] = bound
    world.write_config()
    assert f"{target}: not what its job wrote (checksum)" in world.run(target).stdout
    assert samples.read_bytes() == whole


def nothing_run(world: World) -> None:
    """A fresh clone."""
    for folder in ("results", ".snakemake"):
        shutil.rmtree(world.folder / folder, ignore_errors=True)


def half_run(world: World) -> None:
    """A clone in which the answers of two methods, the scores and the table are still to be made."""
    for method in ("fastv", "himap"):
        shutil.rmtree(world.shard(method).parent)
    (world.folder / "results/evaluation/mini/pope/vanilla/score.json").unlink()
    delete_table(world)


def delete_table(world: World) -> None:
    """A table is gone."""
    for path in (world.folder / "results" / "tables").glob("table1.*"):
        path.unlink()


def open_journal(world: World) -> None:
    """An evaluation was killed: its journal is there, its answers are not."""
    shard = world.shard("himap")
    shard.rename(f"{shard}.journal")


@pytest.mark.parametrize(
    ("prepare", "done", "waiting"),
    [
        (half_run, 4, 3),  # model, samples, all costs, the unpruned model's answers; a pass for the other two
        (delete_table, 5, 1),
        (open_journal, 4, 3),  # its answers, the scores and the table wait
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_status_looks_at_files(
    copy_of_finished: World, prepare: Callable[[World], None], done: int, waiting: int
) -> None:
    prepare(copy_of_finished)
    assert status(copy_of_finished) == [done, 0, 0, waiting]


def status(world: World) -> list[int]:
    """How many jobs of the table are done, running, failed and waiting."""
    told = world.run("status")
    assert told.returncode == 0, told.stdout[-2000:]
    line = next(line for line in told.stdout.splitlines() if line.startswith("table1 "))
    return [int(word) for word in line.split()[1:5]]


def test_after_a_page_alone_a_run_makes_all_that_it_makes_in_a_fresh_clone(copy_of_finished: World) -> None:
    world = copy_of_finished
    nothing_run(world)
    fresh = world.run("-n").stdout
    assert status(world) == [0, 0, 0, 6]
    nothing_run(world)
    assert world.run("report").returncode == 0
    assert (world.folder / "results" / "report.html").is_file()
    assert status(world) == [0, 0, 0, 6]
    told = world.run("-n").stdout
    assert re.search(r"^9 jobs to run", told, re.MULTILINE), told
    assert steps(told) == steps(fresh)


def steps(told: str) -> dict[str, int]:
    """The steps of a dry run with the number of their jobs."""
    return {step: int(count) for count, step in re.findall(r"^ +(\d+)  ([a-z]+(?: [a-z]+)*)", told, re.MULTILINE)}


def test_whatever_is_deleted_is_to_be_made_again_although_a_page_is_there(copy_of_finished: World) -> None:
    world = copy_of_finished
    assert world.run("report").returncode == 0
    for gone in ("tables", "evaluation/mini/pope/himap"):
        there = world.folder / "results" / gone
        aside = there.rename(world.folder / "aside")
        told = world.run("-n", "-v").stdout
        for name in (gone, "figures", "report.html"):  # no figure was ever drawn
            assert re.search(rf"^    output: .*results/{name}", told, re.MULTILINE), told[-3000:]
        aside.rename(there)
