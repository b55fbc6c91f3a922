"""The comparison of two runs as text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from himap import numbers
from himap.comparison.differences import LEVEL, CellDifference, Change, Differences

MOST = 20  # lines of a part in the terminal
# Fields of `Differences` in the order of the page, and what they are called there.
PARTS = {
    "verdicts": "Verdicts that changed",
    "costs": "Costs",
    "settings": "Settings",
    "code": "Code",
    "surroundings": "Libraries and devices",
    "revisions": "Models and data",
}


def as_text(found: Differences) -> str:
    """Return everything that differs, a line each, long parts shortened."""
    lines = [f"A = {found.names[0]}", f"B = {found.names[1]}", "", summary(found)]
    differing = [cell for cell in ordered(found.cells) if cell.differs]
    if differing:
        lines += ["", *cell_lines(differing[:MOST]), *more(differing)]
    for side, cells in zip("AB", found.only, strict=True):
        lines += [f"Only in {side}: {numbers.listed(['/'.join(cell) for cell in cells])}"] if cells else []
    for part, title in PARTS.items():
        rows = getattr(found, part)
        lines += ["", title, *map(change_line, rows[:MOST]), *more(rows)] if rows else []
    lines += ["", untold(found)] if found.untold else []
    # Parts that are empty because they were not compared are not called the same. Verdicts are in the summary.
    silent = ("verdicts", "settings") if found.untold else ("verdicts",)
    alike = [title.lower() for part, title in PARTS.items() if not getattr(found, part) and part not in silent]
    return "\n".join([*lines, *(["", f"The same in both: {', '.join(alike)}."] if alike else [])])


def untold(found: Differences) -> str:
    """Return why verdicts and settings are not compared, and what to do."""
    names = " and ".join(found.untold)
    return f"Verdicts and settings are not compared: no report of {names} has been written (./reproduce report)."


def summary(found: Differences) -> str:
    """Return in a sentence or three how much differs."""
    cells = found.cells
    differing = [cell for cell in cells if cell.differs]
    if not cells:
        return "The runs have no cell in common."
    if not found.is_changed:
        return f"All {len(cells)} cells have the same answers and scores; no cost{' and no verdict' if not found.untold else ''} changed."
    # Sentences, joined by periods at the end.
    words = [f"{len(differing)} of {len(cells)} cells differ"]
    tested = [cell for cell in cells if cell.holm is not None]
    low = sum(cell.p_value < LEVEL for cell in tested if cell.p_value is not None)
    sure = sum(cell.holm < LEVEL for cell in tested if cell.holm is not None)
    words[0] += (
        f"; {low} of {len(tested)} paired tests give p < {LEVEL} ({sure} after Holm's correction)" if tested else ""
    )
    apart = sum(not cell.paired for cell in cells)
    words += [f"{apart} cells are on other samples, so their intervals are compared instead"] if apart else []
    changed = len(found.verdicts)
    words += [] if found.untold else [f"{changed or 'No'} verdict{'' if changed == 1 else 's'} changed"]
    return ". ".join(words) + "."


def ordered(cells: list[CellDifference]) -> list[CellDifference]:
    """Return the surest differences first, then the largest."""
    # 2 lies behind every p value, so cells without a test come last.
    return sorted(
        cells, key=lambda cell: (cell.p_value if cell.p_value is not None else 2.0, -abs(cell.difference or 0))
    )


def cell_row(cell: CellDifference) -> dict[str, Any]:
    """Return one cell as texts."""
    edges = cell.interval
    return {
        "cell": "/".join(cell.cell),
        "first": numbers.number(cell.first, cell.digits) if cell.first is not None else "not scored",
        "second": numbers.number(cell.second, cell.digits) if cell.second is not None else "not scored",
        "difference": numbers.number(cell.difference, cell.digits, sign=True),
        "value": cell.difference,
        "interval": numbers.interval(*edges, places=cell.digits, sign=True) if edges else numbers.NONE,
        "p": numbers.relation(cell.p_value).removeprefix("= ") if cell.p_value is not None else numbers.NONE,
        "p_value": cell.p_value,
        "holm": numbers.relation(cell.holm).removeprefix("= ") if cell.holm is not None else numbers.NONE,
        "sure": cell.holm is not None and cell.holm < LEVEL,
        "answers": f"{cell.changed} of {cell.shared}",
        "samples": f"the same {cell.n[0]}" if cell.paired else f"others ({cell.n[0]} and {cell.n[1]})",
    }


def cell_lines(cells: list[CellDifference]) -> Iterator[str]:
    """Yield a table of cells with aligned columns."""
    head = ("cell", "A", "B", "B - A", "95 % interval", "p", "answers that differ", "samples")
    keys = ("cell", "first", "second", "difference", "interval", "p", "answers", "samples")
    rows = [head, *(tuple(str(cell_row(cell)[key]) for key in keys) for cell in cells)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def change_line(change: Change) -> str:
    """Return what changed as `name: A -> B`."""
    name, first, second = change
    return f"  {name}: {shortened(first)} -> {shortened(second)}"


def shortened(text: str, most: int = 80) -> str:
    """Return a text without its end if it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def more(rows: list[Any]) -> list[str]:
    """Return a line that says how many rows are left out."""
    return [f"  … and {len(rows) - MOST} more; the page has all"] if len(rows) > MOST else []
