"""What a figure's file declares: words, inputs, numbers, panels and its usual style."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from himap.figures._panels import Panel

OURS, PAPER = "ours", "paper"  # values of the column `source`


@dataclass(frozen=True)
class Style:
    """How a drawing looks unless the config says otherwise; the config's `FigureStyle` takes its defaults from here."""

    width: float = 10.0  # in inches
    height: float = 3.0  # of a row of panels, in inches
    columns: int = 3  # at most so many panels side by side
    palette: str = "report"  # the colors of the report page, or a palette of seaborn
    style: str = "whitegrid"
    dpi: int = 160
    note: str = ""  # printed above the drawing, so that nobody takes it for what it is not


# A protocol, because the figures must not import the workflow, whose `Plan` this is.
class Run(Protocol):
    """What a figure may ask about a run before anything has been computed; the plan answers."""

    @property
    def config(self) -> Any:
        """Return the run's config."""

    @property
    def out(self) -> str:
        """Return the folder of its results."""

    def models_for(self, question: str = "") -> list[str]:
        """Return the models of an open question, without one those of tables and analyses."""

    def known(self, benchmarks: list[str]) -> list[str]:
        """Return those of some benchmarks that the run has."""

    def tables(self) -> dict[str, Any]:
        """Return the run's tables by name."""

    def columns(self, table: str) -> list[str]:
        """Return the benchmarks of a table that the run has."""

    def question_cells(self, name: str) -> list[tuple[str, str]]:
        """Return the models and benchmarks on which an open question is asked."""

    def grid_cells(self) -> list[tuple[str, str]]:
        """Return the models and benchmarks on which the grid of schedules runs."""

    def layer_blocks(self, model: str) -> list[str]:
        """Return the blocks of layers that the disruption of a model is cut into, as `0-3`."""

    def dims(self, model: str) -> Any:
        """Return a model's sizes."""

    def kinds(self, model: str) -> list[str]:
        """Return the kinds of benchmarks that a model is asked."""

    def example_of(self, kind: str) -> str:
        """Return a benchmark of a kind."""

    def method(self, model: str, benchmark: str, method: str) -> Any:
        """Return a method with its stages resolved for a model and a benchmark."""

    def title(self, method: str) -> str:
        """Return a method's title."""

    @property
    def random_weights_text(self) -> str | None:
        """Return what the model of random weights is that is timed, None where there is none."""


def no_settings(_: Run) -> dict[str, Any]:
    """Return nothing: the numbers need only what every figure is told."""
    return {}


@dataclass(frozen=True)
class Figure:
    """One figure. Its name is its file's; `numbers` and `panels` run in jobs, `inputs` and `settings` in the plan."""

    title: str
    about: str  # one line for docs/configuration.md
    caption: str
    inputs: Callable[[Run], list[str]]  # result files that `numbers` reads; without any the figure is left out
    numbers: Callable[[dict[str, Any], str], pd.DataFrame]  # from (settings, folder of results) to one tidy table
    panels: Callable[[pd.DataFrame], list[Panel]]  # from that table to what is drawn, in the PNG and on the page
    settings: Callable[[Run], dict[str, Any]] = no_settings  # what `numbers` is told beside each model's sizes
    needs_results: bool = True  # False: drawn from the config alone, even without inputs
    style: Style = Style()
    section: Literal["figures", "cost", "beyond"] = "figures"  # where on the page
    rank: float = 100  # place among the figures, the paper's own first

    @property
    def in_restructured_text(self) -> str:
        """Return title and caption for Snakemake's own report."""
        return f"**{self.title}.** {self.caption}"


def files_of(run: Run, part: str, pattern: str) -> list[str]:
    """Return one file per model and benchmark of a part of the config (`saliency`, `latency`)."""
    # The config may name benchmarks that this run was told to leave out.
    tasks = run.known(getattr(run.config, part).benchmarks)
    places = [(model, task) for model in run.models_for() for task in tasks]
    return [f"{run.out}/{part}/{pattern.format(model=model, benchmark=task)}" for model, task in places]


def found_files(
    results: str | Path, settings: dict[str, Any], part: str, ending: str
) -> Iterable[tuple[str, str, Path]]:
    """Yield (model, benchmark, file) of a part of the results, for the models and benchmarks of this run."""
    for model in settings["models"]:
        for task in settings["benchmarks"]:
            # Sorted: the order in which a folder lists its files differs between file systems.
            for path in sorted((Path(results) / part / model).glob(ending.format(task))):
                yield model, task, path
