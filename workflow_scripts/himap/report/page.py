"""The page: everything drawn together and put into the template, with all text escaped."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from himap.figures import get as figure_named
from himap.figures._page import style_sheet
from himap.paper.published import published
from himap.report import gallery, kept_maps
from himap.report.divergences import divergences
from himap.report.figure_parts import figure_parts
from himap.report.provenance import provenance
from himap.report.table_parts import table_parts
from himap.report.verdicts.claims import summary, verdict_groups
from himap.results import Results, scope
from himap.workflow.plan.report_settings import TEMPLATES


def render(facts: dict[str, Any], folder: str | Path) -> str:
    """Return the whole page as one text."""
    results = Results(folder, facts)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups, maps = verdict_groups(results), kept_maps.histograms(results)
    return environment.get_template("page.html.j2").render(
        scope=scope(facts),
        paper=published()["paper"],
        facts=facts,
        groups=groups,
        summary=summary(groups),
        tables=table_parts(results, list(facts["tables"])),
        figures=figure_parts(results, figures_of("figures", facts)),
        costs=figure_parts(results, figures_of("cost", facts)),
        gallery=gallery.gallery(results),
        rule=gallery.RULE,
        maps=maps,
        most=kept_maps.MOST,
        divergences=divergences(results, maps),
        provenance=provenance(results),
        rendered=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(style_sheet() + (TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own text
        script=Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
    )


def figures_of(section: str, facts: dict[str, Any]) -> list[str]:
    """Return the run's figures that belong into a section of the page."""
    return [name for name in facts["figures"] if figure_named(name).section == section]
