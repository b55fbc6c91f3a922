"""The page: everything drawn together and put into the template, with all text escaped."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from himap.figures import get as figure_named
from himap.figures._page import chart, style_sheet
from himap.paper.published import published
from himap.report import gallery, kept_maps
from himap.report.archive import NAME, archive, listing
from himap.report.divergences import divergences
from himap.report.figure_parts import figure_parts
from himap.report.findings import findings
from himap.report.provenance import provenance, what_ran
from himap.report.table_parts import efficiency_part, table_parts
from himap.report.tradeoff import SHOWN, tradeoff_panels
from himap.report.verdicts.claims import summary, verdict_groups
from himap.results import Results, all_models, scope
from himap.workflow.plan.report_settings import BEYOND, TEMPLATES

SECTIONS = {  # in the order of the page, as the contents list calls them
    "tables": "Tables", "verdicts": "Verdicts", "beyond": "Beyond the paper", "figures": "Figures", "cost": "Cost", "gallery": "Gallery",
    "divergences": "Paper and code", "provenance": "Provenance",
}  # fmt: skip
STYLES = ("style.css", "parts.css", "print.css")
SCRIPTS = ("later.js", "tables.js", "charts.js", "places.js", "files.js")


def render(facts: dict[str, Any], folder: str | Path) -> str:
    """Return the whole page of a run as one text."""
    results = Results(folder, facts)
    return render_page(results, verdict_groups(results))


def render_page(results: Results, groups: list[dict[str, Any]]) -> str:
    """Return the whole page as one text, given the verdicts by group."""
    facts = results.facts
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        # A misspelled name in a template is an error and no empty place on the page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    beyond, maps = verdict_groups(results, BEYOND), kept_maps.histograms(results)
    tables = table_parts(results, list(facts["tables"]))
    figures, costs, answers = (
        figure_parts(results, figures_of(section, facts)) for section in ("figures", "cost", "beyond")
    )
    made_from = provenance(results)
    # Everything but the archive, whose size depends on that of the filled page.
    fill = partial(
        environment.get_template("page.html.j2").render,
        scope=scope(facts),
        paper=published()["paper"],
        facts=facts,
        models=all_models(facts),
        ran=what_ran(results, made_from),
        findings=findings(results),
        tradeoff=[chart(panel) for panel in tradeoff_panels(results)],
        shown_models=SHOWN,
        groups=groups,
        summary=summary(groups),
        tables=tables,
        figures=figures,
        costs=costs,
        efficiency=efficiency_part(results),
        answers=answers,
        beyond=beyond,
        gallery=gallery.gallery(results),
        rule=gallery.rule(facts),
        maps=maps,
        most=kept_maps.MOST,
        divergences=divergences(results, maps),
        provenance=made_from,
        contents=contents(facts, groups, tables, answers, figures, costs),
        archive_name=NAME,
        rendered=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(style_sheet() + text_of(STYLES)),  # our own text
        script=Markup(text_of(SCRIPTS)),
    )
    # Twice, because the archive may only take the bytes that the page leaves, and how many those are is known once it is filled.
    bare = without_blanks(fill(packed=listing(results)))
    return without_blanks(fill(packed=archive(results, len(bare.encode()))))


def without_blanks(html: str) -> str:
    """Return a page without line breaks between tags: in a large run they are a sixth of what a browser has to read."""
    # Only between tags: a line break within a text may be all that separates two words.
    return re.sub(r">\n+<", "><", html)


def text_of(names: Iterable[str]) -> str:
    """Return some templates as one text."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def contents(
    facts: dict[str, Any], groups: list[dict[str, Any]], tables: list[dict[str, Any]], answers: list[dict[str, Any]],
    figures: list[dict[str, Any]], costs: list[dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the sections of the page in their order, with the parts that the contents list names."""
    timed = [("efficiency", facts["efficiency"])] if facts["efficiency"] else []
    named = {
        "tables": [(table["name"], table["title"]) for table in tables],
        "verdicts": [(f"verdicts-{number}", group["title"]) for number, group in enumerate(groups, 1)],
        "beyond": [(figure["name"], figure["title"]) for figure in answers],
        "figures": [(figure["name"], figure["title"]) for figure in figures],
        "cost": [*((figure["name"], figure["title"]) for figure in costs), *timed],
    }
    return [
        {"id": name, "title": title, "parts": [{"id": place, "title": words} for place, words in named.get(name, [])]}
        for name, title in SECTIONS.items()
        if name != "beyond" or answers  # only where the config asks an open question
    ]


def figures_of(section: str, facts: dict[str, Any]) -> list[str]:
    """Return the run's figures that belong into a section of the page."""
    return [name for name in facts["figures"] if figure_named(name).section == section]
