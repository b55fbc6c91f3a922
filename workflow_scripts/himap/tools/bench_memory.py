"""Measure the memory of an evaluation over few and over many samples: python -m himap.tools.bench_memory [--out FILE].

The evaluation's own script runs in a process of its own over pictures that are made for it. Each has other bytes and two
questions, the second after the first ones of all pictures, so that as many wait as may. They are shown small, since only
their number counts here.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from himap.benchmarks._base import Sample
from himap.benchmarks.samples.prepare import write_samples
from himap.files import write_json
from himap.project import ROOT
from himap.tools.bench import describe_machine
from himap.workflow.jobs.script import run

BENCHMARK = "vqav2"  # its data say which picture a question is about
METHOD = {"name": "small", "stages": [], "image_grid": [2, 2]}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both sizes, print the growth, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models" / "mini"), metavar="DIR")
    parser.add_argument("--samples", type=int, nargs=2, default=[500, 20_000], metavar="N", help="few and many")
    parser.add_argument("--side", type=int, default=96, help="of a picture, in pixels (three bytes each)")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    from himap.models.loading import load

    shown: Any = SimpleNamespace(model=load(arguments.model))  # all that `describe_machine` reads of a Bench
    # Beyond the pictures that wait, memory should not grow with their number.
    few, many = (measure(arguments.model, count, arguments.side) for count in arguments.samples)
    figures = {
        "machine": describe_machine(shown),
        "settings": vars(arguments),
        "few": few,
        "many": many,
        "growth_mb": many["peak_mb"] - few["peak_mb"],
    }
    print(
        f"{few['peak_mb']:.0f} MB over {arguments.samples[0]} samples with {few['pictures_mb']:.0f} MB of pictures, "
        f"{many['peak_mb']:.0f} MB over {arguments.samples[1]} with {many['pictures_mb']:.0f} MB, "
        f"{figures['growth_mb']:.0f} MB more"
    )
    if arguments.out:
        write_json(Path(arguments.out), figures)


def measure(model: str, count: int, side: int) -> dict[str, float]:
    """Return the peak memory of an evaluation over so many samples, and the bytes of their pictures, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        samples, out = Path(folder, "samples.parquet"), Path(folder, "predictions.jsonl")
        write_samples(samples, BENCHMARK, made(count, side))
        words = {
            "model": model, "benchmark": BENCHMARK, "samples": samples, "out": out, "device": "cpu",
            "method": json.dumps(METHOD), "settings": '{"max_new_tokens": 1}', "batch-size": 64,
        }  # fmt: skip
        # A process of its own: a peak is one of a whole process.
        command = [sys.executable, ROOT / "workflow_scripts" / "evaluate_method.py"]
        peak = peak_of(
            [*map(str, command), *(str(part) for name, word in words.items() for part in (f"--{name}", word))]
        )
        answered = out.read_bytes().count(b"\n")  # one line of JSON each
        if answered != count:
            raise ValueError(f"{answered} of {count} samples were answered")
        return {"peak_mb": peak / 1e6, "pictures_mb": samples.stat().st_size / 1e6}


def peak_of(command: Sequence[str]) -> int:
    """Return the peak of resident memory of a command, in bytes. Raise ValueError if it fails."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)  # unlike `wait`, it gives the child's own peak
        process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen knows that the child is gone
        if process.returncode:
            log.seek(0)
            raise ValueError(f"{command[1]} failed: {log.read()[-1000:].decode(errors='replace')}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes on macOS, KiB on Linux


def made(count: int, side: int) -> Iterator[Sample]:
    """Yield samples with pictures of noise, which no compression makes smaller."""
    pictures = -(-count // 2)  # rounded up: two questions about each
    for number in range(count):
        which = number % pictures  # 0, 1, 2 …, and then all a second time
        yield Sample(str(number), "What is this?", [], ["noise"] * 10, [noise(which, side)], {"image_id": str(which)})


def noise(number: int, side: int) -> bytes:
    """Return the picture with a number, always the same, as PNG."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    return data.getvalue()


if __name__ == "__main__":
    run(main)
