"""What a run will take, before anything runs: jobs, GPU hours, downloads and disk per step, from formulas alone.

Jobs are counted by rule, samples at their source (`sample_counts`); how long a model takes for one of them is in
`model_times`. Loading a model counts once per job. Disk is that of checkpoints and data as downloaded and as prepared;
results take little beside them. These are estimates to plan with, within a factor of about two.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from himap.benchmarks import get as benchmark_named
from himap.experiments.grid import Grid
from himap.experiments.questions import registry as open_questions
from himap.pruning.stage import Schedule
from himap.results import RANDOM_WEIGHTS
from himap.workflow.assumptions import (
    DOWNLOADS,
    NEW_TOKENS,
    QUESTIONS,
    SAMPLE_MB,
    WARM_UPS,
)
from himap.workflow.model_times import ModelTimes
from himap.workflow.plan import targets
from himap.workflow.plan.passes import COSTS, SCORES, passes
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.settings import batches_of
from himap.workflow.plan.settings import evaluation as evaluation_settings
from himap.workflow.sample_counts import sample_count
from himap.workflow.speed import Speed, parameters


@dataclass
class Stage:
    """What one kind of work takes."""

    name: str
    rules: Counter[str] = field(default_factory=Counter)  # jobs by rule
    seconds: float = 0.0  # of a GPU
    here: float = 0.0  # seconds of this machine's processor
    download_gb: float = 0.0
    disk_gb: float = 0.0

    @property
    def jobs(self) -> int:
        """Return how many jobs it has."""
        return self.rules.total()


def timed_runs(examples: int, rounds: int, batches: Sequence[int]) -> dict[int, int]:
    """Return how many questions a method answers in batches of each size, untimed ones included."""
    return {size: size * (max(1, examples // size) * rounds + WARM_UPS) for size in dict.fromkeys((1, *batches))}


class Estimator:
    """Adds up a plan's stages for one kind of GPU."""

    def __init__(self, plan: Plan, gpu: str, speeds: Mapping[str, Speed] | None = None) -> None:
        self.plan = plan
        self.times = ModelTimes(plan, gpu, speeds)
        self._samples: dict[str, int] = {}

    def samples(self, benchmark: str, limit: int | None = None) -> int:
        """Return how many samples a benchmark has under this config."""
        if benchmark not in self._samples:
            self._samples[benchmark] = sample_count(self.plan, benchmark)
        return min(self._samples[benchmark], limit or self._samples[benchmark])

    def spend(self, stage: Stage, model: str, seconds: float) -> None:
        """Add a model's seconds where it runs: on a GPU, or on this machine's processor."""
        if model in self.times.speeds:
            stage.here += seconds
        else:
            stage.seconds += seconds

    def stages(self) -> list[Stage]:
        """Return all stages."""
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
            self.questions(),
            self.drawing(),
        ]

    def models(self) -> Stage:
        """Estimate downloads of checkpoints."""
        stage = Stage("models", Counter(fetch_model=len(self.plan.config.models)))
        stage.download_gb = sum(self.model_downloads().values())
        for name, entry in self.plan.config.models.items():
            if entry.convert:
                stage.rules["convert_checkpoint"] += 1
                # A conversion writes the weights once more, two bytes for each parameter.
                stage.disk_gb += 2 * parameters(self.plan, name) / 1e9
        stage.disk_gb += stage.download_gb
        return stage

    def model_downloads(self) -> dict[str, float]:
        """Return the gigabytes that each model from the hub has, two bytes for each parameter."""
        models = self.plan.config.models.items()
        return {name: 2 * parameters(self.plan, name) / 1e9 for name, entry in models if entry.id is not None}

    def benchmarks(self) -> Stage:
        """Estimate downloads of data. Published files are fetched whole and kept, even for a subset."""
        stage = Stage("benchmarks")
        for name, entry in self.plan.config.benchmarks.items():
            stage.rules += Counter(download_benchmark=1, draw_mini_benchmark=int(entry.source == "mini"))
            n = self.samples(name)
            # The samples as prepared; what is drawn for the embedded world is too small to count.
            stage.disk_gb += n * SAMPLE_MB / 1000 if entry.source != "mini" else 0
            if entry.source == "hub":
                declared = benchmark_named(name)
                source = declared.source_of(entry.protocol)
                # A protocol may read another repository than the declared one (Flickr30k has two), of unlisted size.
                known = DOWNLOADS.get(name) if source.hub_id == declared.source.hub_id else None
                stage.download_gb += (source.rows or n) * SAMPLE_MB / 1000 if known is None else known
        stage.disk_gb += stage.download_gb
        return stage

    def evaluation(self) -> Stage:
        """Estimate all answers of all methods; each pass loads its model once, and once more for another precision."""
        stage = Stage("evaluation")
        for each in passes(self.plan):
            kind = self.plan.kind(each.place)
            methods: dict[str, set[Schedule]] = {}
            for name in each.methods:  # those that do the same are one
                # Settings and schedule without its name decide the answers: methods with both alike are answered once.
                asked = evaluation_settings(self.plan, each.model, each.place, name)
                methods.setdefault(asked, set()).add(replace(self.plan.method(each.model, each.place, name), name=""))
            seen = self.pictures(each.place)
            answer = sum(self.times.answer(each.model, kind, schedules, seen) for schedules in methods.values())
            share = self.plan.benchmark(each.place).shards
            # A method may set its own `dtype`, for which the job loads the model once more.
            precisions = {json.loads(asked)["dtype"] for asked in methods}
            stage.rules["evaluate_method"] += 1
            self.spend(stage, each.model, self.samples(each.place) / share * answer)
            self.spend(stage, each.model, len(precisions) * self.times.loading(each.model))
        stage.rules["merge_predictions"] = len([cell for cell in self.plan.evaluations() if self.plan.shards(*cell)])
        return stage

    def pictures(self, benchmark: str, limit: int | None = None) -> float:
        """Return how many pictures a batch has for each of its questions, which come sorted by picture.

        Of samples drawn at random, fewer are about the same picture; the embedded world draws whole pictures.
        """
        asked = QUESTIONS.get(benchmark, 1.0)
        # With n of N samples drawn at random, a picture keeps on average n / N of the other questions about it.
        if self.plan.source(benchmark) == "hub":
            rows = benchmark_named(benchmark).source_of(self.plan.benchmark(benchmark).protocol).rows
            asked = 1 + (asked - 1) * (min(1.0, self.samples(benchmark, limit) / rows) if rows else 1.0)
        # A batch of sorted questions begins with one picture; each further question starts a new one with 1 / asked.
        return (1 + (self.times.batch - 1) / asked) / self.times.batch

    def scoring(self) -> Stage:
        """Count the scores; they need no GPU."""
        scored = passes(self.plan, SCORES)
        judged = sum(len(each.methods) for each in scored if self.plan.judged(each.place))
        return Stage("scoring", Counter(score_predictions=len(scored), judge_answers=judged))

    def saliency(self) -> Stage:
        """Estimate a forward and a backward pass with attention for each target; the control has only the first target."""
        part = self.plan.config.saliency
        passes = sum(len(part.targets) if weights == "trained" else 1 for weights in part.weights)
        stage = Stage("saliency")
        for model in self.plan.models_for():
            for benchmark in self.plan.known(part.benchmarks):
                runs = passes * self.samples(benchmark, part.limit)
                stage.rules["extract_saliency"] += 1
                self.spend(stage, model, runs * self.times.salient(model) + self.times.loading(model))
        return stage

    def disruption(self) -> Stage:
        """Estimate, per layer, the part of the network above it for each flow and extent, and the tokens generated after it."""
        part = self.plan.config.disruption
        stage = Stage("disruption")
        for model in self.plan.models_for():
            for benchmark in self.plan.known(part.benchmarks):
                blocks = self.plan.layer_blocks(model)
                # The last block may be shorter than the others, so their sum can exceed the depth.
                layers = min(self.plan.dims(model).layers, len(blocks) * part.layers_per_job)
                example = sum(
                    self.times.cuts(model, flows, layers, part.layers_per_job, len(part.extents), part.new_tokens)
                    # Another block is run on the first flow only.
                    for flows in [part.flows, *([part.flows[:1]] * (len(part.blocks) - 1))]
                )
                stage.rules["disrupt_attention"] += len(blocks)
                seconds = self.samples(benchmark, part.limit) * example
                self.spend(stage, model, seconds + len(blocks) * self.times.loading(model))
        return stage

    def latency(self) -> Stage:
        """Estimate time and memory: the methods in rounds, a question at a time and in batches, and the same on random weights."""
        part, random = self.plan.config.latency, self.plan.config.latency.random_weights
        stage = Stage("latency", Counter(tabulate_efficiency=int(targets.EFFICIENCY in targets.tables(self.plan))))
        for model in self.plan.models_for():
            # As the job itself decides it: 32 at a time only on a GPU.
            batches = batches_of(part.batches, self.plan.model(model).gpus)
            for benchmark in self.plan.known(part.benchmarks):
                schedules = [self.plan.method(model, benchmark, name) for name in part.methods]
                examples, kind = self.samples(benchmark, part.examples), self.plan.kind(benchmark)
                runs = timed_runs(examples, part.rounds, batches)
                seconds = self.times.timed(model, kind, schedules, runs, NEW_TOKENS[kind], eager=part.eager)
                stage.rules["measure_latency"] += 1
                self.spend(stage, model, seconds + self.times.loading(model))
        if random:
            runs = timed_runs(random.examples, random.rounds, random.batches)
            schedules = list(self.plan.random_schedules().values())
            seconds = self.times.timed(RANDOM_WEIGHTS, "qa", schedules, runs, random.new_tokens, eager=random.eager)
            stage.rules["time_random_weights"] += 1
            self.spend(stage, RANDOM_WEIGHTS, seconds + self.times.loading(RANDOM_WEIGHTS))
        return stage

    def flops(self) -> Stage:
        """Estimate a few counted prefills per method, and as many of the unpruned model in each pass."""
        stage = Stage("flops")
        for each in passes(self.plan, COSTS):
            # One more than methods: the unpruned model, against which each is a share.
            prefills = 2 * self.plan.config.flops.measured * (len(each.methods) + 1)
            stage.rules["count_flops"] += 1
            self.spend(
                stage,
                each.model,
                prefills * self.times.prefill(each.model, each.place) + self.times.loading(each.model),
            )
        return stage

    def grid(self) -> Stage:
        """Estimate the answers of all schedules of the grid, which share what comes before their stages."""
        part = self.plan.config.grid
        stage = Stage("grid")
        grid = Grid(part.k1, part.r1, part.k2, part.r2)
        for model, benchmark in self.plan.grid_cells():
            seen = self.pictures(benchmark, part.limit)
            example = self.times.answer(model, self.plan.kind(benchmark), grid.schedules(self.plan.dims(model)), seen)
            stage.rules += Counter(explore_grid=1, score_grid=1)
            self.spend(stage, model, self.samples(benchmark, part.limit) * example + self.times.loading(model))
        return stage

    def questions(self) -> Stage:
        """Estimate the open questions by the whole prefills that each declares for a sample."""
        stage = Stage("open questions")
        for name, question in open_questions().items():
            entry = self.plan.question(name)
            for model, benchmark in self.plan.question_cells(name):
                # Each question's own file says how many whole prefills one sample costs under its settings.
                prefills = question.prefills({**question.settings, **entry.settings}, self.plan.dims(model).layers)
                example = prefills * self.times.prefill(model, self.plan.kind(benchmark))
                stage.rules["ask_question"] += 1
                self.spend(stage, model, self.samples(benchmark, entry.limit) * example + self.times.loading(model))
        return stage

    def drawing(self) -> Stage:
        """Count tables, figures and the report."""
        figures = len(targets.figures(self.plan))
        rules = Counter(make_table=len(self.plan.tables()), collect_figure_data=figures, draw_figure=figures, report=1)
        return Stage("tables, figures, report", rules)
