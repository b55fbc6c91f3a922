"""What a run will take, said before anything runs: jobs, GPU hours, downloads and disk per stage, from formulas alone.

Jobs are counted by rule, samples are counted where they are (rows of a local file, of the embedded world, of the set as
published). The cost of an answer is its prefill under the method's schedule (operations over the whole prompt, at the share of a
GPU's peak rate that such passes reach) and its decoding (weights read once per token and batch). Loading a model counts
once per job. Disk is that of checkpoints and data as downloaded and as prepared; results take little beside them.
A model without a GPU is tried out here for a second, and its times follow from that. These are estimates to plan with,
within a factor of about two.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.costs.formulas import flops, image_tokens_per_layer
from himap.project import ROOT
from himap.pruning.resolve import two_stages
from himap.workflow.plan.plan import Plan

# Peak dense rate in bfloat16 (float16 on V100) and memory bandwidth, by the makers' data sheets.
GPUS = {
    "v100": (125e12, 0.9e12),
    "a100": (312e12, 2.0e12),
    "h100": (989e12, 3.35e12),
    "h200": (989e12, 4.8e12),
    "l40s": (362e12, 0.86e12),
    "rtx4090": (165e12, 1.0e12),
    "a6000": (155e12, 0.77e12),
}
REACHED = 0.4  # share of the peak rate that a prefill reaches
LOADING = 25.0  # seconds to load a model of 7 billion parameters that the system still holds in its file cache
VISION = 0.4e12  # operations of the vision tower and projector on one image
BATCH = 8
TEXT_TOKENS = {"qa": 110, "caption": 60, "open": 70}  # system and instruction tokens of a prompt, typically
NEW_TOKENS = {"qa": 4, "caption": 20, "open": 180}  # length of an answer, typically
# Size of the published data in GB where it is known, and of one sample in MB for the rest.
DOWNLOADS = {
    "vqav2": 44.8,
    "textvqa": 8.1,
    "mme": 0.86,
    "mmvet": 0.067,
    "chartqa": 0.073,
    "llavabench": 0.01,
    "flickr30k": 4.4,
}
SAMPLE_MB = 0.3


TRIED = 1e9  # parameters up to which a model is tried out on this machine


@dataclass(frozen=True)
class Speed:
    """What a model reaches on this machine's processor, as measured."""

    rate: float  # operations of a prefill per second
    token: float  # seconds of one answer's token, in a batch
    loading: float  # seconds


@dataclass
class Stage:
    """One kind of work."""

    name: str
    rules: Counter[str] = field(default_factory=Counter)  # jobs by rule
    seconds: float = 0.0  # of a GPU
    here: float = 0.0  # seconds of this machine's processor
    download_gb: float = 0.0
    disk_gb: float = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs it has."""
        return self.rules.total()


class Estimator:
    """Adds up a plan's stages for one kind of GPU."""

    def __init__(self, plan: Plan, gpu: str, speeds: Mapping[str, Speed] | None = None) -> None:
        if gpu not in GPUS:
            raise ValueError(f"--gpu: unknown GPU {gpu!r}; known: {', '.join(GPUS)}")
        self.plan = plan
        self.speeds = speeds or {}  # of the models that run on this machine's processor
        self._rows: dict[str, int] = {}
        self.rate, self.bandwidth = GPUS[gpu][0] * REACHED, GPUS[gpu][1]

    def samples(self, benchmark: str, limit: int | None = None) -> int:
        """How many samples a benchmark has under this config."""
        entry = self.plan.benchmark(benchmark)
        pairs = 2 if benchmark_named(benchmark).group else 1  # a limit counts images with two questions each
        if entry.source == "mini" and entry.limit:  # its generator draws as many as are asked for
            available = pairs * entry.limit
        else:
            available = min(self.rows(benchmark), pairs * entry.limit if entry.limit else self.rows(benchmark))
        return min(available, limit or available)

    def rows(self, benchmark: str) -> int:
        """How many samples its source has."""
        if benchmark not in self._rows:
            self._rows[benchmark] = source_rows(self.plan, benchmark)
        return self._rows[benchmark]

    def spend(self, stage: Stage, model: str, seconds: float) -> None:
        """Count a model's seconds where it runs: on a GPU, or on this machine's processor."""
        if model in self.speeds:
            stage.here += seconds
        else:
            stage.seconds += seconds

    def prefill(self, model: str, kind: str, method: dict[str, Any] | None = None) -> float:
        """Seconds of a prefill, vision tower included, under a resolved method or of the model as it is."""
        method = method or {"stages": [], "image_grid": None}
        tokens = prod(method["image_grid"]) if method["image_grid"] else None
        operations = flops(self.plan.dims(model), method["stages"], "prompt", n_image=tokens, n_text=TEXT_TOKENS[kind])
        if model in self.speeds:
            return operations / self.speeds[model].rate
        return (operations + VISION) / self.rate

    def decoding(self, model: str, tokens: int, batch: int = BATCH) -> float:
        """Seconds of one answer's decoding."""
        if model in self.speeds:
            return tokens * self.speeds[model].token
        return tokens * 2 * self.parameters(model) / self.bandwidth / batch

    def parameters(self, model: str) -> float:
        """How many parameters a model has."""
        dims = self.plan.model(model).dims
        if dims is not None:
            return dims.parameters_billion * 1e9
        own = self.plan.dims(model)
        return own.layers * (4 * own.width**2 + 3 * own.width * own.ffn) + 2 * own.vocab * own.width

    def loading(self, model: str) -> float:
        """Seconds to load a model."""
        if model in self.speeds:
            return self.speeds[model].loading
        return LOADING * self.parameters(model) / 7e9

    def stages(self) -> list[Stage]:
        """All stages."""
        return [
            self.models(),
            self.benchmarks(),
            self.saliency(),
            self.disruption(),
            self.evaluation(),
            self.scoring(),
            self.latency(),
            self.flops(),
            self.grid(),
            self.drawing(),
        ]

    def models(self) -> Stage:
        """Downloads of checkpoints."""
        stage = Stage("models", Counter(fetch_model=len(self.plan.config.models)))
        for name, entry in self.plan.config.models.items():
            if entry.id is not None:
                stage.download_gb += 2 * self.parameters(name) / 1e9
            if entry.convert:
                stage.rules["convert_checkpoint"] += 1
                stage.disk_gb += 2 * self.parameters(name) / 1e9
        stage.disk_gb += stage.download_gb
        return stage

    def benchmarks(self) -> Stage:
        """Downloads of data: the published files are fetched whole and kept, also for a subset."""
        stage = Stage("benchmarks")
        for name, entry in self.plan.config.benchmarks.items():
            stage.rules += Counter(download_benchmark=1, draw_mini_benchmark=int(entry.source == "mini"))
            n = self.samples(name)
            stage.disk_gb += n * SAMPLE_MB / 1000 if entry.source != "mini" else 0
            if entry.source == "hub":
                declared = benchmark_named(name)
                source = declared.source_of(entry.protocol)
                known = DOWNLOADS.get(name) if source.hub_id == declared.source.hub_id else None
                stage.download_gb += (source.rows or n) * SAMPLE_MB / 1000 if known is None else known
        stage.disk_gb += stage.download_gb
        return stage

    def evaluation(self) -> Stage:
        """All answers of all methods."""
        stage = Stage("evaluation")
        for model, benchmark, method in self.plan.evaluations():
            kind, shards = self.plan.kind(benchmark), self.plan.benchmark(benchmark).shards
            resolved = self.plan.method(model, benchmark, method)
            one = self.prefill(model, kind, resolved)
            one *= 1 + (NEW_TOKENS[kind] if resolved["rerank"] else 0)
            one += self.decoding(model, NEW_TOKENS[kind])
            stage.rules += Counter(evaluate_method=shards, merge_predictions=1)
            self.spend(stage, model, self.samples(benchmark) * one + shards * self.loading(model))
        return stage

    def scoring(self) -> Stage:
        """Scores; no GPU."""
        cells = [cell for cell in self.plan.evaluations() if self.plan.scored(cell[1])]
        judged = sum(self.plan.judged(benchmark) for _, benchmark, _ in cells)
        return Stage("scoring", Counter(score_predictions=len(cells), judge_answers=judged))

    def saliency(self) -> Stage:
        """A forward and a backward pass with attention for each target, of the control for the first one alone."""
        part = self.plan.config.saliency
        passes = sum(len(part.targets) if weights == "trained" else 1 for weights in part.weights)
        stage = Stage("saliency")
        for model in self.plan.config.models:
            for benchmark in self.plan.known(part.benchmarks):
                runs = passes * self.samples(benchmark, part.limit)
                stage.rules["extract_saliency"] += 1
                self.spend(stage, model, runs * 6 * self.prefill(model, "qa") + self.loading(model))
        return stage

    def disruption(self) -> Stage:
        """Per layer the part of the network above it, for each flow and extent, and the tokens generated after it."""
        part = self.plan.config.disruption
        cuts = len(part.flows) + len(part.blocks) - 1  # another block is run on the first flow alone
        stage = Stage("disruption")
        for model in self.plan.config.models:
            for benchmark in self.plan.known(part.benchmarks):
                blocks = self.plan.layer_blocks(model)
                layers = min(self.plan.dims(model).layers, len(blocks) * part.layers_per_job)
                variants = layers * cuts * len(part.extents)
                one = self.prefill(model, "qa") / 2 + self.decoding(model, part.new_tokens)
                stage.rules["disrupt_attention"] += len(blocks)
                seconds = self.samples(benchmark, part.limit) * variants * one
                self.spend(stage, model, seconds + len(blocks) * self.loading(model))
        return stage

    def latency(self) -> Stage:
        """Examples one at a time, in rounds."""
        part = self.plan.config.latency
        stage = Stage("latency")
        for model in self.plan.config.models:
            for benchmark in self.plan.known(part.benchmarks):
                kind = self.plan.kind(benchmark)
                one = sum(
                    2 * self.prefill(model, kind, self.plan.method(model, benchmark, name))
                    + self.decoding(model, NEW_TOKENS[kind], batch=1)
                    for name in part.methods
                )
                stage.rules["measure_latency"] += 1
                examples = self.samples(benchmark, part.examples)
                self.spend(stage, model, examples * part.rounds * one + self.loading(model))
        return stage

    def flops(self) -> Stage:
        """A few counted prefills per method."""
        stage = Stage("flops")
        for model in self.plan.config.models:
            for kind in self.plan.kinds(model):
                methods = {method for _, task, method in self.plan.evaluations(model) if self.plan.kind(task) == kind}
                stage.rules["count_flops"] += 1
                prefills = len(methods) * self.plan.config.flops.measured * 2
                self.spend(stage, model, prefills * self.prefill(model, kind) + self.loading(model))
        return stage

    def grid(self) -> Stage:
        """The shared part once, and what follows the deep stage for every schedule."""
        part = self.plan.config.grid
        stage = Stage("grid")
        for model in self.plan.config.models:
            dims = self.plan.dims(model)
            for benchmark in self.plan.known(part.benchmarks):
                pairs = [deep for _, deep in two_stages(part.model_dump())]
                full = sum(image_tokens_per_layer(dims, [], dims.tokens_per_image))
                above = sum((dims.layers - k2) * r2 * dims.tokens_per_image for k2, r2 in pairs) / full
                one = self.prefill(model, "qa") * (1 + above + 0.2 * len(part.k1) * len(part.r1))
                one += len(pairs) * self.decoding(model, NEW_TOKENS[self.plan.kind(benchmark)])
                stage.rules += Counter(explore_grid=1, score_grid=1)
                self.spend(stage, model, self.samples(benchmark, part.limit) * one + self.loading(model))
        return stage

    def drawing(self) -> Stage:
        """Tables, figures and the report."""
        figures = len(self.plan.figures())
        rules = Counter(make_table=len(self.plan.tables()), collect_figure_data=figures, draw_figure=figures, report=1)
        return Stage("tables, figures, report", rules)


def source_rows(plan: Plan, name: str) -> int:
    """Return how many samples a benchmark's source has: counted in local files, as published for the hub."""
    entry, benchmark = plan.benchmark(name), benchmark_named(name)
    published = benchmark.source_of(entry.protocol)
    if entry.source == "mini":
        from himap.mini.benchmarks import SAMPLES

        return SAMPLES[name] * (2 if benchmark.group else 1)
    if entry.source == "hub":
        if published.rows is None:
            raise ValueError(f"benchmarks.{name}: the size of the published set is not known; set a `limit`")
        return published.rows
    from himap.benchmarks.samples.source import from_path, row_count, rows_of

    given: dict[str, Any] = {
        "hub_id": entry.id,
        "config": entry.config,
        "split": entry.split,
        "revision": entry.revision,
    }
    source = replace(published, **{key: value for key, value in given.items() if value is not None})
    files = from_path(ROOT / entry.source, source)
    if benchmark.keep is None:
        return sum(map(row_count, files.files))
    options = benchmark.protocol(entry.protocol)
    return sum(benchmark.keep(row, options) for _, _, row in rows_of(files, source))


def try_out(folder: Path, threads: int, benchmark: str = "vqav2") -> Speed:
    """Measure what a local model reaches on this machine's processor: some answers to questions of the embedded world."""
    import tempfile

    import torch
    from transformers.utils import logging

    from himap.benchmarks import read_samples
    from himap.benchmarks.samples.prepare import prepare
    from himap.benchmarks.samples.source import from_path
    from himap.experiments.answers import CPU_BATCH, answer_batch
    from himap.mini.benchmarks import write
    from himap.models.loading import load
    from himap.workflow.jobs.model_script import question

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    vanilla: dict[str, Any] = {"stages": []}
    load(folder)  # jobs are forked from a process that has imported the libraries
    begin = time.process_time()  # other users' load does not count
    model = load(folder)
    loading = time.process_time() - begin
    declared = benchmark_named(benchmark)
    with tempfile.TemporaryDirectory() as place:
        rows, samples = Path(place, "rows.parquet"), Path(place, "samples.parquet")
        write(benchmark, rows, samples=CPU_BATCH)
        prepare(declared, declared.source, from_path(rows, declared.source), samples, Path(place, "manifest.json"))
        asked = [question(sample, declared, model.family, {}) for sample in read_samples(samples)]
    seconds = {}
    for tokens in (1, 1, 9):  # the first round warms up
        begin = time.process_time()
        answers = answer_batch(model, asked, vanilla, max_new_tokens=tokens, min_new_tokens=tokens)
        seconds[tokens] = time.process_time() - begin
    text = sum(row["prompt_tokens"] - row["image_tokens"] for row in answers) // len(answers)
    operations = flops(model.dims, [], "prompt", n_text=text) * len(answers)
    token = max(seconds[9] - seconds[1], 0.0) / 8 / len(answers)
    return Speed(rate=operations / seconds[1], token=token, loading=loading)


def speeds_here(plan: Plan) -> dict[str, Speed]:
    """Return the measured speed of each model that runs on this machine's processor and is small enough to try out."""
    measured: dict[Path, Speed] = {}
    speeds = {}
    for name, entry in plan.config.models.items():
        if entry.gpus == 0 and entry.path and not entry.convert and Estimator(plan, "a100").parameters(name) < TRIED:
            folder = ROOT / entry.path
            with suppress(ValueError, OSError):  # a checkpoint that does not load has no speed; its jobs will say why
                measured[folder] = measured.get(folder) or try_out(folder, plan.config.execution.threads)
                speeds[name] = measured[folder]
    return speeds


def job_start() -> float:
    """Return the processor seconds that a job takes to start here: Python with pandas, measured once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import pandas"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def earlier_minutes(stages: list[Stage], seconds: Mapping[str, list[float]], lanes: int) -> float | None:
    """Return the minutes that the jobs take by earlier jobs of the same rules; None if a rule has not run yet."""
    rules = sum((stage.rules for stage in stages), Counter[str]())
    if any(not seconds.get(rule) for rule in rules):
        return None
    return sum(count * sum(seconds[rule]) / len(seconds[rule]) for rule, count in rules.items()) / lanes / 60


def table(stages: list[Stage], gpu: str) -> str:
    """The stages as text, with their sum."""
    whole = Stage("all", sum((stage.rules for stage in stages), Counter[str]()))
    for stage in stages:
        whole.seconds += stage.seconds
        whole.here += stage.here
        whole.download_gb += stage.download_gb
        whole.disk_gb += stage.disk_gb
    here = bool(whole.here)
    lines = [f"{'stage':<26}{'jobs':>8}{f'{gpu} hours':>16}{'download GB':>14}{'disk GB':>10}"]
    lines[0] += f"{'minutes here':>15}" if here else ""
    for stage in [*stages, whole]:
        spent = f"{stage.seconds / 3600:.2f}" if stage.seconds else ""
        sizes = [f"{size:.1f}" if size else "" for size in (stage.download_gb, stage.disk_gb)]
        line = f"{stage.name:<26}{stage.jobs:>8}{spent:>16}{sizes[0]:>14}{sizes[1]:>10}"
        lines.append((line + (f"{stage.here / 60:.1f}" if stage.here else "").rjust(15 * here)).rstrip())
    return "\n".join([*lines, "Disk: models and data; results take little beside them."])
