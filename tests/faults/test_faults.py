"""What goes wrong on real machines: a full disk, a folder that cannot be written, altered files, two runs at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from world import METHODS, QUESTIONS, World, kill_group, wait_for

pytestmark = pytest.mark.slow


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted on a folder for as long as the block lasts."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let a file system be mounted ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_with_a_clear_word_and_the_run_goes_on_when_there_is_room(
    make_world: Callable[..., World], finished: World
) -> None:
    world = make_world(batch_size=2)
    results = world.folder / "results"
    results.mkdir()
    with mounted(results, "-t", "tmpfs", "-o", "size=3m", "tmpfs"):
        ready = world.run(
            "results/models/mini/manifest.json", "results/benchmarks/pope/samples.parquet", "--cores", "2"
        )
        assert ready.returncode == 0, ready.stdout[-3000:]
        ballast = results / "ballast"
        space = os.statvfs(results)
        ballast.write_bytes(b"0" * (space.f_bavail * space.f_frsize - 90_000))  # passes the look at the start, not more
        full = world.run("table1", "--cores", "1")
        assert full.returncode != 0
        assert "No space left on device" in full.stdout
        assert all(finished.tables()[name] == text for name, text in world.tables().items())
        ballast.write_bytes(b"0" * (ballast.stat().st_size + os.statvfs(results).f_bavail * 4096))
        refused = world.run("table1", "--cores", "1")
        assert refused.returncode == 1
        assert "cannot be written (No space left on device); nothing was run" in refused.stdout
        ballast.unlink()
        assert world.run("table1", "--cores", "2").returncode == 0
        assert world.tables() == finished.tables()


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("results", "Free some space, or set `output` to another folder"),
        (".snakemake", "Free some space there or make it writable"),
    ],
)
def test_a_folder_that_cannot_be_written_is_said_at_once(
    make_world: Callable[..., World], name: str, advice: str
) -> None:
    world = make_world()
    folder = world.folder / name
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"):
        refused = world.run("table1", "--cores", "1")
    assert refused.returncode == 1
    assert refused.stdout == f"{folder} cannot be written (Read-only file system); nothing was run. {advice}\n"


ALTERED = (
    "benchmarks/pope/samples.parquet",
    "evaluation/mini/pope/himap/predictions.jsonl",
    "evaluation/mini/pope/vanilla/score.json",
    "evaluation/mini/pope/vanilla/per_sample.parquet",
    "flops/mini/qa/himap.csv",
    "tables/table1.csv",
)


def test_altered_results_are_noticed_by_their_checksums_and_made_again(
    copy_of_finished: World, finished: World
) -> None:
    world = copy_of_finished
    for name in ALTERED:
        path = world.folder / "results" / name
        before, whole = path.stat(), bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1  # one bit, and the time as it was
        path.write_bytes(whole)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = world.run("table1", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    for name in ALTERED:
        assert (
            f"results/{name}: not what its job wrote (checksum), altered or written by another job since;"
            " now in .snakemake/altered, to be made again" in done.stdout
        )
        assert (world.folder / ".snakemake" / "altered" / "results" / name).is_file()
        assert (world.folder / "results" / name).is_file()  # made again, also where its product was there
    assert world.tables() == finished.tables()
    assert set(world.counts().values()) == {1}  # asked again, because the samples were among them
    again = world.run("table1", "-n").stdout
    assert "(checksum)" not in again
    assert "Nothing to be done" in again


def test_an_evaluation_that_failed_and_was_then_killed_is_done_although_its_old_table_is_there(
    copy_of_finished: World, finished: World
) -> None:
    """The start after the failure must begin it, or nothing could be killed; the start after the kill must end it."""
    world = copy_of_finished
    weights = world.model / "model.safetensors"
    whole = weights.read_bytes()
    with (world.model / "config.json").open("a") as file:
        file.write("\n")  # other contents: every evaluation is out of date
    weights.write_bytes(whole[:1000])
    assert world.run("table1", "--cores", "2").returncode == 1
    weights.write_bytes(whole)
    told = world.run("status").stdout
    assert told.partition("failed:\n")[2].count("  evaluate_method -> ") == 1  # of all methods
    process = world.start("table1", "--cores", "2", WORLD_PAUSE="1")
    wait_for(lambda: world.counts("begun"), 900, "an evaluation is under way")
    kill_group(process)
    done = world.run("table1", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(world.counts()) == {(method, str(number)) for method in METHODS for number in range(QUESTIONS)}
    assert all(world.shard(method).is_file() for method in METHODS)
    assert world.tables() == finished.tables()
    assert "Nothing to be done" in world.run("table1", "-n").stdout


@pytest.mark.parametrize("damage", ["torn", "not json", "twice"])
def test_a_broken_file_between_two_jobs_of_one_run_is_named(copy_of_finished: World, damage: str) -> None:
    world = copy_of_finished
    shard = world.shard("himap")
    lines = shard.read_text().splitlines(keepends=True)
    text = {
        "torn": "".join(lines)[:-20],
        "not json": "".join([*lines[:3], "{]\n", *lines[4:]]),
        "twice": "".join([*lines, lines[0]]),
    }
    shard.write_text(text[damage])
    samples = world.folder / "results/benchmarks/pope/samples.parquet"
    words = ["workflow_scripts/merge_predictions.py", "--samples", samples, "--out", "again.jsonl", str(shard)]
    merged = subprocess.run(
        [sys.executable, *words],
        cwd=world.folder, env=world.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert merged.returncode == 1
    assert not (world.folder / "again.jsonl").exists()
    assert len(merged.stderr.splitlines()) == 1
    assert "make it again" in merged.stderr or "make the shards again" in merged.stderr


def test_a_poisoned_journal_changes_nothing(make_world: Callable[..., World], finished: World) -> None:
    world = make_world(batch_size=2)
    process = world.start("table1", "--cores", "1", WORLD_PAUSE="0.3")
    folder = world.folder / "results/evaluation"

    def journal() -> Path | None:
        """The journal of the evaluation that is under way, with some rows in it."""
        return next((path for path in folder.glob("**/*.journal") if path.read_text().count("\n") > 8), None)

    poisoned = wait_for(journal, 900, "a journal with rows")
    kill_group(process)
    lines = poisoned.read_text().split("\n")
    row = json.loads(lines[3])
    row["row"]["prediction"] = "poison"
    lines[3] = json.dumps(row, ensure_ascii=False)
    poisoned.write_text("\n".join(lines) + '{"row": {"sample_id": "0", "predic')
    assert world.run("table1", "--cores", "2").returncode == 0
    assert world.tables() == finished.tables()
    assert max(world.counts().values()) <= 2
    assert sum(world.counts().values()) <= len(METHODS) * QUESTIONS + 3  # the poisoned one, and a batch under way
    assert list(folder.glob("**/*.journal*")) == []


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model.safetensors", ("models/mini", "no weights")),
        ("config.json", ("models/mini", "config.json")),
    ],
)
def test_a_missing_model_file_is_named(make_world: Callable[..., World], missing: str, words: tuple[str, ...]) -> None:
    world = make_world()
    (world.model / missing).unlink()
    done = world.run("table1", "--cores", "1")
    assert done.returncode == 1
    for word in words:
        assert word in done.stdout
    assert "Traceback" not in done.stdout
    assert world.tables() == {}


def test_of_two_runs_at_once_the_second_is_refused_and_the_first_unharmed(
    make_world: Callable[..., World], finished: World, tmp_path: Path
) -> None:
    world = make_world(gpus=1, shards=3)
    listing = tmp_path / "bin" / "nvidia-smi"  # a machine with two GPUs, as far as the driver's tool is asked
    listing.parent.mkdir()
    listing.write_text('#!/bin/sh\necho "GPU 0: A (UUID: GPU-a)"\necho "GPU 1: A (UUID: GPU-b)"\n')
    listing.chmod(0o755)
    machine = {"PATH": f"{listing.parent}:{os.environ['PATH']}"}
    first = world.start("table1", "--cores", "2", log=world.folder / "first.log", **machine)
    wait_for(lambda: (world.folder / ".snakemake" / "reproduce.running").exists(), 900, "the first run is at work")
    second = world.run("table1", "--cores", "2", **machine)
    assert second.returncode == 1
    assert "Another run is in progress" in second.stdout
    assert "./reproduce status" in second.stdout
    assert first.wait(1500) == 0
    assert world.tables() == finished.tables()
    assert set(world.counts().values()) == {1}
    assert len(world.devices()) == 3  # each shard is a process, and took one of the two
    assert set(world.devices().values()) == {"GPU-a", "GPU-b"}
