"""Whether disks and devices are large enough for a config: downloads, results, weights with what a pass needs beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from himap.numbers import significant
from himap.project import ROOT
from himap.workflow.estimate import Estimator
from himap.workflow.plan.plan import Plan
from himap.workflow.preflight.findings import Finding
from himap.workflow.speed import parameters

DISK, DEVICE = "Disk", "Memory"
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
BESIDE = 1.2  # weights and, beside them, caches, activations and the maps of a pass
OVERHEAD = 1.5e9  # bytes that CUDA and its libraries take
RESULTS_GB = 2.0  # answers, scores, drawings of a run: generous


def disks(plan: Plan) -> Iterator[Finding]:
    """Yield whether there is room where downloads go and where results go; one finding where both are the same disk."""
    from huggingface_hub import constants

    # Any GPU will do: sizes on disk do not depend on it.
    estimator = Estimator(plan, "a100")
    stages = [estimator.models(), estimator.benchmarks()]
    downloads = sum(stage.download_gb for stage in stages)
    # `disk_gb` counts downloads too.
    results = sum(stage.disk_gb for stage in stages) - downloads + RESULTS_GB
    cache, out = existing(Path(constants.HF_HUB_CACHE)), existing(ROOT / plan.out)
    if not downloads:
        yield room(f"results in {plan.out}", out, results, "set `output` in the config to a folder with more room")
    # On one disk the two needs add up.
    elif cache.stat().st_dev == out.stat().st_dev:
        name = f"downloads in {constants.HF_HUB_CACHE} and results in {plan.out}, on one disk"
        yield room(name, out, downloads + results, "free some, or set HF_HOME or `output` to a folder on another disk")
    else:
        yield room(
            f"downloads in {constants.HF_HUB_CACHE}", cache, downloads, "free some, or set HF_HOME to another disk"
        )
        yield room(f"results in {plan.out}", out, results, "set `output` in the config to a folder with more room")


def room(name: str, folder: Path, needed: float, advice: str) -> Finding:
    """Return whether a folder's disk has so many GB left; what is downloaded already is not subtracted."""
    free = shutil.disk_usage(folder).free / 1e9
    words = f"about {needed:.1f} GB of {free:.1f} GB that are free"
    if not os.access(folder, os.W_OK):
        return Finding(DISK, name, False, f"{folder} cannot be written", "choose a folder of yours")
    return Finding(DISK, name, needed <= free, words, "" if needed <= free else advice)


def existing(path: Path) -> Path:
    """Return the nearest folder that exists: the path itself or one above it."""
    return path if path.is_dir() else existing(path.parent)


def devices(plan: Plan, is_cluster: bool) -> Iterator[Finding]:
    """Yield whether each model fits into the memory of the device that it is going to run on."""
    graphics = [] if is_cluster else graphics_memory()
    # Bytes of all main memory, not of what is free now: other programs may have ended by then.
    main = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name, entry in plan.config.models.items():
        needed = parameters(plan, name) * BYTES[entry.dtype] * BESIDE + OVERHEAD * entry.gpus
        where = "GPU memory" if entry.gpus else "main memory"
        if is_cluster:
            words = f"needs about {significant(needed / 1e9)} GB of {where}; its nodes cannot be seen from here"
            yield Finding(DEVICE, name, None, words, "--try on a node shows it")
        elif entry.gpus and not graphics:
            advice = "run it where there is one, or on a cluster: --profile"
            yield Finding(DEVICE, name, False, "asks for a GPU, and this machine has none", advice)
        else:
            have = min(graphics) if entry.gpus else main
            words = f"about {significant(needed / 1e9)} GB of {significant(have / 1e9)} GB of {where}"
            advice = "use dtype bfloat16, a smaller model, or a larger device"
            yield Finding(DEVICE, name, needed <= have, words, "" if needed <= have else advice)


def graphics_memory() -> list[int]:
    """Return the bytes of each GPU that the driver shows."""
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
        return [int(line) << 20 for line in lines if line.strip()]  # nvidia-smi gives MiB
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
