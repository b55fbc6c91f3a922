"""The page: everything drawn together and put into the template, with all text escaped."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from himap.paper.published import published
from himap.report import gallery, kept_maps
from himap.report.divergences import divergences
from himap.report.figure_parts import figure_parts
from himap.report.provenance import provenance
from himap.report.table_parts import table_parts
from himap.report.verdicts.claims import summary, verdict_groups
from himap.results import Results, scope
from himap.workflow.plan.report_settings import TEMPLATES

COSTS = ("frontier", "figure8")


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
    figures = figure_parts(results, [name for name in facts["figures"] if name not in COSTS])
    groups, maps = verdict_groups(results), kept_maps.histograms(results)
    return environment.get_template("page.html.j2").render(
        scope=scope(facts),
        paper=published()["paper"],
        facts=facts,
        groups=groups,
        summary=summary(groups),
        tables=table_parts(results, list(facts["tables"])),
        figures=figures,
        costs=figure_parts(results, [name for name in COSTS if name in facts["figures"]]),
        gallery=gallery.gallery(results),
        rule=gallery.RULE,
        maps=maps,
        most=kept_maps.MOST,
        divergences=divergences(results, maps),
        provenance=provenance(results),
        rendered=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file
        script=Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
    )
