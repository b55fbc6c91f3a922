"""The figures on the page: the panels that are also drawn, with title and caption."""

from __future__ import annotations

from typing import Any

from himap import figures
from himap.figures._page import page_groups, page_legend
from himap.paper.published import inconsistencies
from himap.report.method_costs import method_panels
from himap.results import Results


def figure_parts(results: Results, names: list[str]) -> list[dict[str, Any]]:
    """Return every figure, those that are missing too."""
    return [figure_part(results, name) for name in names]


def figure_part(results: Results, name: str) -> dict[str, Any]:
    """Return one figure: groups of charts, caption, legend."""
    figure, frame = figures.get(name), results.figure(name)
    panels = [] if frame is None or frame.empty else figure.panels(frame)
    # The page adds the tables' methods, which are on other samples than the grid and so must not share its panel.
    if panels and name == "frontier":
        panels += method_panels(results)
    return {
        "name": name,
        "title": figure.title,
        "caption": figure.caption,
        "groups": page_groups(panels),
        # An empty frame is a figure that was made and has nothing to show.
        "is_drawn": frame is not None,
        "legend": page_legend(panels),
        "notes": [f"In the paper: {what}." for what in inconsistencies(name)],
    }
