"""What all figures share: the style, panels of equal looks, and saving so that equal numbers give equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from himap.files import replacing


@dataclass(frozen=True)
class Look:
    """A figure's settings from the config."""

    width: float = 7.0
    height: float = 3.2
    palette: str = "colorblind"
    style: str = "whitegrid"
    dpi: int = 160
    note: str = ""  # stands above the figure, so that nobody takes it for what it is not


@contextmanager
def styled(style: Mapping[str, Any]) -> Iterator[Look]:
    """Seaborn's look, as matplotlib carries it, for the figures drawn inside."""
    look = Look(**style)
    sheets = [f"seaborn-v0_8-{look.style}", f"seaborn-v0_8-{look.palette}"]
    own = {
        "svg.hashsalt": "himap",
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "lines.linewidth": 1.3,
        "figure.dpi": look.dpi,
    }
    with plt.style.context([*sheets, own]):
        yield look


def panels(
    rows: int, columns: int, look: Look, sharey: Literal["none", "all", "row"] = "row"
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels."""
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(look.width, look.height * rows),
        squeeze=False,
        sharey=sharey,
        layout="constrained",
    )
    return figure, axes.tolist()


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """One legend for all panels, below them, from the entries of one."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)


def saved(figure: Figure, path: str, look: Look) -> None:
    """Write SVG, PDF and PNG, each atomically and without a date."""
    if look.note:
        figure.suptitle(look.note, fontsize=9, fontweight="bold", color="#8a3200")
    for ending, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        with replacing(Path(f"{path}.{ending}")) as temporary:
            figure.savefig(temporary, format=ending, dpi=look.dpi, metadata=metadata)
    plt.close(figure)
