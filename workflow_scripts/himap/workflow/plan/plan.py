"""Which jobs a config asks for: models, benchmarks, methods, the tables and figures that show them, the files of each.

The neighbors add one aspect each and take a `Plan`: `passes` (which methods share a job), `targets` (the jobs behind each
table and figure), `settings` (what decides each job's result), `arguments` (the same for the scripts' command lines),
`resources` (what a job asks of the machine), `staleness` (which code it runs). Torch is never imported here: this runs each
time that Snakemake reads the workflow.
"""

from __future__ import annotations

from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.models.sizes import Dims
from himap.paths import Paths
from himap.pruning.budget import mean_tokens
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule
from himap.workflow.config.model_sizes import dims_of
from himap.workflow.config.schema import Benchmark, Config, Grid, Model, Question, Table
from himap.workflow.config.sections.analyses import RandomWeights
from himap.workflow.plan.history import History

Cell = tuple[str, str, str]  # model, benchmark, method


class Plan:
    """A config, its results folder, and what follows from both.

    Without a history it is that of a first run. `requested` are the evaluations that the named targets need, None for all.
    """

    def __init__(self, config: Config, history: History | None = None) -> None:
        self.config = config
        self.history = history
        self.requested: set[Cell] | None = None
        self.paths = Paths(config.output)
        # By alias: `from` of a layer rule is no name that Python allows for a field.
        self._methods = {
            name: method.model_dump(exclude_none=True, by_alias=True) for name, method in config.methods.items()
        }
        # By model, kind of task and method. Both caches, since Snakemake asks again for each of hundreds of jobs.
        self._resolved: dict[Cell, Schedule] = {}
        self._dims: dict[str, Dims] = {}

    @property
    def out(self) -> str:
        """Return the folder of all results."""
        return self.paths.folder

    # ---- models

    def model(self, name: str) -> Model:
        """Return a model's entry."""
        return self.config.models[name]

    def models_for(self, question: str = "") -> list[str]:
        """Return the models of an open question, as far as it names none; without a question those of tables and analyses."""
        return [name for name, entry in self.config.models.items() if entry.only is None or question in entry.only]

    def dims(self, model: str) -> Dims:
        """Return a model's sizes, from its entry or its config.json."""
        if model not in self._dims:
            self._dims[model] = dims_of(self.model(model))
        return self._dims[model]

    def converted(self, model: str) -> list[str]:
        """Return the folder that a conversion writes, for a model that needs one."""
        return [self.paths.checkpoint(model)] if self.model(model).convert else []

    def checkpoint(self, model: str) -> str | None:
        """Return the folder that a model is loaded from, or None if it lies in the hub library's cache."""
        # The conversion's output, not its source, which the library cannot load.
        return self.converted(model)[0] if self.model(model).convert else self.model(model).path

    # ---- benchmarks

    def benchmark(self, name: str) -> Benchmark:
        """Return a benchmark's entry."""
        return self.config.benchmarks[name]

    def known(self, benchmarks: list[str]) -> list[str]:
        """Return those of the benchmarks that the config has an entry for, in the given order."""
        return [name for name in benchmarks if name in self.config.benchmarks]

    def kind(self, benchmark: str) -> str:
        """Return the kind of a benchmark: qa, caption or open."""
        return benchmark_named(benchmark).task

    def judged(self, benchmark: str) -> bool:
        """Return whether a judge grades a benchmark's answers."""
        return benchmark_named(benchmark).judged

    def scored(self, benchmark: str) -> bool:
        """Return whether a benchmark's answers get a score under this config."""
        return not self.judged(benchmark) or self.config.judge is not None

    def source(self, benchmark: str) -> str:
        """Return where a benchmark's rows come from: hub, mini (the embedded world), or path."""
        source = self.benchmark(benchmark).source
        return source if source in ("hub", "mini") else "path"

    def mini_rows(self, benchmark: str) -> list[str]:
        """Return the file of drawn rows that a benchmark of the embedded world is prepared from."""
        return [self.paths.mini_rows(benchmark)] if self.source(benchmark) == "mini" else []

    def asked(self, benchmark: str) -> dict[str, Any]:
        """Return what decides whether a result compares with a published one: the split, and how the questions are put."""
        entry, declared = self.benchmark(benchmark), benchmark_named(benchmark)
        return {
            "split": entry.split or declared.source_of(entry.protocol).split,
            "protocol": declared.protocol(entry.protocol) | {"images": declared.image_mode("llava", **entry.protocol)},
            "defaults": declared.protocol({}) | {"images": declared.image_mode("llava")},
            "own_form": list(declared.own_form),
        }

    def protocol(self, benchmark: str, method: str) -> dict[str, Any]:
        """Return how a benchmark is asked under a method: as its entry says, or the other way where that is contested."""
        given = self.benchmark(benchmark).protocol
        other = self.config.methods[method].protocol == "other"
        return benchmark_named(benchmark).other_protocol(given) if other else given

    def image_mode(self, model: str, benchmark: str) -> str | None:
        """Return how a model's pictures of a benchmark become squares; None where the family stretches them."""
        entry = self.model(model)
        declared = benchmark_named(benchmark).image_mode(entry.family, **self.benchmark(benchmark).protocol)
        return entry.image_mode or declared

    def row_options(self, benchmark: str) -> dict[str, Any]:
        """Return the options of a benchmark's protocol that decide which rows it has."""
        given = self.benchmark(benchmark).protocol
        return {name: given[name] for name in benchmark_named(benchmark).row_options if name in given}

    def example_of(self, kind: str) -> str:
        """Return the benchmark on which a kind's FLOPs are counted: the first, so that one added at the end changes nothing."""
        return next(name for name in self.config.benchmarks if self.kind(name) == kind)

    # ---- open questions

    def question(self, name: str) -> Question:
        """Return an open question's entry."""
        entry: Question = getattr(self.config.questions, name)
        return entry

    def question_cells(self, name: str) -> list[tuple[str, str]]:
        """Return the models and benchmarks on which an open question is asked."""
        return self._cells(self.question(name), name)

    def grid_cells(self) -> list[tuple[str, str]]:
        """Return the models and benchmarks on which the grid of schedules runs."""
        return self._cells(self.config.grid)

    def _cells(self, entry: Question | Grid, question: str = "") -> list[tuple[str, str]]:
        models = self.models_for(question) if entry.models is None else entry.models
        # Defaults name benchmarks that a small config may not have.
        return [(model, benchmark) for model in models for benchmark in self.known(entry.benchmarks)]

    # ---- methods

    def method(self, model: str, benchmark: str, method: str) -> Schedule:
        """Return a method resolved for a model and a benchmark's kind."""
        # Benchmarks of one kind share a schedule.
        key = (model, self.kind(benchmark), method)
        if key not in self._resolved:
            self._resolved[key] = resolve(method, self.dims(model), methods=self._methods, kind=key[1], model=model)
        return self._resolved[key]

    def mean_tokens(self, model: str, kind: str, method: str) -> float:
        """Return the image tokens of one picture that enter a layer under a method, in the mean of all layers that look at them."""
        schedule, dims = self.method(model, self.example_of(kind), method), self.dims(model)
        # A method with a smaller image begins with fewer tokens.
        rows, columns = schedule.image_grid or dims.grid
        return mean_tokens(dims, schedule.stages, rows * columns)

    def title(self, method: str) -> str:
        """Return a method's name in tables."""
        return self.config.methods[method].title or method

    # ---- the model of random weights, which is timed alone

    @property
    def random_weights(self) -> RandomWeights:
        """Return its entry. Raise ValueError if the config has none."""
        if self.config.latency.random_weights is None:
            raise ValueError(
                "latency.random_weights: is not there, so nothing of it can be timed; add it, {} is enough"
            )
        return self.config.latency.random_weights

    @property
    def random_weights_text(self) -> str | None:
        """Return what it is in words, None where there is none."""
        entry = self.config.latency.random_weights
        if entry is None:
            return None
        return f"{entry.layers} layers of width {entry.width}, {entry.image_tokens} image and {entry.text_tokens} text tokens"

    def random_schedules(self) -> dict[str, Schedule]:
        """Return the methods that are timed on it, as they are built in: the config's stages are for other depths."""
        entry = self.random_weights
        return {name: resolve(name, entry.dims, kind="qa") for name in entry.methods}

    # ---- what tables and figures show

    def tables(self) -> dict[str, Table]:
        """Return the tables that have at least one column under this config."""
        return {name: table for name, table in self.config.tables.items() if self.columns(name)}

    def columns(self, table: str) -> list[str]:
        """Return a table's benchmarks, as far as the config has them."""
        entry = self.config.tables[table]
        # With `judged: false` a column waits until a judge is configured.
        return [name for name in self.known(entry.benchmarks) if entry.judged or self.scored(name)]

    def table_models(self, table: str) -> list[str]:
        """Return a table's models."""
        chosen = self.config.tables[table].models
        return self.models_for() if chosen is None else chosen

    def table_kinds(self, table: str) -> list[str]:
        """Return the kinds of benchmark that a table shows."""
        return sorted({self.kind(benchmark) for benchmark in self.columns(table)})

    def table_cells(self, table: str) -> list[Cell]:
        """Return the cells of a table."""
        methods = self.config.tables[table].methods
        return [(a, b, c) for a in self.table_models(table) for b in self.columns(table) for c in methods]

    def evaluations(self, model: str | None = None) -> list[Cell]:
        """Return the cells of all tables, or those of one model."""
        # A set, since tables share cells: `vanilla` is in nearly all.
        cells = {cell for table in self.tables() for cell in self.table_cells(table)}
        return sorted(cell for cell in cells if model in (None, cell[0]))

    def kinds(self, model: str) -> list[str]:
        """Return the kinds of benchmark that a model is evaluated on."""
        return sorted({self.kind(benchmark) for _, benchmark, _ in self.evaluations(model)})

    def costed_methods(self, model: str, kind: str) -> list[str]:
        """Return the methods whose FLOPs some table shows for a model and kind."""
        return sorted({method for _, benchmark, method in self.evaluations(model) if self.kind(benchmark) == kind})

    def layer_blocks(self, model: str) -> list[str]:
        """Return the blocks of layers that disruption jobs sweep, as `0-3`: fixed multiples, so that more layers only add blocks."""
        depth, size = self.dims(model).layers, self.config.disruption.layers_per_job
        wanted = set(range(depth)) if self.config.disruption.layers is None else set(self.config.disruption.layers)
        starts = range(0, depth, size)
        return [f"{a}-{min(a + size, depth) - 1}" for a in starts if wanted & set(range(a, a + size))]

    # ---- the files of an evaluation

    def sharded(self) -> list[str]:
        """Return the benchmarks whose evaluations are cut into several jobs."""
        return [name for name, entry in self.config.benchmarks.items() if entry.shards > 1]

    def shards(self, model: str, benchmark: str, method: str) -> list[str]:
        """Return the parts of an evaluation's answers; none where one job writes them all."""
        count = self.benchmark(benchmark).shards
        return self.paths.shards(model, benchmark, method, count) if count > 1 else []

    def judgements(self, model: str, benchmark: str, method: str) -> list[str]:
        """Return the verdicts that a judged benchmark's score is made from."""
        return [self.paths.judgements(model, benchmark, method)] if self.judged(benchmark) else []

    def cell_files(self, model: str, benchmark: str, method: str) -> list[str]:
        """Return what a table reads for a cell: scores, or bare answers while no judge is configured."""
        if self.scored(benchmark):
            return self.paths.scores(model, benchmark, method)
        return [self.paths.predictions(model, benchmark, method)]

    def costs(self, cell: Cell) -> str:
        """Return the file with the FLOPs of a cell's method."""
        model, benchmark, method = cell
        return self.paths.flops(model, self.kind(benchmark), method)
