"""The comparison of two runs as one offline page."""

from __future__ import annotations

from himap import benchmarks
from himap.comparison.differences import CellDifference, Differences
from himap.comparison.texts import PARTS, cell_row, ordered, summary, untold
from himap.figures._page import page_groups, page_legend
from himap.figures._panels import Dot, Dots, Line, Panel
from himap.report.single_pages import template

DRAWN = 24  # cells of a chart  # the surest and largest; the table below has all
SAYS = "B minus A, with its 95 % interval"


def render(found: Differences) -> str:
    """Return the page as text."""
    panels = charts(found)
    return template("comparison/page.html.j2").render(
        names=found.names,
        summary=summary(found) + (f" {untold(found)}" if found.untold else ""),
        differing=[cell_row(cell) for cell in ordered(found.cells) if cell.differs],
        alike=[cell_row(cell) for cell in ordered(found.cells) if not cell.differs],
        charts=page_groups(panels),
        legend=page_legend(panels),
        only=list(zip("AB", found.only, strict=True)),
        verdicts=None if found.untold else found.verdicts,
        parts={title: getattr(found, part) for part, title in shown(found).items()},
    )


def shown(found: Differences) -> dict[str, str]:
    """Return the parts below the cells; settings only where both runs state theirs."""
    left_out = ("verdicts", "settings") if found.untold else ("verdicts",)
    return {part: title for part, title in PARTS.items() if part not in left_out}


def charts(found: Differences) -> list[Panel]:
    """Return the surest differences of each model with their intervals, a chart per scale: MME counts to thousands."""
    drawn = [cell for cell in ordered(found.cells) if cell.differs and cell.difference is not None]
    charts: dict[tuple[str, float], list[CellDifference]] = {}
    for cell in drawn:
        model, task, _ = cell.cell
        # 0: a benchmark that this version does not know has a chart of its own.
        scale = benchmarks.get(task).scale if task in benchmarks.names() else 0.0
        charts.setdefault((model, scale), []).append(cell)
    head = ("cell", "B − A", "95 % interval", "p")
    return [
        Dots(
            title=model, model=model, x_label="score of B minus score of A", says=SAYS,
            dots=[dot(cell) for cell in cells[:DRAWN]], head=head, lines=[Line(at=0.0)],
        )
        for (model, _), cells in charts.items()
    ]  # fmt: skip


def dot(cell: CellDifference) -> Dot:
    """Return one cell's difference as a row of the chart."""
    row = cell_row(cell)
    low, high = cell.interval or (None, None)
    return Dot(
        label=" ".join(cell.cell[1:]),
        value=cell.difference or 0.0,
        low=low,
        high=high,
        look=1 if row["sure"] else 0,  # of another color where the corrected p value is below LEVEL
        cells=(row["cell"], row["difference"], row["interval"], row["p"]),
    )
