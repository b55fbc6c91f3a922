"""What a config asks for, as files and as each job's own slice of the settings: all that the rules bind and nothing more.

A slice is one JSON text with sorted keys. Snakemake compares it with the text of the last run, so that a job is stale
exactly if something it uses has changed. Torch is never imported here: this runs each time the workflow is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.models.sizes import Dims
from himap.paper.published import published
from himap.project import ROOT
from himap.pruning.criteria import get as criterion_named
from himap.pruning.resolve import resolve
from himap.workflow.config.model_sizes import dims_of
from himap.workflow.config.schema import FIGURES, Benchmark, Config, Model, Table
from himap.workflow.plan.code_hash import code_version
from himap.workflow.plan.content_hash import as_json, digest, origin
from himap.workflow.plan.staleness import DATA, PROMPTS, SCORES, SCORING

FIGURE_PARTS = {  # whose benchmarks a figure shows
    "figure3": "saliency",
    "figure4": "saliency",
    "figure5": "disruption",
    "figure6": "disruption",
    "figure8": "latency",
    "frontier": "grid",
}
OTHER_TARGETS = ("report", "all", "train_mini", "verify_original")  # beside tables, figures and groups of them
FIGURE_TABLES = {"ablations": ("ablation_stages", "ablation_criteria", "ablation_hierarchy")}


class Plan:
    """The jobs of a config: which there are, what files they make, what each is told."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.out = str(Path(config.output))  # as a script that is told a file's name spells it
        self._resolved: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._methods = {name: method.model_dump(exclude_none=True) for name, method in config.methods.items()}

    # ---- models and benchmarks

    def model(self, name: str) -> Model:
        """A model's entry."""
        return self.config.models[name]

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark's entry."""
        return self.config.benchmarks[name]

    def dims(self, model: str) -> Dims:
        """A model's sizes, from its entry or its config.json."""
        if model not in self._dims:
            self._dims[model] = dims_of(self.model(model))
        return self._dims[model]

    @cached_property
    def _dims(self) -> dict[str, Dims]:
        return {}

    def kind(self, benchmark: str) -> str:
        """The kind of task: qa, caption or open."""
        return benchmark_named(benchmark).task

    def judged(self, benchmark: str) -> bool:
        """Whether a benchmark's answers need a judge."""
        return benchmark_named(benchmark).judged

    def scored(self, benchmark: str) -> bool:
        """Whether a benchmark's answers get a score under this config."""
        return not self.judged(benchmark) or self.config.judge is not None

    def known(self, benchmarks: list[str]) -> list[str]:
        """Those of the benchmarks that the config has an entry for, in the given order."""
        return [name for name in benchmarks if name in self.config.benchmarks]

    def source(self, benchmark: str) -> str:
        """Where a benchmark's rows come from: hub, mini (the embedded world), or path."""
        source = self.benchmark(benchmark).source
        return source if source in ("hub", "mini") else "path"

    def asked(self, benchmark: str) -> dict[str, Any]:
        """What decides whether a result compares with a published one: the split, and how the questions are put."""
        entry, declared = self.benchmark(benchmark), benchmark_named(benchmark)
        return {
            "split": entry.split or declared.source.split,
            "protocol": declared.protocol(entry.protocol),
            "defaults": declared.protocol({}),
        }

    # ---- methods

    def method(self, model: str, benchmark: str, method: str) -> dict[str, Any]:
        """A method resolved for a model and the benchmark's kind of task."""
        key = (model, self.kind(benchmark), method)
        if key not in self._resolved:
            self._resolved[key] = resolve(method, self.dims(model), methods=self._methods, kind=key[1], model=model)
        return self._resolved[key]

    def title(self, method: str) -> str:
        """How tables call a method."""
        return self.config.methods[method].title or method

    def draws(self, method: dict[str, Any]) -> bool:
        """Whether a resolved method uses the seed."""
        return any(stage["criterion"] == "random" for stage in method["stages"])

    def method_json(self, model: str, benchmark: str, method: str) -> str:
        """A resolved method, as a script is told it."""
        return as_json(self.method(model, benchmark, method))

    # ---- slices of the settings, and arguments that say the same to a script

    def checkpoint(self, model: str) -> str | None:
        """The folder that a model is loaded from; None if the hub library keeps it."""
        return self.converted(model)[0] if self.converted(model) else self.model(model).path

    def converted(self, model: str) -> list[str]:
        """The folder that a conversion makes, for a model that needs one."""
        return [f"{self.out}/models/{model}/checkpoint"] if self.model(model).convert else []

    def model_arguments(self, model: str) -> list[str]:
        """How a script is told which model to load."""
        folder = self.checkpoint(model)
        return ["--model", folder] if folder else ["--model", *self.pinned(model)]

    def fetch_arguments(self, model: str) -> list[str]:
        """Where a model comes from."""
        folder = self.checkpoint(model)
        return ["--path", folder] if folder else ["--id", *self.pinned(model)]

    def pinned(self, model: str) -> list[str]:
        """A hub model's id and revision."""
        return [str(self.model(model).id), "--revision", str(self.model(model).revision)]

    def conversion_arguments(self, model: str) -> list[str]:
        """What a conversion reads."""
        entry = self.model(model)
        arguments = ["--source", entry.path] if entry.path else ["--source", *self.pinned(model)]
        arguments += ["--tower", entry.tower] if entry.tower else []
        return arguments + (["--tower-revision", entry.tower_revision] if entry.tower_revision else [])

    def conversion_settings(self, model: str) -> str:
        """What identifies a conversion's sources: ids and revisions, or the contents of folders."""
        entry = self.model(model)
        settings: dict[str, Any] = {"source": origin(entry.path, entry.id, entry.revision)}
        if entry.tower:
            local = entry.tower if (ROOT / entry.tower).is_dir() else None
            settings["tower"] = origin(local, entry.tower, entry.tower_revision)
        return as_json(settings)

    # ---- the comparison with the original LLaVA-v1.5

    def original(self, model: str) -> dict[str, str] | None:
        """Where a model's weights are as LLaVA's authors published them, if that is known."""
        entry = self.model(model)
        if entry.family != "llava":
            return None
        if entry.original:
            return origin(entry.original.path, entry.original.id, entry.original.revision)
        return origin(entry.path, entry.id, entry.revision) if entry.convert else None

    def verifications(self) -> list[str]:
        """The tables of the comparison, one per model that has an original."""
        names = [name for name in self.config.models if self.original(name)]
        if not names or not self.known([self.config.verification.benchmark]):
            raise ValueError(
                "verify_original: needs a model of the family llava with `convert` or `original`, and the benchmark "
                f"{self.config.verification.benchmark} in the config (docs/models.md)"
            )
        return [f"{self.out}/verification/{name}/table.csv" for name in names]

    def original_arguments(self, model: str) -> list[str]:
        """Where the original implementation finds its checkpoint."""
        source, tower = self.original(model) or {}, self.model(model).tower
        arguments = ["--checkpoint", source.get("path") or source.get("id", "")]
        arguments += ["--revision", source["revision"]] if "revision" in source else []
        return arguments + (["--tower", tower] if tower else [])

    def verification_arguments(self, model: str) -> list[str]:
        """What both implementations are asked, and in which precision."""
        part = self.config.verification
        arguments = ["--benchmark", part.benchmark, "--limit", str(part.samples)]
        return [*arguments, "--max-new-tokens", str(part.new_tokens), "--dtype", self.model(model).dtype]

    def verification_settings(self, model: str) -> str:
        """The same as a slice."""
        return as_json(self.verification_arguments(model))

    def original_settings(self, model: str) -> str:
        """What identifies the original's checkpoint."""
        return as_json(self.original(model) or {})

    def drawing_settings(self, benchmark: str) -> str:
        """How many samples of the embedded world are drawn; all from the generator's own seed."""
        return as_json({"benchmark": benchmark, "limit": self.benchmark(benchmark).limit})

    def drawing_arguments(self, benchmark: str) -> list[str]:
        """The same for the generator."""
        limit = self.benchmark(benchmark).limit
        return ["--benchmark", benchmark, *(["--limit", str(limit)] if limit else [])]

    def sample_inputs(self, benchmark: str) -> list[str]:
        """What a benchmark's samples are made from, if a rule makes it."""
        return [f"{self.out}/mini-world/{benchmark}.parquet"] if self.benchmark(benchmark).source == "mini" else []

    def sample_arguments(self, benchmark: str) -> list[str]:
        """Where a benchmark's rows come from, and which of them."""
        entry = self.benchmark(benchmark)
        arguments = (
            ["--from-hub"]
            if entry.source == "hub"
            else ["--from-path", *(self.sample_inputs(benchmark) or [entry.source])]
        )
        for key in ("id", "config", "split", "revision"):
            if getattr(entry, key) is not None:
                arguments += [f"--{key}", getattr(entry, key)]
        if entry.limit is not None and entry.source != "mini":
            arguments += ["--limit", str(entry.limit), "--seed", str(self.config.seed)]
        return arguments

    def fetch_settings(self, model: str) -> str:
        """What identifies a model: its id and revision, or the contents of its folder."""
        entry = self.model(model)
        if entry.convert:
            return self.conversion_settings(model)
        return as_json(origin(entry.path, entry.id, entry.revision))

    def sample_settings(self, benchmark: str) -> str:
        """Where a benchmark's samples come from, and which of them."""
        entry = self.benchmark(benchmark)
        keys = ("source", "id", "config", "split", "revision", "limit")
        settings = {key: getattr(entry, key) for key in keys if getattr(entry, key) is not None}
        if entry.limit is not None and entry.source != "mini":
            settings["seed"] = self.config.seed
        return as_json(settings)

    def evaluation_settings(self, model: str, benchmark: str, method: str) -> str:
        """Precision, protocol and, if the method draws at random, the seed."""
        entry, task = self.model(model), self.benchmark(benchmark)
        settings = self.loading(entry) | {
            "batch_size": self.config.execution.batch_size,
            "protocol": task.protocol,
            "max_new_tokens": task.max_new_tokens,
        }
        if self.draws(self.method(model, benchmark, method)):
            settings["seed"] = self.config.seed
        return as_json(settings)

    def loading(self, entry: Model) -> dict[str, Any]:
        """How a model is loaded and addressed."""
        keys = ("dtype", "attention", "template", "image_mode")
        return {key: getattr(entry, key) for key in keys if getattr(entry, key) is not None}

    def saliency_settings(self, model: str, benchmark: str) -> str:
        """The saliency run's settings for one model and benchmark."""
        part = self.config.saliency.model_dump(exclude={"benchmarks"}, exclude_none=True)
        seed = {"seed": self.config.seed} if "random" in part["weights"] else {}
        return as_json(self.loading(self.model(model)) | part | self.asking(benchmark) | seed)

    def disruption_settings(self, model: str, benchmark: str) -> str:
        """The disruption sweep's settings; the layers are named by the job."""
        exclude = {"benchmarks", "layers", "layers_per_job", "edge"}
        part = self.config.disruption.model_dump(exclude=exclude, exclude_none=True)
        if "window" not in part["extents"]:
            del part["window"]
        seed = {"seed": self.config.seed} if any("random" in flow for flow in part["flows"]) else {}
        return as_json(self.loading(self.model(model)) | part | self.asking(benchmark) | seed)

    def asking(self, benchmark: str) -> dict[str, Any]:
        """How a benchmark's questions are put."""
        return {"protocol": self.benchmark(benchmark).protocol}

    def grid_settings(self, model: str, benchmark: str) -> str:
        """The grid's points and samples."""
        part = self.config.grid.model_dump(exclude={"benchmarks"}, exclude_none=True)
        entry = self.benchmark(benchmark)
        asking = self.asking(benchmark) | {"max_new_tokens": entry.max_new_tokens}
        return as_json(self.loading(self.model(model)) | part | asking)

    def flops_settings(self, model: str, kind: str) -> str:
        """How FLOPs are counted."""
        part = {"measured": self.config.flops.measured} | self.asking(self.example_of(kind))
        return as_json(self.loading(self.model(model)) | part)

    def latency_settings(self, model: str, benchmark: str) -> str:
        """How latency is timed."""
        part = {"examples": self.config.latency.examples, "rounds": self.config.latency.rounds}
        entry = self.benchmark(benchmark)
        asking = self.asking(benchmark) | {"max_new_tokens": entry.max_new_tokens}
        return as_json(self.loading(self.model(model)) | part | asking)

    def costed_methods(self, model: str, kind: str) -> str:
        """All methods whose FLOPs some table or figure needs for a kind of task, resolved."""
        benchmark = self.example_of(kind)
        names = sorted({method for _, task, method in self.evaluations(model) if self.kind(task) == kind})
        return as_json({name: self.method(model, benchmark, name) for name in names})

    def timed_methods(self, model: str, benchmark: str) -> str:
        """The methods that are timed against each other, resolved."""
        return as_json({name: self.method(model, benchmark, name) for name in self.config.latency.methods})

    def judge_settings(self) -> str:
        """Return what decides a result: the judging model, the runs, the unreadable share; never the key or the address."""
        judge = self.config.judge
        return as_json({"model": judge.model, "runs": judge.runs, "unreadable": judge.unreadable} if judge else {})

    def judge_arguments(self) -> list[str]:
        """Return the judge as the judging script is told it: what decides a result, and how it is reached."""
        judge = self.config.judge
        if judge is None:
            return []
        arguments = ["--base-url", judge.base_url, "--cache-dir", judge.cache, "--concurrency", str(judge.concurrency)]
        arguments += ["--unreadable", str(judge.unreadable)]
        arguments += ["--model", judge.model] if judge.model else []
        return arguments + (["--runs", str(judge.runs)] if judge.runs else [])

    def judgements(self, benchmark: str, model: str, method: str) -> list[str]:
        """The verdicts that a judged benchmark's score is made from."""
        if not self.judged(benchmark):
            return []
        return [self.evaluation(model, benchmark, method, "judgements.jsonl")]

    def judged_arguments(self, benchmark: str, model: str, method: str) -> list[str]:
        """The same for the scoring script."""
        files = self.judgements(benchmark, model, method)
        return ["--judgements", *files] if files else []

    def sizes_json(self, model: str) -> str:
        """A decoder's sizes, for FLOPs by formula."""
        return as_json(dataclasses.asdict(self.dims(model)))

    def memory(self, model: str, attempt: int = 1) -> int:
        """Main memory in MB that a model's job asks for, more at each attempt."""
        return self.model(model).memory_gb * 1000 * attempt

    def evaluation_memory(self, attempt: int = 1) -> int:
        """The same for any evaluation, since evaluations of several models may share one job array and so one request."""
        return max(self.memory(name, attempt) for name in self.config.models)

    def evaluation_gpus(self) -> int:
        """GPUs of any evaluation, for the same reason."""
        return max(model.gpus for model in self.config.models.values())

    def runtime(self, attempt: int = 1) -> int:
        """Minutes that a model's job asks for, more at each attempt."""
        return self.config.execution.runtime_minutes * attempt

    def cores(self, model: str, available: int | None) -> int:
        """Processor cores of a job that measures time: all of them if it runs on the processor, so that nothing disturbs it."""
        return available or 1 if self.model(model).gpus == 0 else self.config.execution.threads

    # ---- which jobs there are

    def tables(self) -> dict[str, Table]:
        """Tables that have at least one column under this config."""
        return {name: table for name, table in self.config.tables.items() if self.columns(name)}

    def columns(self, table: str) -> list[str]:
        """A table's benchmarks that the config has."""
        entry = self.config.tables[table]
        return [name for name in self.known(entry.benchmarks) if entry.judged or self.scored(name)]

    def table_models(self, table: str) -> list[str]:
        """A table's models."""
        chosen = self.config.tables[table].models
        return list(self.config.models) if chosen is None else chosen

    def table_cells(self, table: str) -> list[tuple[str, str, str]]:
        """The (model, benchmark, method) that a table shows."""
        methods = self.config.tables[table].methods
        return [(a, b, c) for a in self.table_models(table) for b in self.columns(table) for c in methods]

    def evaluations(self, model: str | None = None) -> list[tuple[str, str, str]]:
        """All (model, benchmark, method) that any table shows."""
        cells = {cell for table in self.tables() for cell in self.table_cells(table)}
        return sorted(cell for cell in cells if model in (None, cell[0]))

    def kinds(self, model: str) -> list[str]:
        """The kinds of task that a model is evaluated on."""
        return sorted({self.kind(benchmark) for _, benchmark, _ in self.evaluations(model)})

    def table_kinds(self, table: str) -> list[str]:
        """The kinds of task that a table shows."""
        return sorted({self.kind(benchmark) for benchmark in self.columns(table)})

    def example_of(self, kind: str) -> str:
        """The first benchmark of a kind of task stands for all where FLOPs are counted, so that a new one at the end changes nothing."""
        return next(name for name in self.config.benchmarks if self.kind(name) == kind)

    def layer_blocks(self, model: str) -> list[str]:
        """The blocks of layers that disruption jobs work through, as `0-3`: fixed multiples, so that more layers add blocks."""
        depth, size = self.dims(model).layers, self.config.disruption.layers_per_job
        wanted = set(range(depth)) if self.config.disruption.layers is None else set(self.config.disruption.layers)
        starts = range(0, depth, size)
        return [f"{a}-{min(a + size, depth) - 1}" for a in starts if wanted & set(range(a, a + size))]

    # ---- files

    def samples(self, benchmark: str) -> str:
        """The benchmark's samples."""
        return f"{self.out}/benchmarks/{benchmark}/samples.parquet"

    def benchmark_manifest(self, benchmark: str) -> str:
        """The record of where the samples come from."""
        return f"{self.out}/benchmarks/{benchmark}/manifest.json"

    def manifest(self, model: str) -> str:
        """The record that a model is here, with its files' checksums."""
        return f"{self.out}/models/{model}/manifest.json"

    def evaluation(self, model: str, benchmark: str, method: str, name: str) -> str:
        """A file of an evaluation."""
        return f"{self.out}/evaluation/{model}/{benchmark}/{method}/{name}"

    def shards(self, model: str, benchmark: str, method: str) -> list[str]:
        """The pieces of an evaluation's predictions."""
        count = self.benchmark(benchmark).shards
        return [self.evaluation(model, benchmark, method, f"shard-{i}-of-{count}.jsonl") for i in range(count)]

    def result(self, model: str, benchmark: str, method: str) -> list[str]:
        """What a table reads of a cell: scores, or bare predictions while there is no judge."""
        names = ("score.json", "per_sample.parquet") if self.scored(benchmark) else ("predictions.jsonl",)
        return [self.evaluation(model, benchmark, method, name) for name in names]

    def flops(self, model: str, kinds: list[str]) -> list[str]:
        """A model's costs, one file per kind of task."""
        return [f"{self.out}/flops/{model}/{kind}.csv" for kind in kinds]

    def table_inputs(self, table: str) -> list[str]:
        """All that a table is made from."""
        files = [file for cell in self.table_cells(table) for file in self.result(*cell)]
        return files + [
            file for model in self.table_models(table) for file in self.flops(model, self.table_kinds(table))
        ]

    def table_files(self, table: str) -> list[str]:
        """A table in its four forms."""
        return [f"{self.out}/tables/{table}.{form}" for form in ("csv", "tex", "md", "html")]

    def figure_files(self, figure: str) -> list[str]:
        """A figure in its three forms."""
        return [f"{self.out}/figures/{figure}.{form}" for form in ("svg", "pdf", "png")]

    def figures(self) -> list[str]:
        """The figures that have something to show under this config."""
        return [name for name in FIGURES if self.figure_inputs(name) or name == "figure7"]

    def figure_inputs(self, figure: str) -> list[str]:
        """The results that a figure's data is drawn together from."""
        models, out = list(self.config.models), self.out
        if figure in ("figure3", "figure4"):
            tasks = self.known(self.config.saliency.benchmarks)
            return [f"{out}/saliency/{model}/{task}/saliency.parquet" for model in models for task in tasks]
        if figure in ("figure5", "figure6"):
            tasks = self.known(self.config.disruption.benchmarks)
            return [
                f"{out}/disruption/{model}/{task}/layers-{block}.parquet"
                for model in models
                for task in tasks
                for block in self.layer_blocks(model)
            ]
        if figure == "figure8":
            tasks = self.known(self.config.latency.benchmarks)
            return [f"{out}/latency/{model}/{task}.csv" for model in models for task in tasks]
        if figure == "frontier":
            tasks = self.known(self.config.grid.benchmarks)
            return [f"{out}/grid/{model}/{task}/scores.csv" for model in models for task in tasks]
        if figure == "ablations":
            return [f"{out}/tables/{table}.csv" for table in FIGURE_TABLES["ablations"] if table in self.tables()]
        return []

    # ---- the jobs behind each table and figure, as the files that each of them leaves

    @cached_property
    def experiments(self) -> dict[str, list[tuple[str, ...]]]:
        """Return the jobs that each table and each figure needs, from models and benchmarks on."""
        jobs = {name: self.table_jobs(name) for name in self.tables()}
        jobs |= {name: self.figure_jobs(name) for name in self.figures()}
        return {name: list(dict.fromkeys(listed)) for name, listed in jobs.items()}

    def products(self, names: Iterable[str]) -> list[str]:
        """Return every file that some tables and figures consist of or are made from, temporary files left out."""
        temporary = {file for benchmark in self.config.benchmarks for file in self.sample_inputs(benchmark)}
        files = dict.fromkeys(file for name in names for job in self.experiments[name] for file in job)
        return [file for file in files if file not in temporary]

    def table_jobs(self, table: str) -> list[tuple[str, ...]]:
        """Return the jobs behind a table, itself included."""
        jobs = [job for cell in self.table_cells(table) for job in self.evaluation_jobs(*cell)]
        for model in self.table_models(table):
            for kind in self.table_kinds(table):
                jobs += [*self.source_jobs(model, self.example_of(kind)), (*self.flops(model, [kind]),)]
        return [*jobs, (*self.table_files(table),)]

    def figure_jobs(self, figure: str) -> list[tuple[str, ...]]:
        """Return the jobs behind a figure, itself included."""
        jobs: list[tuple[str, ...]] = []
        for file in self.figure_inputs(figure):
            if Path(file).parent == Path(self.out, "tables"):
                jobs += self.table_jobs(Path(file).stem)
                continue
            step, model, task = file.removeprefix(f"{self.out}/").split("/")[:3]
            jobs += self.source_jobs(model, Path(task).stem)
            jobs += [(f"{self.out}/grid/{model}/{task}/predictions.jsonl",)] if step == "grid" else []
            jobs.append((file,))
        return [*jobs, (f"{self.out}/figures/data/{figure}.csv",), (*self.figure_files(figure),)]

    def source_jobs(self, model: str, benchmark: str) -> list[tuple[str, ...]]:
        """Return the jobs that bring a model and a benchmark here."""
        converted = [(folder,) for folder in self.converted(model)]
        drawn = [(file,) for file in self.sample_inputs(benchmark)]
        samples = (self.samples(benchmark), self.benchmark_manifest(benchmark))
        return [*converted, (self.manifest(model),), *drawn, samples]

    def evaluation_jobs(self, model: str, benchmark: str, method: str) -> list[tuple[str, ...]]:
        """Return the jobs behind a cell of a table."""
        jobs = [*self.source_jobs(model, benchmark), *[(file,) for file in self.shards(model, benchmark, method)]]
        jobs.append((self.evaluation(model, benchmark, method, "predictions.jsonl"),))
        if self.scored(benchmark):
            jobs += [(file,) for file in self.judgements(benchmark, model, method)]
            jobs.append((*self.result(model, benchmark, method),))
        return jobs

    def members(self) -> dict[str, list[str]]:
        """Return the tables and figures that each target stands for."""
        figures = self.figures()
        single = {name: [name] for name in [*self.tables(), *figures] if name != "ablations"}
        ablations = [name for name in figures if name == "ablations"]
        return {**single, "ablations": ablations, "tables": list(self.tables()), "figures": figures}

    def targets(self) -> dict[str, list[str]]:
        """Return what can be asked for by name, and the files to look at afterwards."""
        files = {name: self.table_files(name) for name in self.tables()}
        files |= {name: self.figure_files(name) for name in self.figures()}
        named = {target: [file for name in names for file in files[name]] for target, names in self.members().items()}
        tables = FIGURE_TABLES["ablations"] if named["ablations"] else ()
        named["ablations"] += [file for name in tables if name in files for file in files[name]]
        return {**named, "flops": self.all_flops()}

    def all_flops(self) -> list[str]:
        """The costs of all models."""
        return [file for model in self.config.models for file in self.flops(model, self.kinds(model))]

    def table_settings(self, table: str) -> str:
        """What a table is told: its rows and columns, their names, and what it is compared with."""
        entry = self.config.tables[table]
        models = {
            name: {"published": self.model(name).published, "kinds": self.table_kinds(table)}
            for name in self.table_models(table)
        }
        benchmarks = {
            name: {
                "source": self.source(name),
                "asked": self.asked(name),
                "kind": self.kind(name),
                "scored": self.scored(name),
            }
            for name in self.columns(table)
        }
        return as_json(
            {
                "name": table,
                "title": entry.title,
                "models": models,
                "benchmarks": benchmarks,
                "benchmark_order": self.columns(table),
                "methods": [{"name": name, "title": self.title(name)} for name in entry.methods],
                "published": digest([published_part("tables", table), published()["protocols"]]),
            }
        )

    def figure_settings(self, figure: str) -> str:
        """What goes into a figure's data beside the results: names, and the stages that Figure 7 shows."""
        settings: dict[str, Any] = {"models": {}, "published": digest(published_part("figures", figure))}
        for name in self.config.models:
            settings["models"][name] = {"published": self.model(name).published, "layers": self.dims(name).layers}
        if figure in FIGURE_PARTS:
            settings["benchmarks"] = self.known(getattr(self.config, FIGURE_PARTS[figure]).benchmarks)
        if figure in ("figure5", "figure6"):
            settings["layers"] = self.config.disruption.layers
            settings["blocks"] = {
                name: [f"layers-{block}.parquet" for block in self.layer_blocks(name)] for name in self.config.models
            }
        if figure == "figure5":
            settings["edge"] = self.config.disruption.edge
        if figure == "ablations":
            settings["tables"] = [table for table in FIGURE_TABLES["ablations"] if table in self.tables()]
        if figure in ("figure7", "figure8"):
            settings["order"] = self.config.latency.methods
            settings["methods"] = {name: self.title(name) for name in settings["order"]}
        if figure == "figure7":
            for name in self.config.models:
                example = {kind: self.example_of(kind) for kind in self.kinds(name)}
                settings["models"][name] |= {
                    "image_tokens": self.dims(name).tokens_per_image,
                    "stages": {
                        kind: {
                            method: self.method(name, task, method)["stages"] for method in self.config.latency.methods
                        }
                        for kind, task in example.items()
                    },
                }
        return as_json(settings)

    def style(self, figure: str) -> str:
        """How a figure looks, and what stands above it where it is of the embedded world."""
        mini = any(entry.source == "mini" for entry in self.config.benchmarks.values())
        note = {"note": "embedded world: not the paper's numbers"} if mini else {}
        return as_json(getattr(self.config.figures, figure).model_dump() | note)

    # ---- code that a job really runs, what registries import by name included

    def family_module(self, model: str) -> str:
        """The module of a model's family."""
        return f"himap.models.families.{self.model(model).family}"

    def evaluation_code(self, model: str, benchmark: str, method: str) -> str:
        """Version of the code that one evaluation runs."""
        resolved = self.method(model, benchmark, method)
        criteria = {criterion_named(stage["criterion"]).score.__module__ for stage in resolved["stages"]}
        return self.model_code("evaluate_method.py", model, benchmark, *sorted(criteria))

    def model_code(self, script: str, model: str, benchmark: str, *others: str) -> str:
        """Version of the code that asks a model a benchmark's questions: how they are put counts, how they are scored does not."""
        roots = (script, self.family_module(model), f"himap.benchmarks.{benchmark}", *others)
        return code_version(*roots, without=SCORING, unused=(*SCORES, *DATA))

    def sample_code(self, benchmark: str) -> str:
        """Version of the code that brings a benchmark's rows into samples."""
        roots = ("download_benchmark.py", f"himap.benchmarks.{benchmark}")
        return code_version(*roots, without=SCORING, unused=(*SCORES, *PROMPTS))

    def disruption_code(self, model: str, benchmark: str) -> str:
        """Version of the code of the disruption sweep, which also scores the undisturbed answers."""
        roots = ("disrupt_attention.py", self.family_module(model), f"himap.benchmarks.{benchmark}")
        return code_version(*roots, without=SCORING, unused=DATA)

    def table_code(self, table: str) -> str:
        """Version of the code that makes a table: it compares by the benchmarks' own results."""
        columns = [f"himap.benchmarks.{name}" for name in self.columns(table)]
        return code_version("make_table.py", *columns, unused=(*PROMPTS, *DATA))

    def figure_code(self, script: str, module: str, figure: str) -> str:
        """Version of the code behind one figure: its own function of a module, and what that needs."""
        return code_version(script, f"{module}#{figure}")

    def score_code(self, script: str, benchmark: str) -> str:
        """Version of the code that scores or judges a benchmark's answers."""
        return code_version(script, f"himap.benchmarks.{benchmark}", unused=(*PROMPTS, *DATA))


def published_part(kind: str, name: str) -> Any:
    """What the paper prints for one table or figure, or nothing."""
    return published()[kind].get(name)
