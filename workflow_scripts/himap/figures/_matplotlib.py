"""Panels drawn by matplotlib: SVG, PDF and PNG, from equal numbers equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib

# Before pyplot is imported: a job has no display.
matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from himap.figures._base import Style
from himap.figures._labels import COLORS, LAYER, look
from himap.figures._panels import Curves, Dot, Dots, Key, Panel, Point, Scatter, groups, legend, spans
from himap.files import replacing

ROW = 0.34  # inches for a row of a dot chart
AROUND = 0.75  # inches for a dot chart's title and axis
LETTERS = 15  # of a title in an inch
BLACK, GRAY = "#1c2024", "#868e96"
# Behind a label, where a grid line would cross it.
HALO = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}


def draw(panels: Sequence[Panel], style: Mapping[str, Any], path: str) -> None:
    """Draw panels in a style of the config and write them as `path` with the endings svg, pdf and png."""
    given = Style(**style)
    with styled(given):
        save(drawing(panels, given), path, given)


@contextmanager
def styled(style: Style) -> Iterator[None]:
    """Yield with seaborn's look, as matplotlib carries it, for the figures drawn inside."""
    sheets = [f"seaborn-v0_8-{style.style}"]
    settings: dict[str, Any] = {
        # Otherwise ids in the SVG are random, and equal numbers would not give equal files.
        "svg.hashsalt": "himap",
        "text.parse_math": False,  # a $ in a title of the config is a $
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "lines.linewidth": 1.3,
        "lines.markersize": 3.5,
        "figure.dpi": style.dpi,
    }
    if style.palette == "report":
        # So that C0, C1 … are the page's colors.
        settings["axes.prop_cycle"] = plt.cycler(color=[color for color, _ in COLORS])
    else:
        sheets.append(f"seaborn-v0_8-{style.palette}")  # a palette of seaborn brings its own C0, C1 …
    with plt.style.context([*sheets, settings]):
        yield


def save(figure: Figure, path: str, style: Style) -> None:
    """Write SVG, PDF and PNG, each atomically and without a date."""
    if style.note:
        figure.suptitle(style.note, fontsize=9, fontweight="bold", color="#8a3200")
    lay_out(figure)
    # None removes the entry: dates and versions would make equal drawings unequal files.
    for ending, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        with replacing(Path(f"{path}.{ending}")) as temporary:
            figure.savefig(temporary, format=ending, dpi=style.dpi, metadata=metadata)
    # pyplot keeps every figure until it is closed, and a process may draw many.
    plt.close(figure)


def lay_out(figure: Figure) -> None:
    """Give each panel its place, for all three files: laying out takes longer than drawing, and each file would do it again."""
    if engine := figure.get_layout_engine():
        for _ in range(3):  # the first times, labels are measured where panels are not yet
            engine.execute(figure)
        figure.set_layout_engine()


# ---- the whole drawing


def drawing(panels: Sequence[Panel], style: Style) -> Figure:
    """Return the figure: groups below each other, each with its heading, and one legend for all."""
    below = groups(panels)
    if not below:
        return empty(style)
    # No wider than the widest group needs.
    columns = max(min(style.columns, len(members)) for members in below.values())
    heights = [  # inches of each row of panels, group by group
        [max(height_of(panel, style) for panel in row) for row in rows(members, columns)] for members in below.values()
    ]
    keys = legend(panels)
    # Beside the panels a quarter of an inch for each heading, and a fifth for each line of the legend, three entries
    # long.
    total = sum(map(sum, heights)) + 0.25 * len(below) + 0.2 * ceil(len(keys) / 3)
    figure = plt.figure(figsize=(style.width, total), layout="constrained")  # constrained: labels never overlap axes
    parts = figure.subfigures(len(below), 1, squeeze=False, height_ratios=[sum(group) for group in heights])
    for part, heading, members, ratios in zip(parts[:, 0], below, below.values(), heights, strict=True):
        draw_group(part, heading, members, columns, ratios)
    if keys:
        figure.legend(
            [handle(key) for key in keys],
            [key.label for key in keys],
            loc="outside lower center",
            ncols=min(3, len(keys)),
            frameon=False,
        )
    return figure


def empty(style: Style) -> Figure:
    """Return a drawing that says that there is nothing to show."""
    figure = plt.figure(figsize=(style.width, style.height))
    figure.text(0.5, 0.5, "nothing to show: none of the numbers is defined", ha="center", color=GRAY)
    return figure


def rows(members: Sequence[Panel], columns: int) -> list[Sequence[Panel]]:
    """Return panels cut into rows."""
    return [members[start : start + columns] for start in range(0, len(members), columns)]


def height_of(panel: Panel, style: Style) -> float:
    """Return the inches that a panel needs."""
    return AROUND + ROW * len(panel.dots) if isinstance(panel, Dots) else style.height


def draw_group(part: SubFigure, heading: str, members: Sequence[Panel], columns: int, ratios: Sequence[float]) -> None:
    """Draw the panels below one heading."""
    if heading:
        part.suptitle(heading, fontsize=9, fontweight="bold", x=0.01, ha="left")
    axes = part.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios)
    letters = int(LETTERS * (part.figure.get_figwidth() / columns - 0.4))  # 0.4 inches are the y axis
    for number, ax in enumerate(axes.flat):
        if number < len(members):
            draw_panel(ax, members[number], letters)
        else:
            ax.set_axis_off()  # the last row may have fewer panels than columns


def wrapped(title: str, letters: int) -> str:
    """Return a title in lines of so many letters, broken before "n = 19" but not within it."""
    return fill(title.replace(" = ", "\u00a0=\u00a0"), letters).replace("\u00a0", " ")


def draw_panel(ax: Axes, panel: Panel, letters: int) -> None:
    """Draw one panel; its title has so many letters in a line."""
    across, up = spans(panel)
    ax.set(title=wrapped(panel.title, max(10, letters)), xlabel=panel.x_label, ylabel=panel.y_label)
    ax.set_xlim(*widened(across) if isinstance(panel, Curves) else across)  # only curves have markers on the very edge
    ax.set_ylim(*up)
    for line in panel.lines:
        across_panel = ax.axvline if isinstance(panel, Dots) else ax.axhline  # values are across in dot charts
        across_panel(
            line.at, color=BLACK if line.label else GRAY, linewidth=0.9, linestyle=":" if line.label else "-", zorder=1
        )
    if isinstance(panel, Curves):
        draw_curves(ax, panel)
    elif isinstance(panel, Dots):
        draw_dots(ax, panel)
    elif isinstance(panel, Scatter):
        draw_scatter(ax, panel)


def widened(span: tuple[float, float]) -> tuple[float, float]:
    """Return a range with room for markers on its edges."""
    air = 0.02 * (span[1] - span[0]) or 0.5
    return span[0] - air, span[1] + air


# ---- the three kinds of panels


def draw_curves(ax: Axes, panel: Curves) -> None:
    """Draw curves; those of the paper come first and so lie behind."""
    if panel.x_label == LAYER:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no layer 2.5
    for curve in panel.curves:
        xs, ys = [x for x, _ in curve.points], [y for _, y in curve.points]
        style = line_style("paper" if curve.paper else "steps" if curve.step else "curve", curve.look)
        # clip_on: a marker at 0 or 1 is drawn whole.
        ax.plot(xs, ys, drawstyle="steps-mid" if curve.step else "default", clip_on=False, **style)
        if curve.intervals:
            places, lows, highs = zip(*curve.intervals, strict=True)
            ax.vlines(places, lows, highs, color=style["color"], linewidth=0.8, alpha=0.6)


def draw_dots(ax: Axes, panel: Dots) -> None:
    """Draw a row per dot from above to below, its label above it, as on the page."""
    ax.set_yticks([])
    ax.grid(True, axis="x")
    for number, dot in enumerate(panel.dots):
        draw_dot(ax, dot, y=len(panel.dots) - number - 0.65)  # below the middle of its row, under its label


def draw_dot(ax: Axes, dot: Dot, y: float) -> None:
    """Draw one row."""
    color = f"C{dot.look}"
    # x as a share of the panel, y as a value.
    left: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    ax.annotate(dot.label, (0.01, y), (0, 5), va="bottom", fontsize=7, zorder=6, bbox=HALO, **left)
    if dot.low is not None and dot.high is not None:
        ax.plot([dot.low, dot.high], [y, y], color=color, linewidth=1.2, zorder=3)
    if dot.ideal is not None:
        ax.plot([dot.ideal], [y], "|", color=BLACK, markersize=11, markeredgewidth=1.4, zorder=4)
    ax.plot([dot.value], [y], "o", color=color, markersize=5, zorder=5)
    if dot.paper is not None:
        ax.plot([dot.paper], [y], "D", markersize=5, markerfacecolor="white", markeredgecolor=BLACK, zorder=6)


def draw_scatter(ax: Axes, panel: Scatter) -> None:
    """Draw points with their intervals; the best ones are larger and joined by steps."""
    best = sorted((point for point in panel.points if point.best), key=lambda point: point.x)
    if best:
        ax.plot([p.x for p in best], [p.y for p in best], drawstyle="steps-post", color="C1", linewidth=1, zorder=2)
    middle = sum(ax.get_xlim()) / 2
    for point in panel.points:
        style = point_style(point)
        if point.low is not None and point.high is not None:
            ax.plot([point.x, point.x], [point.low, point.high], color=style["color"], linewidth=1.2, zorder=3)
        ax.plot([point.x], [point.y], linestyle="", zorder=4, **style)
        # The label goes toward the middle, where it has room.
        side, place = ("left", (4, 3)) if point.x < middle else ("right", (-4, 3))
        ax.annotate(point.label, (point.x, point.y), place, textcoords="offset points", ha=side, fontsize=7)


def point_style(point: Point) -> dict[str, Any]:
    """Return how a point is marked: by its look, or as one of the frontier or not."""
    if point.look is not None:
        return {"color": f"C{point.look}", "marker": look(point.look).marker, "markersize": 5}
    if point.best:
        return {"color": "C1", "marker": "o", "markersize": 5}
    return {"color": "C0", "marker": "o", "markersize": 4, "alpha": 0.7}


# ---- looks


def line_style(kind: str, number: int) -> dict[str, Any]:
    """Return how a curve is drawn, in its panel and in the legend."""
    dashes = look(number).dashes
    # "C7" is matplotlib's way of counting on: colors repeat after the palette's last.
    style: dict[str, Any] = {"color": f"C{number}", "linestyle": (0, dashes) if dashes else "-"}
    if kind == "paper":
        return style | {"linewidth": 0.8}
    return style if kind == "steps" else style | {"marker": look(number).marker}


def handle(key: Key) -> Artist:
    """Return the legend's picture of an entry."""
    if key.kind in ("curve", "steps", "paper"):
        return Line2D([], [], **line_style(key.kind, key.look))
    styles: dict[str, dict[str, Any]] = {
        "line": {"color": BLACK, "linestyle": ":", "linewidth": 0.9},
        "dot": {"color": "C0", "marker": "o", "markersize": 5, "linewidth": 1.2},
        "ideal": {"color": BLACK, "marker": "|", "markersize": 9, "markeredgewidth": 1.4, "linestyle": ""},
        "diamond": {"marker": "D", "markerfacecolor": "white", "markeredgecolor": BLACK, "markersize": 5, "linestyle": ""},
        "point": {"color": "C0", "marker": "o", "markersize": 4, "alpha": 0.7, "linestyle": ""},
        "spread": {"color": GRAY, "marker": "o", "markersize": 4, "linewidth": 1.2},
        "stairs": {"color": "C1", "marker": "o", "markersize": 5, "linewidth": 1},
    }  # fmt: skip
    return Line2D([], [], **styles[key.kind])
