"""The whole config, typed: schema, defaults and documentation come from the classes here and in `sections`, and so do the errors.

`himap.workflow.config.load` takes what YAML gives and returns a `Config`, or raises one `ConfigError` that lists every
problem at once. `python -m himap.workflow.config.documentation --write` renews `schemas/config.schema.json` and
`docs/configuration.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, create_model

from himap.experiments.questions import OpenQuestion
from himap.experiments.questions import registry as open_questions
from himap.figures import Figure
from himap.figures import registry as known_figures
from himap.figures._base import Style
from himap.project import ROOT
from himap.workflow.config.sections._section import Count, Name, Section
from himap.workflow.config.sections.analyses import Disruption, Flops, Grid, Latency, Question, Saliency, Verification
from himap.workflow.config.sections.benchmarks import Benchmark, Judge, Table
from himap.workflow.config.sections.methods import Method
from himap.workflow.config.sections.models import Model

OWN_FOLDERS = (
    "docs",
    "envs",
    "models",
    "presets",
    "profiles",
    "report",
    "rules",
    "schemas",
    "tests",
    "workflow_scripts",
)
LARGEST_SEED = 2**63 - 1  # what random generators take


def check_output(folder: str) -> str:
    """Return a folder for results alone. Raise ValueError for one of the project's own, or one that the project lies in."""
    # Resolved, so that neither `a/../docs` nor a link gets past the check.
    place = (ROOT / re.sub("/+", "/", folder)).resolve()
    top = place.relative_to(ROOT).parts[:1] if place.is_relative_to(ROOT) else ()
    if ROOT.is_relative_to(place):
        raise ValueError("the project itself lies in this folder; name a folder for results alone, e.g. results/mine")
    # Also .git, .snakemake and .cache.
    if top and (top[0] in OWN_FOLDERS or top[0].startswith(".")):
        raise ValueError(f"{top[0]} is a folder of the project; name a folder for results alone, e.g. results/mine")
    return folder


class Execution(Section):
    """How work is cut into jobs; results depend on `batch_size` alone, and that in half precision."""

    batch_size: Count | Literal["auto"] = "auto"
    """Samples per forward pass. `auto` grows to what the memory holds; a number keeps rounding the same for all methods, since in
    half precision some answers depend on the batch."""
    threads: Count = 1
    """Processor threads of a model job."""
    runtime_minutes: Count = 240
    """Time that a model job asks a cluster for."""
    checksums_up_to_mb: Count = 64
    """Results up to this size are read at every start, to see that they are what their jobs wrote; of larger ones this is
    done only if size or time differ."""


class FigureStyle(Section):
    """How a figure looks; a change redraws this figure and nothing else."""

    width: Annotated[float, Field(gt=1, le=30)] = Style.width
    """Width in inches."""
    height: Annotated[float, Field(gt=1, le=30)] = Style.height
    """Height of a row of panels in inches; more where a panel needs it."""
    columns: Annotated[int, Field(ge=1, le=12, strict=True)] = Style.columns
    """At most so many panels side by side."""
    palette: Literal["report", "colorblind", "deep", "muted", "bright", "pastel", "dark"] = "report"
    """The colors of the report page, or a palette of seaborn."""
    style: Literal["whitegrid", "white", "ticks", "darkgrid", "dark"] = "whitegrid"
    """Seaborn style."""
    dpi: Annotated[int, Field(ge=50, le=600)] = Style.dpi
    """Resolution of the PNG."""


def laid_over(section: type[Section], usual: dict[str, Any], about: str) -> Any:
    """Return a key that holds a section: what the config says is laid over its usual values."""

    # Before validation: a key that the config leaves out gets the figure file's value, not the section's default.
    def over_usual(given: Any) -> Any:
        return {**usual, **given} if isinstance(given, Mapping) else given

    return Annotated[section, BeforeValidator(over_usual)], Field(default=section(**usual), description=about)


def figure_field(figure: Figure) -> Any:
    """Return a figure's key, over the style that the figure's own file asks for."""
    usual = {key: value for key, value in asdict(figure.style).items() if key in FigureStyle.model_fields}
    return laid_over(FigureStyle, usual, figure.about)


def question_field(question: OpenQuestion) -> Any:
    """Return an open question's key, over the benchmarks and the number of samples that its own file asks for."""
    return laid_over(Question, {"benchmarks": list(question.benchmarks), "limit": question.limit}, question.about)


if TYPE_CHECKING:
    # A type checker cannot read classes that are made at run time.
    Figures = Section
    Questions = Section
else:  # a key per file of himap/figures, and of himap/experiments/questions
    Figures = create_model(
        "Figures",
        __base__=Section,
        __doc__="One entry per figure; defaults are those of `FigureStyle` unless the figure's file asks for others.",
        **{name: figure_field(figure) for name, figure in known_figures().items()},
    )
    Questions = create_model(
        "Questions",
        __base__=Section,
        __doc__="One entry per open question; defaults are those of `Question` unless the question's file asks for others.",
        **{name: question_field(question) for name, question in open_questions().items()},
    )


class Config(Section):
    """The scientific settings of a run: models, benchmarks, methods, analyses."""

    output: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(check_output)] = "results"
    """Folder of all results, none of the project's own; two configs with different models or data need two folders."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)] = 0
    """For all that is drawn at random: subsets, random criteria, random controls, random weights."""
    models: dict[Name, Model]
    """Models by name."""
    benchmarks: dict[Name, Benchmark]
    """Benchmarks by name; each must be known to `himap.benchmarks`."""
    methods: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Method] = {}
    """Methods by name, laid over the built-in ones (vanilla, fastv, himap and what is derived from them)."""
    tables: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Table] = {}
    """Tables by name, each laid over the built-in one key by key."""
    saliency: Saliency = Saliency()
    """Figures 3 and 4."""
    disruption: Disruption = Disruption()
    """Figures 5 and 6."""
    latency: Latency = Latency()
    """Figure 8."""
    flops: Flops = Flops()
    """FLOPs."""
    grid: Grid = Grid()
    """The grid over both stages."""
    questions: Questions = Questions()
    """The open questions beyond the paper."""
    verification: Verification = Verification()
    """The comparison with the original LLaVA-v1.5."""
    judge: Judge | None = None
    """The judge; without one, answers of judged benchmarks are generated and the tables say so."""
    execution: Execution = Execution()
    """Sizes of jobs."""
    figures: Figures = Figures()
    """Looks of the figures."""
