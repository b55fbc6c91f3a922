"""The project's own speed targets, measured: python tests/timings.py [--rounds 3] [--out FILE]. Run it on a quiet machine.

No test asserts a time; this says how long things take, as the median of some rounds, beside what is aimed at.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from himap.benchmarks import _base

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "mini"
ENVIRONMENT = "source envs/environment.sh; ensure_environment envs/requirements-dev.txt"


def load() -> None:
    """The mini model's checkpoint, after the imports."""
    import himap

    himap.load(str(MODEL))


def draw() -> None:
    """All twelve sets in their whole size, as files."""
    from himap.mini import benchmarks

    with tempfile.TemporaryDirectory() as folder:
        for name in benchmarks.names():
            benchmarks.write(name, Path(folder) / f"{name}.parquet")


def answers() -> None:
    """200 multiple-choice questions, pictures read and all."""
    import himap
    from himap import benchmarks as adapters
    from himap.experiments.answers import Question
    from himap.experiments.batches import answer_all
    from himap.mini import benchmarks
    from himap.pruning.stage import Schedule

    model, benchmark = himap.load(str(MODEL)), adapters.get("scienceqa")
    held = [benchmark.sample(row, index) for index, row in enumerate(benchmarks.make("scienceqa", samples=200))]
    questions = [Question(one.sample_id, one.images, benchmark.prompt(one, "llava")) for one in held]
    longest = benchmark.max_new_tokens("llava")
    found = list(answer_all(model, questions, Schedule(), max_new_tokens=longest, batch_size=32))
    if len(found) != 200:
        raise SystemExit(f"{len(found)} of 200 questions were answered")


def score() -> None:
    """5,000 answers of VQAv2: normalised, scored, with the interval."""
    from himap import benchmarks

    samples = [
        _base.Sample(str(at), "Q?", [], [f"the {at * k % 997}'s dog, no. {at}" for k in range(1, 11)])
        for at in range(5000)
    ]
    benchmarks.score(benchmarks.get("vqav2"), samples, {one.sample_id: "a dog's, yes" for one in samples})


def command(*words: str) -> Callable[[], None]:
    """A command in the project's folder that must succeed."""

    def call() -> None:
        environment = {**os.environ, "HIMAP_VENV": sys.prefix}
        said = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if said.returncode:
            raise SystemExit(f"{' '.join(words)}\n{said.stdout[-2000:]}{said.stderr[-2000:]}")

    return call


TARGETS = (  # what, seconds aimed at, how
    ("load the mini model, after imports", 1, load),
    ("draw all twelve mini benchmarks", 20, draw),
    ("200 multiple-choice answers of the mini model, loading included", 20, answers),
    ("score 5,000 VQAv2 answers with interval", 5, score),
    (
        "dry run of presets/paper.yaml, everything to be done",
        8,
        command("./reproduce", "-n", "--quiet", "rules", "--forceall", "--configfile", "presets/paper.yaml"),
    ),
    ("./reproduce -n", 5, command("./reproduce", "-n")),
    (
        "environment that is in place, looked at by another start",
        2,
        command("env", "-u", "HIMAP_VENV", "bash", "-c", ENVIRONMENT),
    ),
)


def main() -> int:
    """Measure each target and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the numbers here as JSON, too")
    args = parser.parse_args()
    import himap  # noqa: F401  (imports are not counted)

    load()
    rows = []
    for what, target, call in TARGETS:
        taken = []
        for _ in range(args.rounds):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
        rows.append({"what": what, "seconds": round(statistics.median(taken), 2), "aimed_at": target})
        print(f"{rows[-1]['seconds']:8.2f} s  (aim: {target} s)  {what}", flush=True)
    if args.out:
        machine = {"cores": os.cpu_count(), "machine": platform.machine(), "rounds": args.rounds}
        args.out.write_text(json.dumps({"machine": machine, "targets": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
