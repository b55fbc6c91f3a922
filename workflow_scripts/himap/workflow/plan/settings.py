"""What decides each job's result, as that job's own slice of the config.

A slice is one JSON text with sorted keys. Snakemake compares it with the text of the last run, so that a job is stale
exactly if something it uses has changed. How a job runs (batch size, threads, memory, the judge's address) is in no slice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from himap.costs.printed import stated_stages
from himap.figures import get as figure_named
from himap.paper import rivals
from himap.paper.published import published
from himap.pruning.resolve import resolve
from himap.workflow.plan.content_hash import as_json, digest, origin
from himap.workflow.plan.originals import conversion_settings
from himap.workflow.plan.plan import Plan

EFFICIENCY_TITLE = "Efficiency: time, memory and operations"
STATED = {
    "qa": "table1",
    "caption": "table2",
    "open": "table3",
}  # whose captions state the stages for a kind of benchmark

# ---- models and benchmarks


def fetch(plan: Plan, model: str) -> str:
    """Return what identifies a model: its id and revision, or the contents of its folder."""
    entry = plan.model(model)
    if entry.convert:
        return conversion_settings(plan, model)
    source = origin(entry.path, entry.id, entry.revision)
    return as_json(source if entry.text_tower is None else {"source": source, "text_tower": entry.text_tower})


def drawing(plan: Plan, benchmark: str) -> str:
    """Return how many samples of the embedded world are drawn; its generator has a seed of its own."""
    return as_json({"benchmark": benchmark, "limit": plan.benchmark(benchmark).limit})


def samples(plan: Plan, benchmark: str) -> str:
    """Return where a benchmark's samples come from, and which of them are taken."""
    entry = plan.benchmark(benchmark)
    keys = ("source", "id", "config", "split", "revision", "limit")
    settings = {key: getattr(entry, key) for key in keys if getattr(entry, key) is not None}
    # Without a limit nothing is drawn, so another seed must not make the samples stale.
    if entry.limit is not None and entry.source != "mini":
        settings["seed"] = plan.config.seed
    return as_json(settings | plan.row_options(benchmark))


def loading(plan: Plan, model: str) -> dict[str, Any]:
    """Return how a model is loaded and addressed."""
    entry, keys = plan.model(model), ("dtype", "attention", "template", "image_mode", "text_tower")
    return {key: getattr(entry, key) for key in keys if getattr(entry, key) is not None}


def asking(plan: Plan, benchmark: str) -> dict[str, Any]:
    """Return how a benchmark's questions are put."""
    return {"protocol": plan.benchmark(benchmark).protocol}


def answering(plan: Plan, benchmark: str) -> dict[str, Any]:
    """Return how a benchmark's questions are put, and how long an answer may get."""
    return asking(plan, benchmark) | {"max_new_tokens": plan.benchmark(benchmark).max_new_tokens}


# ---- experiments


def evaluation(plan: Plan, model: str, benchmark: str, method: str) -> str:
    """Return precision, protocol and, if the method draws at random, the seed."""
    settings = loading(plan, model) | answering(plan, benchmark) | {"protocol": plan.protocol(benchmark, method)}
    if dtype := plan.config.methods[method].dtype:
        # The method `in_bfloat16` and its like: the method decides, not the model's entry.
        settings["dtype"] = dtype
    if any(stage.criterion == "random" for stage in plan.method(model, benchmark, method).stages):
        settings["seed"] = plan.config.seed
    return as_json(settings)


def judge(plan: Plan) -> str:
    """Return what decides a verdict: the judging model, the runs, the share that may be unreadable."""
    entry = plan.config.judge
    return as_json({key: getattr(entry, key) for key in ("model", "runs", "unreadable")} if entry else {})


def saliency(plan: Plan, model: str, benchmark: str) -> str:
    """Return the settings of saliency on one model and benchmark."""
    part = plan.config.saliency.model_dump(exclude={"benchmarks"}, exclude_none=True)
    seed = {"seed": plan.config.seed} if "random" in part["weights"] else {}
    return as_json(loading(plan, model) | part | asking(plan, benchmark) | seed)


def disruption(plan: Plan, model: str, benchmark: str) -> str:
    """Return the settings of the disruption sweep; its layers are in the job's file name."""
    # `edge` is how Figure 5 averages; a sweep does not depend on it.
    exclude = {"benchmarks", "layers", "layers_per_job", "edge"}
    part = plan.config.disruption.model_dump(exclude=exclude, exclude_none=True)
    # A width that nothing uses must not make a sweep stale.
    if "window" not in part["extents"]:
        del part["window"]
    seed = {"seed": plan.config.seed} if any("random" in flow for flow in part["flows"]) else {}
    return as_json(loading(plan, model) | part | asking(plan, benchmark) | seed)


def question(plan: Plan, name: str, model: str, benchmark: str) -> str:
    """Return the settings of an open question on one model and benchmark."""
    entry = plan.question(name)
    # The seed always: whether a question draws at random is known to its own file alone.
    part = {"limit": entry.limit, **entry.settings, "seed": plan.config.seed}
    return as_json(loading(plan, model) | answering(plan, benchmark) | part)


def grid(plan: Plan, model: str, benchmark: str) -> str:
    """Return the grid's points and samples."""
    part = plan.config.grid.model_dump(exclude={"benchmarks", "models"}, exclude_none=True)
    return as_json(loading(plan, model) | part | answering(plan, benchmark))


def flops(plan: Plan, model: str, kind: str) -> str:
    """Return how FLOPs are counted."""
    part = {"measured": plan.config.flops.measured} | asking(plan, plan.example_of(kind))
    return as_json(loading(plan, model) | part)


def latency(plan: Plan, model: str, benchmark: str) -> str:
    """Return how time and memory are measured."""
    entry = plan.config.latency
    batches = batches_of(entry.batches, plan.model(model).gpus)
    part = {"examples": entry.examples, "rounds": entry.rounds, "batches": batches, "eager": entry.eager}
    return as_json(loading(plan, model) | part | answering(plan, benchmark))


def batches_of(asked: list[int] | None, gpus: int) -> list[int]:
    """Return the further batch sizes; of their own accord 32 only where a GPU computes, which alone gains by it."""
    return asked if asked is not None else [8, 32] if gpus else [8]


def random_latency(plan: Plan) -> str:
    """Return how time and memory of a model of random weights are measured; its sizes and methods are told apart from it."""
    entry = plan.random_weights
    keys = {"text_tokens", "new_tokens", "examples", "rounds", "batches", "eager", "dtype"}
    return as_json(entry.model_dump(include=keys) | {"seed": plan.config.seed})


# ---- tables and figures


def budget_facts(plan: Plan, name: str) -> dict[str, Any]:
    """Return what a table with budgets is told beside the others: each row's method and budget, and how models see pictures."""
    models, columns = plan.table_models(name), plan.columns(name)
    rows = [method for method in plan.config.tables[name].methods if plan.config.methods[method].tokens_of is not None]
    return {
        "rows": {
            method: {"of": plan.config.methods[method].like, "budget": str(plan.config.methods[method].tokens_of)}
            for method in rows
        },
        "tokens": {
            model: {
                kind: {method: plan.mean_tokens(model, kind, method) for method in rows}
                for kind in plan.table_kinds(name)
            }
            for model in models
        },
        "grids": {model: list(plan.dims(model).grid) for model in models},
        "padded": {model: [task for task in columns if plan.image_mode(model, task) == "pad"] for model in models},
        "published": digest(rivals.published()),
    }


def restaged(plan: Plan, model: str, kind: str, methods: list[str]) -> list[str]:
    """Return the methods whose schedules are not those that the paper states for this model and kind of benchmark."""
    table, published_as = STATED[kind], plan.model(model).published
    theirs = published()["tables"][table]["cells"].get(published_as, {})
    changed = []
    for method in (name for name in methods if name in theirs):  # the paper prints no others
        # From the built-in method, not the config's, which may have changed stages: that is what is asked here.
        builtin = resolve(method, plan.dims(model), kind=kind)
        stated = stated_stages(table, published_as or "", method)
        # The paper states layers and shares, the built-in method adds by what its tokens are ranked.
        stages = zip(builtin.stages, stated, strict=True)
        moved = tuple(replace(stage, layer=drop.layer, keep=drop.keep) for stage, drop in stages)
        if plan.method(model, plan.example_of(kind), method) != replace(builtin, stages=moved):
            changed.append(method)
    return changed


def table(plan: Plan, name: str) -> str:
    """Return a table's rows and columns, their titles, and what it is compared with."""
    entry = plan.config.tables[name]
    models = {
        model: {
            "published": plan.model(model).published,
            "family": plan.model(model).family,
            "kinds": plan.table_kinds(name),
            "template": plan.model(model).template,
            "image_mode": plan.model(model).image_mode,
            "restaged": {kind: restaged(plan, model, kind, entry.methods) for kind in plan.table_kinds(name)},
        }
        for model in plan.table_models(name)
    }
    benchmarks = {
        benchmark: {
            "source": plan.source(benchmark),
            "asked": plan.asked(benchmark),
            "kind": plan.kind(benchmark),
            "scored": plan.scored(benchmark),
        }
        for benchmark in plan.columns(name)
    }
    budgets = {"budgets": budget_facts(plan, name)} if entry.budgets else {}
    return as_json(
        {
            **budgets,
            "name": name,
            "title": entry.title,
            "models": models,
            "benchmarks": benchmarks,
            # A key of its own, because sorted JSON forgets the order of the mapping above.
            "benchmark_order": plan.columns(name),
            "methods": [{"name": method, "title": plan.title(method)} for method in entry.methods],
            # As a hash: a corrected value in published.yaml renews the table, and the text stays short.
            "published": digest([published()["tables"].get(name), published()["protocols"]]),
        }
        | ({"latex_rows": entry.latex_rows} if entry.latex_rows else {})
    )


def efficiency(plan: Plan) -> str:
    """Return what the table of time and memory shows, in which order: what Figure 8 does."""
    return as_json({"title": EFFICIENCY_TITLE, "models": plan.models_for(), **figure_named("figure8").settings(plan)})


def figure(plan: Plan, name: str) -> str:
    """Return what a figure's numbers depend on beside the results: the models' sizes, published values, and what it asks for."""
    models = {
        model: {"published": plan.model(model).published, "layers": plan.dims(model).layers}
        for model in plan.models_for(name)
    }
    common = {"models": models, "published": digest(published()["figures"].get(name))}
    return as_json(common | figure_named(name).settings(plan))


def style(plan: Plan, figure: str) -> str:
    """Return how a figure looks, and the note above it if it is of the embedded world."""
    mini = any(entry.source == "mini" for entry in plan.config.benchmarks.values())
    note = {"note": "embedded world: not the paper's numbers"} if mini else {}
    return as_json(getattr(plan.config.figures, figure).model_dump() | note)
