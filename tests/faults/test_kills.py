"""A run that is killed again and again, and started again each time, ends with the tables of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from world import METHODS, QUESTIONS, World, kill_group

KILLS = int(os.environ.get("HIMAP_KILLS", "20"))
BATCH = 2
JOBS_AT_ONCE = 2


@pytest.mark.slow
def test_a_run_killed_at_random_moments_comes_to_the_same_tables(
    make_world: Callable[..., World], finished: World
) -> None:
    chance = random.Random(7)
    world = make_world(batch_size=BATCH)
    kills = rounds = 0
    while kills < KILLS or rounds == 0:
        kills_before, ended = kills, False
        while not ended:
            # Once there were enough kills, the run is left alone.
            moment = chance.uniform(0.5, finished.seconds) if kills < KILLS else 1500.0
            ended = killed_at(world, moment, chance)
            kills += not ended
        check(world, finished, kills - kills_before)
        rounds += 1
        subprocess.run(
            ["rm", "-rf", world.folder / "results", world.folder / ".snakemake", world.counts_file], check=True
        )
    assert kills >= KILLS


def killed_at(world: World, moment: float, chance: random.Random) -> bool:
    """Start, kill after some seconds; true if the run came to its end before."""
    process = world.start("table1", "--cores", str(JOBS_AT_ONCE), WORLD_PAUSE="0.08")
    try:
        status = process.wait(moment)
    except subprocess.TimeoutExpired:
        if chance.random() < 0.25:  # a scheduler asks first
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(chance.uniform(0.0, 1.0))
        kill_group(process)
        return False
    assert status == 0, (world.folder / "said.log").read_text()[-4000:]
    return True


def check(world: World, finished: World, kills: int) -> None:
    """The same tables, answers and scores, byte for byte; and hardly anything was computed twice."""
    assert world.tables() == finished.tables()
    done, begun = world.counts("done"), world.counts("begun")
    assert set(done) == {(method, str(number)) for method in METHODS for number in range(QUESTIONS)}
    assert max(done.values()) <= 2
    assert (
        sum(begun.values()) - len(done) <= kills * BATCH * JOBS_AT_ONCE
    )  # a kill costs the batches under way, no more


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_stops_soon_and_goes_on_later(
    make_world: Callable[..., World], finished: World
) -> None:
    world = make_world(batch_size=BATCH)
    process = world.start("table1", "--cores", "1", WORLD_PAUSE="0.3")
    until = time.monotonic() + 900
    while len(world.counts()) < 6 and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(900) != 0
    assert (world.folder / "said.log").read_text().count("Will exit after finishing") <= 1
    assert len(world.counts()) >= 6
    assert not list(world.folder.glob("results/tables/table1.*"))  # the running job was finished, no other one started
    assert world.run("table1", "--cores", "2").returncode == 0
    assert world.tables() == finished.tables()
    assert sum(world.counts().values()) == len(METHODS) * QUESTIONS  # none twice
