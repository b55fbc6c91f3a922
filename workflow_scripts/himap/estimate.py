"""What a run will take, said before anything runs: jobs, GPU hours, downloads and disk per stage, from formulas alone.

The cost of an answer is its prefill under the method's schedule (operations over the whole prompt, at the share of a
GPU's peak rate that such passes reach) and its decoding (weights read once per token and batch). Loading a model counts
once per job. Disk is that of checkpoints and data as downloaded and as prepared; results take little beside them.
These are estimates to plan with, within a factor of about two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.costs import flops, image_tokens_per_layer
from himap.plan import Plan
from himap.pruning.methods import two_stages

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


@dataclass
class Stage:
    """One kind of work."""

    name: str
    jobs: int = 0
    seconds: float = 0.0  # of a GPU, or of a processor core where the model runs on that
    download_gb: float = 0.0
    disk_gb: float = 0.0


class Estimator:
    """Adds up a plan's stages for one kind of GPU."""

    def __init__(self, plan: Plan, gpu: str) -> None:
        if gpu not in GPUS:
            raise ValueError(f"--gpu: unknown GPU {gpu!r}; known: {', '.join(GPUS)}")
        self.plan = plan
        self.rate, self.bandwidth = GPUS[gpu][0] * REACHED, GPUS[gpu][1]

    def samples(self, benchmark: str, limit: int | None = None) -> int:
        """How many samples a benchmark has under this config."""
        own, source = self.plan.benchmark(benchmark), benchmark_named(benchmark).source
        return min(one for one in (own.limit, limit, source.rows, 10**9) if one)

    def prefill(self, model: str, kind: str, method: dict[str, Any] | None = None) -> float:
        """Seconds of a prefill, vision tower included, under a resolved method or of the model as it is."""
        method = method or {"stages": [], "image_grid": None}
        tokens = prod(method["image_grid"]) if method["image_grid"] else None
        operations = flops(self.plan.dims(model), method["stages"], "prompt", n_image=tokens, n_text=TEXT_TOKENS[kind])
        return (operations + VISION) / self.rate

    def decoding(self, model: str, tokens: int, batch: int = BATCH) -> float:
        """Seconds of one answer's decoding."""
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
        stage = Stage("models", jobs=len(self.plan.config.models))
        for name, entry in self.plan.config.models.items():
            if entry.id is not None:
                stage.download_gb += 2 * self.parameters(name) / 1e9
            if entry.convert:
                stage.jobs += 1
                stage.disk_gb += 2 * self.parameters(name) / 1e9
        stage.disk_gb += stage.download_gb
        return stage

    def benchmarks(self) -> Stage:
        """Downloads of data: the published files are fetched whole and kept, also for a subset."""
        stage = Stage("benchmarks")
        for name, entry in self.plan.config.benchmarks.items():
            stage.jobs += 2 if entry.source == "mini" else 1
            n = self.samples(name)
            stage.disk_gb += n * SAMPLE_MB / 1000 if entry.source != "mini" else 0
            if entry.source == "hub":
                rows = benchmark_named(name).source.rows or n
                stage.download_gb += DOWNLOADS.get(name, rows * SAMPLE_MB / 1000)
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
            stage.jobs += shards + 1
            stage.seconds += self.samples(benchmark) * one + shards * self.loading(model)
        return stage

    def scoring(self) -> Stage:
        """Scores; no GPU."""
        cells = [cell for cell in self.plan.evaluations() if self.plan.scored(cell[1])]
        judged = sum(self.plan.judged(benchmark) for _, benchmark, _ in cells)
        return Stage("scoring", jobs=len(cells) + judged)

    def saliency(self) -> Stage:
        """A forward and a backward pass with attention for each target, of the control for the first one alone."""
        part = self.plan.config.saliency
        passes = sum(len(part.targets) if weights == "trained" else 1 for weights in part.weights)
        stage = Stage("saliency")
        for model in self.plan.config.models:
            for benchmark in self.plan.known(part.benchmarks):
                runs = passes * self.samples(benchmark, part.limit)
                stage.jobs += 1
                stage.seconds += runs * 6 * self.prefill(model, "qa") + self.loading(model)
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
                stage.jobs += len(blocks)
                stage.seconds += self.samples(benchmark, part.limit) * variants * one + len(blocks) * self.loading(
                    model
                )
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
                stage.jobs += 1
                stage.seconds += min(part.examples, self.samples(benchmark)) * part.rounds * one + self.loading(model)
        return stage

    def flops(self) -> Stage:
        """A few counted prefills per method."""
        stage = Stage("flops")
        for model in self.plan.config.models:
            for kind in self.plan.kinds(model):
                methods = {method for _, task, method in self.plan.evaluations(model) if self.plan.kind(task) == kind}
                stage.jobs += 1
                stage.seconds += len(methods) * self.plan.config.flops.measured * 2 * self.prefill(model, kind)
                stage.seconds += self.loading(model)
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
                stage.jobs += 2
                stage.seconds += self.samples(benchmark, part.limit) * one + self.loading(model)
        return stage

    def drawing(self) -> Stage:
        """Tables, figures and the report."""
        return Stage("tables, figures, report", jobs=len(self.plan.tables()) + 2 * len(self.plan.figures()) + 1)


def table(stages: list[Stage], gpu: str) -> str:
    """The stages as text, with their sum."""
    whole = Stage("all")
    for stage in stages:
        whole.jobs += stage.jobs
        whole.seconds += stage.seconds
        whole.download_gb += stage.download_gb
        whole.disk_gb += stage.disk_gb
    hours = f"{gpu} hours"
    lines = [f"{'stage':<26}{'jobs':>8}{hours:>16}{'download GB':>14}{'disk GB':>10}"]
    for stage in [*stages, whole]:
        spent = f"{stage.seconds / 3600:.2f}" if stage.seconds else ""
        sizes = [f"{size:.1f}" if size else "" for size in (stage.download_gb, stage.disk_gb)]
        lines.append(f"{stage.name:<26}{stage.jobs:>8}{spent:>16}{sizes[0]:>14}{sizes[1]:>10}")
    return "\n".join([*lines, "Disk: models and data; results take little beside them."])
