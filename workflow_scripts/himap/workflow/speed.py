"""How fast a model runs on this machine's processor, measured for a second, to estimate a run that has no GPU."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from himap.benchmarks import get as benchmark_named
from himap.costs.formulas import flops
from himap.project import ROOT
from himap.pruning.stage import Schedule
from himap.results import RANDOM_WEIGHTS
from himap.workflow.plan.plan import Plan

OF_A_PRODUCT = 0.7  # share of a matrix product's rate that a prefill reaches, vision tower included
ALONE = 20  # how much slower than a prefill's rows a row alone is, which reads all weights
SECONDS_A_WEIGHT = 3e-8  # to draw a weight and put it in its place
TRIED = 1e9  # parameters up to which a model is measured on this machine


@dataclass(frozen=True)
class Speed:
    """What a model reaches on this machine's processor, as measured."""

    rate: float  # operations of a prefill per second
    token: float  # seconds of one answer's token, in a batch
    loading: float  # seconds


def parameters(plan: Plan, model: str) -> float:
    """Return how many parameters a model has, from its sizes."""
    dims = None if model == RANDOM_WEIGHTS else plan.model(model).dims
    if dims is not None:
        return dims.parameters_billion * 1e9
    sizes = plan.random_weights.dims if model == RANDOM_WEIGHTS else plan.dims(model)
    # Four square projections of attention and three of a gated feed-forward block per layer, embeddings in and out. For
    # local models and random weights, whose entries name no number of parameters.
    return sizes.layers * (4 * sizes.width**2 + 3 * sizes.width * sizes.ffn) + 2 * sizes.vocab * sizes.width


def speeds_here(plan: Plan) -> dict[str, Speed]:
    """Return the measured speed of each model that runs on this machine's processor and is small enough to try out."""
    measured: dict[Path, Speed] = {}
    speeds = {}
    for name, entry in plan.config.models.items():
        if entry.gpus == 0 and entry.path and not entry.convert and parameters(plan, name) < TRIED:
            folder = ROOT / entry.path
            with suppress(ValueError, OSError):  # a checkpoint that does not load has no speed; its jobs will say why
                measured[folder] = measured.get(folder) or try_out(folder, plan.config.execution.threads)
                speeds[name] = measured[folder]
    if (entry_of_random := plan.config.latency.random_weights) and entry_of_random.gpus == 0:
        speeds[RANDOM_WEIGHTS] = speed_of_random_weights(plan)
    return speeds


def speed_of_random_weights(plan: Plan) -> Speed:
    """Return what the model of random weights reaches here, judged by one product of matrices of its sizes."""
    import torch

    entry = plan.random_weights
    # [prompt tokens, width] by [width, ffn]: the largest product of a layer.
    rows, weights = torch.ones(entry.image_tokens + entry.text_tokens, entry.width), torch.ones(entry.width, entry.ffn)
    torch.set_num_threads(plan.config.execution.threads)
    seconds = []
    for _ in range(5):
        begin = time.process_time()  # other users' load does not count
        rows @ weights
        seconds.append(time.process_time() - begin)
    # A product of [n, w] by [w, f] takes 2 n w f operations. The fastest of five counts: the others were disturbed.
    rate = OF_A_PRODUCT * 2 * rows.numel() * entry.ffn / min(seconds)
    # Two operations per weight and token, at the rate of a row alone.
    token = 2 * parameters(plan, RANDOM_WEIGHTS) / rate * ALONE
    return Speed(rate, token, loading=parameters(plan, RANDOM_WEIGHTS) * SECONDS_A_WEIGHT)


def try_out(folder: Path, threads: int, benchmark: str = "vqav2") -> Speed:
    """Measure what a local model reaches on this machine's processor: some answers to questions of the embedded world."""
    import torch
    from transformers.utils import logging

    from himap.benchmarks import read_samples
    from himap.benchmarks.samples.prepare import prepare
    from himap.benchmarks.samples.source import from_path
    from himap.experiments.answers import answer_batch
    from himap.experiments.batches import CPU_BATCH
    from himap.mini.benchmarks import write
    from himap.models.loading import load
    from himap.workflow.jobs.model_script import question

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    load(folder)  # untimed, because jobs are forked from a process that has imported the libraries
    begin = time.process_time()  # other users' load does not count
    model = load(folder)
    loading = time.process_time() - begin
    declared = benchmark_named(benchmark)
    with tempfile.TemporaryDirectory() as folder_of_samples:
        rows, samples = Path(folder_of_samples, "rows.parquet"), Path(folder_of_samples, "samples.parquet")
        write(benchmark, rows, samples=CPU_BATCH)
        prepare(
            declared,
            declared.source,
            from_path(rows, declared.source),
            samples,
            Path(folder_of_samples, "manifest.json"),
        )
        asked = [question(sample, declared, model.family, {}) for sample in read_samples(samples)]
    # One token is a prefill alone, nine are eight steps of decoding more.
    seconds = {}
    for tokens in (1, 1, 9):  # the first round warms up
        begin = time.process_time()
        answers = answer_batch(model, asked, Schedule(), max_new_tokens=tokens, min_new_tokens=tokens)
        seconds[tokens] = time.process_time() - begin
    text = sum(row["prompt_tokens"] - row["image_tokens"] for row in answers) // len(answers)
    operations = flops(model.dims, [], "prompt", n_text=text) * len(answers)
    # Noise can make nine tokens look faster than one.
    token = max(seconds[9] - seconds[1], 0.0) / 8 / len(answers)
    return Speed(rate=operations / seconds[1], token=token, loading=loading)


def job_start() -> float:
    """Return the processor seconds that a job takes to start here: Python with pandas, measured once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import pandas"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
