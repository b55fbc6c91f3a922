"""Two samples of each benchmark through each model: a run's own code, in a folder that is deleted afterwards."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from himap.benchmarks import get as benchmark_named
from himap.benchmarks import read_samples
from himap.project import ROOT
from himap.workflow.plan.plan import Plan
from himap.workflow.preflight.findings import Finding, one_line
from himap.workflow.preflight.sources import source_of

if TYPE_CHECKING:
    from himap.models.model import Model
TRIAL = "Two samples"
SAMPLES = 2
PREFERRED = "himap"  # the method that is tried where the config has it: it does more than the unpruned model


def trial(plan: Plan) -> Iterator[Finding]:
    """Yield one finding for each model and benchmark that a table of the config shows."""
    with TemporaryDirectory(prefix="himap-check-") as name:
        # Each benchmark is prepared once, for all models.
        problems = {task: problem_with(plan, task, Path(name)) for task in plan.config.benchmarks}
        for model in plan.config.models:
            tasks = list(dict.fromkeys(task for _, task, _ in plan.evaluations(model)))
            yield from answers(plan, model, tasks, problems, Path(name))


def problem_with(plan: Plan, benchmark: str, folder: Path) -> str:
    """Prepare two samples of a benchmark as a run does; return why that failed, or an empty text."""
    from himap.benchmarks.samples.prepare import prepare
    from himap.benchmarks.samples.source import from_hub, from_path
    from himap.mini.benchmarks import write

    declared, source, rows = (
        benchmark_named(benchmark),
        source_of(plan, benchmark),
        folder / f"{benchmark}-rows.parquet",
    )
    try:
        if plan.source(benchmark) == "mini":
            write(benchmark, rows, samples=SAMPLES)
            files = from_path(rows, source)
        elif plan.source(benchmark) == "hub":
            files = from_hub(source)
        else:
            files = from_path(ROOT / plan.benchmark(benchmark).source, source)
        out, manifest = samples_of(folder, benchmark), folder / f"{benchmark}.json"
        # With the config's seed and a limit of two, as a run with `limit: 2` would prepare them.
        prepare(declared, source, files, out, manifest, SAMPLES, plan.config.seed, plan.row_options(benchmark))
    except (ValueError, OSError) as error:
        return one_line(error)
    return ""


def samples_of(folder: Path, benchmark: str) -> Path:
    """Return where a benchmark's two samples are."""
    return folder / f"{benchmark}.parquet"


def answers(plan: Plan, name: str, tasks: Sequence[str], problems: dict[str, str], folder: Path) -> Iterator[Finding]:
    """Load a model and yield what it says on each benchmark."""
    entry, checkpoint = plan.model(name), plan.checkpoint(name)
    # The conversion is a job of its own, which a check does not start.
    if entry.convert and not Path(str(checkpoint)).is_dir():
        yield Finding(
            TRIAL, name, None, "a run rewrites its weights first", f"make them with: ./reproduce {checkpoint}"
        )
        return
    try:
        model = loaded(plan, name)
    except Exception as error:  # whatever stops it here would stop the run
        yield Finding(TRIAL, name, False, f"cannot be loaded: {one_line(error)}", "see what is marked ✗ above")
        return
    for task in tasks:
        try:
            if problems[task]:
                raise ValueError(problems[task])
            yield Finding(TRIAL, f"{name}, {task}", True, said(plan, model, name, task, folder))
        except Exception as error:
            words = f"{type(error).__name__}: {one_line(error)}"
            yield Finding(TRIAL, f"{name}, {task}", False, words, "the run would fail in the same way")


def loaded(plan: Plan, name: str) -> Model:
    """Return a model as a job loads it."""
    from himap.workflow.jobs.model_script import open_model

    entry = plan.model(name)
    arguments = Namespace(model=plan.checkpoint(name) or entry.id, revision=entry.revision, device="auto")
    keys = ("dtype", "attention", "template", "image_mode", "text_tower")
    return open_model(arguments, {key: getattr(entry, key) for key in keys})


def said(plan: Plan, model: Model, name: str, task: str, folder: Path) -> str:
    """Return what a model answers to a benchmark's two samples, under which method and on which device."""
    from himap.experiments.batches import answer_all
    from himap.workflow.jobs.model_script import question

    benchmark = benchmark_named(task)
    methods = [method for _, cell, method in plan.evaluations(name) if cell == task]
    # Not every table of a config has `himap`.
    method = PREFERRED if PREFERRED in methods else methods[0]
    protocol = plan.protocol(task, method)
    rows = answer_all(
        model,
        [question(sample, benchmark, model.family, protocol) for sample in read_samples(samples_of(folder, task))],
        plan.method(name, task, method),
        max_new_tokens=benchmark.max_new_tokens(model.family, **protocol),
        min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
        batch_size=SAMPLES,
    )
    texts = "; ".join(repr(" ".join(row["prediction"].split())[:40]) for row in rows)
    return f"{plan.title(method)} on {model.device} says {texts}"
