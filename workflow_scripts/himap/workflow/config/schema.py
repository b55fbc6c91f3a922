"""The whole config, typed: schema, defaults and documentation come from the classes here and in `sections`, and so do the errors.

`himap.workflow.config.load` takes what YAML gives and returns a `Config`, or raises one `ConfigError` that lists every
problem at once. `python -m himap.workflow.config.documentation --write` renews `schemas/config.schema.json` and
`docs/configuration.md`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from himap.project import ROOT
from himap.workflow.config.sections._section import Count, Name, Section
from himap.workflow.config.sections.analyses import Disruption, Flops, Grid, Latency, Saliency, Verification
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
    place = (ROOT / re.sub("/+", "/", folder)).resolve()
    top = place.relative_to(ROOT).parts[:1] if place.is_relative_to(ROOT) else ()
    if ROOT.is_relative_to(place):
        raise ValueError("the project itself lies in this folder; name a folder for results alone, e.g. results/mine")
    if top and (top[0] in OWN_FOLDERS or top[0].startswith(".")):
        raise ValueError(f"{top[0]} is a folder of the project; name a folder for results alone, e.g. results/mine")
    return folder


class Execution(Section):
    """How work is cut into jobs; no result depends on it."""

    batch_size: Count | Literal["auto"] = "auto"
    """Samples per forward pass; `auto` grows to what the memory holds."""
    threads: Count = 1
    """Processor threads of a model job."""
    runtime_minutes: Count = 240
    """Time that a model job asks a cluster for."""
    checksums_up_to_mb: Count = 64
    """Results up to this size are read at every start, to see that they are what their jobs wrote; of larger ones this is
    done only if size or time differ."""


class FigureStyle(Section):
    """How a figure looks; a change redraws this figure and nothing else."""

    width: Annotated[float, Field(gt=1, le=30)] = 10.0
    """Width in inches."""
    height: Annotated[float, Field(gt=1, le=30)] = 3.0
    """Height of a row of panels in inches."""
    palette: Literal["colorblind", "deep", "muted", "bright", "pastel", "dark"] = "colorblind"
    """Seaborn palette."""
    style: Literal["whitegrid", "white", "ticks", "darkgrid", "dark"] = "whitegrid"
    """Seaborn style."""
    dpi: Annotated[int, Field(ge=50, le=600)] = 160
    """Resolution of the PNG."""


FIGURES = ("figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "frontier", "ablations")


class Figures(Section):
    """One entry per figure."""

    figure3: FigureStyle = FigureStyle()
    """Modality shares per layer."""
    figure4: FigureStyle = FigureStyle()
    """Flow among image tokens and from image to instruction, per layer."""
    figure5: FigureStyle = FigureStyle()
    """Label and score consistency under disruption."""
    figure6: FigureStyle = FigureStyle(width=7.0)
    """Bias ratio per layer."""
    figure7: FigureStyle = FigureStyle(width=7.0)
    """Image tokens left at each layer, by method."""
    figure8: FigureStyle = FigureStyle()
    """Latency per example."""
    frontier: FigureStyle = FigureStyle(width=7.0)
    """Score against FLOPs over the grid, with its frontier."""
    ablations: FigureStyle = FigureStyle(width=12.0, height=2.2)
    """Difference to the undisturbed model by ablation."""


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
    verification: Verification = Verification()
    """The comparison with the original LLaVA-v1.5."""
    judge: Judge | None = None
    """The judge; without one, answers of judged benchmarks are generated and the tables say so."""
    execution: Execution = Execution()
    """Sizes of jobs."""
    figures: Figures = Figures()
    """Looks of the figures."""
