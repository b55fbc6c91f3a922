"""Which code a job runs, as a hash over what it imports, modules that registries import by name included.

A benchmark's file declares its source, its prompts and its scores in one place, and a figure's file its numbers and its
panels. So each job's hash leaves out the parts that the job does not look at: a changed scorer asks no model again, and a
changed prompt downloads nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable

from himap.experiments.questions import get as question_named
from himap.figures import get as figure_named
from himap.pruning.criteria import get as criterion_named
from himap.workflow.plan.code_hash import code_version
from himap.workflow.plan.plan import Plan

# Keywords of a benchmark's declaration (`himap.benchmarks._base`), by the jobs that look at them.
SCORES = (
    "rows", "foresee", "headline", "details", "judge", "metric", "scale", "chance", "digits", "title", "rank", "picture", "own_form",
)  # fmt: skip
PROMPTS = ("make_prompt", "limits", "short_limits", "image_modes")
DATA = ("source", "sources", "sample", "stratum", "unit", "keep", "parts")
# Imported by every benchmark's file through its base, but run only where answers are scored.
SCORING = ("himap.benchmarks._scoring", "himap.metrics.paired", "himap.metrics.statistics")

# What a figure's file declares for the plan and for the page; the jobs look at `numbers` or at `panels` alone.
FIGURE_PLAN = ("about", "inputs", "settings", "needs_results", "style", "rank")
FIGURE_PAGE = ("caption", "section")
QUESTION_PLAN = ("about", "prefills", "benchmarks", "limit")  # what the file of an open question declares for the plan
BEHIND_TITLES = tuple(part for part in (*SCORES, *PROMPTS, *DATA) if part not in ("title", "digits"))


def family_module(plan: Plan, model: str) -> str:
    """Return the module of a model's family."""
    return f"himap.models.families.{plan.model(model).family}"


def benchmark_module(benchmark: str) -> str:
    """Return the module of a benchmark."""
    return f"himap.benchmarks.{benchmark}"


def samples(benchmark: str) -> str:
    """Hash the code that prepares a benchmark's samples."""
    return code_version(
        "download_benchmark.py", benchmark_module(benchmark), without=SCORING, unused=(*SCORES, *PROMPTS)
    )


def asking(plan: Plan, script: str, model: str, benchmark: str, *others: str) -> str:
    """Hash the code that asks a model a benchmark's questions. Changes to prompts invalidate it; changes to scoring do not."""
    roots = (script, family_module(plan, model), benchmark_module(benchmark), *others)
    return code_version(*roots, without=SCORING, unused=(*SCORES, *DATA))


def evaluation(plan: Plan, model: str, benchmark: str, method: str) -> str:
    """Hash the code of one evaluation: beside that of asking, the criteria that its method ranks tokens by."""
    # Registries import criteria by name, which the walk along imports cannot see; so they are named as roots.
    stages = plan.method(model, benchmark, method).stages
    criteria = {criterion_named(stage.criterion).score.__module__ for stage in stages}
    return asking(plan, "evaluate_method.py", model, benchmark, *sorted(criteria))


def costs(plan: Plan, model: str, kind: str) -> str:
    """Hash the code that counts FLOPs."""
    return asking(plan, "count_flops.py", model, plan.example_of(kind))


def disruption(plan: Plan, model: str, benchmark: str) -> str:
    """Hash the code of the disruption sweep, which also scores the undisturbed answers."""
    # Without `unused=SCORES`: only samples that the undisturbed model answers right are disrupted, and scoring decides which.
    roots = ("disrupt_attention.py", family_module(plan, model), benchmark_module(benchmark))
    return code_version(*roots, without=SCORING, unused=DATA)


def question(plan: Plan, name: str, model: str, benchmark: str) -> str:
    """Hash the code that measures an open question: beside that of asking, its own file and the criteria that it ranks tokens by."""
    declared = question_named(name)
    criteria = declared.criteria({**declared.settings, **plan.question(name).settings})
    modules = {criterion_named(criterion).score.__module__ for criterion in criteria}
    roots = ("ask_question.py", family_module(plan, model), benchmark_module(benchmark), *sorted(modules))
    return code_version(*roots, f"himap.experiments.questions.{name}", without=SCORING, unused=(*DATA, *QUESTION_PLAN))


def random_latency() -> str:
    """Hash the code that times a model of random weights."""
    return code_version("time_random_weights.py", without=SCORING)


def efficiency(plan: Plan) -> str:
    """Hash the code that makes the table of time and memory, the benchmarks' titles included."""
    columns = map(benchmark_module, plan.known(plan.config.latency.benchmarks))
    return code_version("tabulate_efficiency.py", *columns, unused=BEHIND_TITLES)


def scores(script: str, benchmark: str) -> str:
    """Hash the code that scores or judges a benchmark's answers."""
    return code_version(script, benchmark_module(benchmark), unused=(*PROMPTS, *DATA))


def table(plan: Plan, name: str) -> str:
    """Hash the code that makes a table: it compares methods by the benchmarks' own rules."""
    columns = [benchmark_module(benchmark) for benchmark in plan.columns(name)]
    return code_version("make_table.py", *columns, unused=(*PROMPTS, *DATA))


def figure_module(figure: str) -> str:
    """Return the module of a figure."""
    return f"himap.figures.{figure}"


def figure_numbers(figure: str) -> str:
    """Hash the code that collects a figure's numbers; how they are drawn does not count."""
    unused = (*FIGURE_PLAN, *FIGURE_PAGE, "title", "panels")
    return code_version("collect_figure_data.py", figure_module(figure), unused=unused)


def figure_drawing(plan: Plan, figure: str) -> str:
    """Hash the code that draws a figure, the benchmarks' titles included."""
    benchmarks = figure_named(figure).settings(plan).get("benchmarks", [])
    roots = (figure_module(figure), *map(benchmark_module, benchmarks))
    return code_version("draw_figure.py", *roots, unused=(*FIGURE_PLAN, *FIGURE_PAGE, "numbers", *BEHIND_TITLES))


def page(figures: Iterable[str]) -> str:
    """Hash the code that renders the report page with some figures."""
    roots = map(figure_module, figures)
    return code_version("render_report.py", *roots, unused=(*FIGURE_PLAN, "numbers"))
