"""What can be asked for by name: tables, figures and groups of them, and the jobs behind each as the files that they write."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from himap.figures import get as figure_named
from himap.figures import registry as known_figures
from himap.workflow.plan.passes import COSTS, SCORES, jobs_of
from himap.workflow.plan.plan import Cell, Plan

GRID_FILES = ("predictions.jsonl", "scores.csv", "samples.csv")  # answers; then what one job makes of them

EFFICIENCY = "efficiency"  # the table of time and memory, which shows no scores
# Besides tables, figures and groups of them: every rule that needs no names of models or benchmarks.
OTHER_TARGETS = ("report", "all", "time_random_weights", "tabulate_efficiency", "train_mini", "verify_original")

Job = tuple[str, ...]  # the files that one job writes


# ---- what tables and figures read


def table_inputs(plan: Plan, table: str) -> list[str]:
    """Return the files that a table is made from."""
    cells = plan.table_cells(table)
    if plan.config.tables[table].budgets:  # it looks at the answers too, and at the pictures that they are about
        # It counts equal answers and kept evidence, which scores do not hold.
        answers = [plan.paths.predictions(*cell) for cell in cells]
        answers += [plan.paths.samples(benchmark) for benchmark in plan.columns(table)]
    else:
        answers = []
    return [
        *answers,
        *(file for cell in cells for file in plan.cell_files(*cell)),
        # Cells of one kind share a file of costs.
        *dict.fromkeys(map(plan.costs, cells)),
    ]


def timings(plan: Plan) -> list[str]:
    """Return the files of measured time and memory, which the table `efficiency` and Figure 8 show."""
    return figure_named("figure8").inputs(plan)


def tables(plan: Plan) -> list[str]:
    """Return the tables that have something to show under this config."""
    return [*plan.tables(), *([EFFICIENCY] if timings(plan) else [])]


def figure_inputs(plan: Plan, figure: str) -> list[str]:
    """Return the result files that a figure reads."""
    return figure_named(figure).inputs(plan)


def figure_tables(plan: Plan, figure: str) -> list[str]:
    """Return the tables that a figure is drawn from."""
    files = {plan.paths.table(table)[0]: table for table in plan.tables()}
    return [files[file] for file in figure_inputs(plan, figure) if file in files]


def figures(plan: Plan) -> list[str]:
    """Return the figures that have something to show under this config."""
    # Without results a figure shows schedules, which a run of open questions alone has none of.
    has_schedules = any(plan.kinds(model) for model in plan.models_for())
    return [
        name
        for name, figure in known_figures().items()
        if figure.inputs(plan) or (not figure.needs_results and has_schedules)
    ]


# ---- the jobs behind each


@cache
def jobs(plan: Plan) -> dict[str, list[Job]]:
    """Return the jobs that each table and each figure needs, from models and benchmarks on."""
    listed = {name: table_jobs(plan, name) for name in tables(plan)}
    listed |= {name: figure_jobs(plan, name) for name in figures(plan)}
    return {name: list(dict.fromkeys(members)) for name, members in listed.items()}


def products(plan: Plan, names: Iterable[str]) -> list[str]:
    """Return every file that some tables and figures consist of or are made from, temporary files left out."""
    # Snakemake deletes them after their last reader, so status must not call them missing.
    temporary = {file for benchmark in plan.config.benchmarks for file in plan.mini_rows(benchmark)}
    files = dict.fromkeys(file for name in names for job in jobs(plan)[name] for file in job)
    return [file for file in files if file not in temporary]


def table_jobs(plan: Plan, table: str) -> list[Job]:
    """Return the jobs behind a table, itself included."""
    if table == EFFICIENCY:
        return [*(job for file in timings(plan) for job in result_jobs(plan, file)), tuple(plan.paths.table(table))]
    cells = plan.table_cells(table)
    listed = [job for cell in cells for job in evaluation_jobs(plan, cell)]
    for model in plan.table_models(table):
        for kind in plan.table_kinds(table):
            listed += source_jobs(plan, model, plan.example_of(kind))
    costs = {(model, plan.kind(benchmark), method) for model, benchmark, method in cells}
    listed += [job for cost in sorted(costs) for job in jobs_of(plan, cost, COSTS)]
    return [*listed, tuple(plan.paths.table(table))]


def figure_jobs(plan: Plan, figure: str) -> list[Job]:
    """Return the jobs behind a figure, itself included."""
    listed = [job for table in figure_tables(plan, figure) for job in table_jobs(plan, table)]
    for file in figure_inputs(plan, figure):
        # The jobs behind tables are listed already, with the evaluations that they stand on.
        if Path(file).parent != Path(plan.out, "tables"):
            listed += result_jobs(plan, file)
    return [*listed, (plan.paths.figure_data(figure),), tuple(plan.paths.figure(figure))]


def result_jobs(plan: Plan, file: str) -> list[Job]:
    """Return the jobs behind one result that a figure reads, told by its place."""
    if file == plan.paths.random_latency:  # it needs neither a checkpoint nor samples
        return [(file,)]
    # evaluation/<model>/<benchmark>/<method>/…, flops/<model>/<kind>/<method>.csv, questions/<model>/<benchmark>/…
    step, model, place, *rest = Path(file).relative_to(plan.out).parts
    if step == "evaluation":
        return evaluation_jobs(plan, (model, place, rest[0]))
    if step == "flops":
        cost = (model, place, Path(rest[0]).stem)
        return [*source_jobs(plan, model, plan.example_of(place)), *jobs_of(plan, cost, COSTS)]
    benchmark = Path(place).stem
    if step == "grid":
        answers, *scores = (plan.paths.grid(model, benchmark, name) for name in GRID_FILES)
        return [*source_jobs(plan, model, benchmark), (answers,), tuple(scores)]
    return [*source_jobs(plan, model, benchmark), (file,)]


def source_jobs(plan: Plan, model: str, benchmark: str) -> list[Job]:
    """Return the jobs that prepare a model and a benchmark."""
    paths = plan.paths
    prepared = [(file,) for file in (*plan.converted(model), paths.manifest(model), *plan.mini_rows(benchmark))]
    return [*prepared, (paths.samples(benchmark), paths.benchmark_manifest(benchmark))]


def evaluation_jobs(plan: Plan, cell: Cell) -> list[Job]:
    """Return the jobs behind a cell of a table."""
    model, benchmark, _ = cell
    listed = [*source_jobs(plan, model, benchmark), *jobs_of(plan, cell)]
    if plan.shards(*cell):
        listed.append((plan.paths.predictions(*cell),))
    if plan.scored(benchmark):
        listed += [*((file,) for file in plan.judgements(*cell)), *jobs_of(plan, cell, SCORES)]
    return listed


def requested(plan: Plan, words: Iterable[str]) -> set[Cell] | None:
    """Return the evaluations behind the targets on a command line, None if these are all."""
    names = members(plan)
    cells: set[Cell] = set()
    for word in words:
        if word in names:
            cells |= {cell for name in names[word] for cell in cells_of(plan, name)}
        # The page shows everything, so nothing is left out.
        elif word in ("all", "report", plan.paths.report):
            return None
        elif word == "flops":
            cells |= set(plan.evaluations())
        elif Path(word).is_relative_to(Path(plan.out, "evaluation")):
            model, benchmark, method = Path(word).relative_to(plan.out, "evaluation").parts[:3]
            cells.add((model, benchmark, method))
        elif Path(word).is_relative_to(Path(plan.out, "flops")):
            model, kind, name = Path(word).relative_to(plan.out, "flops").parts[:3]
            cells |= set(COSTS.evaluations(plan, (model, kind, Path(name).stem)))
    # Without targets Snakemake makes all.
    return cells if words else None


def cells_of(plan: Plan, name: str) -> list[Cell]:
    """Return the evaluations that a table or a figure is made from."""
    if name == EFFICIENCY:
        return []
    shown = [name] if name in plan.config.tables else figure_tables(plan, name)
    cells = [cell for table in shown for cell in plan.table_cells(table)]
    files = [] if name in plan.config.tables else figure_inputs(plan, name)
    places = [Path(file).relative_to(plan.out).parts for file in files]
    return cells + [(place[1], place[2], place[3]) for place in places if place[0] == "evaluation"]


def all_flops(plan: Plan) -> list[str]:
    """Return the costs of all methods that some table shows."""
    return list(dict.fromkeys(map(plan.costs, plan.evaluations())))


# ---- names


def members(plan: Plan) -> dict[str, list[str]]:
    """Return the tables and figures that each target stands for."""
    drawn = figures(plan)
    # `ablations` is a figure and, as a target, also stands for the tables that it is drawn from (`targets`).
    single = {name: [name] for name in [*tables(plan), *drawn] if name != "ablations"}
    ablations = [name for name in drawn if name == "ablations"]
    return {
        **single,
        "ablations": ablations,
        "tables": tables(plan),
        "figures": drawn,
        "open_questions": sorted(name for name in drawn if figure_named(name).section == "beyond"),
    }


def targets(plan: Plan) -> dict[str, list[str]]:
    """Return what can be asked for by name, and the files to look at afterwards."""
    files = {name: plan.paths.table(name) for name in tables(plan)}
    files |= {name: plan.paths.figure(name) for name in figures(plan)}
    named = {target: [file for name in names for file in files[name]] for target, names in members(plan).items()}
    if named["ablations"]:
        named["ablations"] += [file for table in figure_tables(plan, "ablations") for file in files[table]]
    return {**named, "flops": all_flops(plan)}


def first_outputs(plan: Plan) -> dict[str, list[str]]:
    """Return the first output of every job that each table, each figure and the report need."""
    return {name: [files[0] for files in listed] for name, listed in jobs(plan).items()} | {
        "report": [plan.paths.report]
    }
