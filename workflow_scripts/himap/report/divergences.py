"""Where the paper and its released code differ: the facts of report/divergences.yaml, with the results of both sides beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from himap.report import divergence_flows as flows
from himap.report import divergence_scores as scores
from himap.report.kept_maps import histograms
from himap.results import Results
from himap.workflow.plan.report_settings import DIVERGENCES


def divergences(results: Results, maps: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return each divergence as two columns of results; an empty column says what would fill it."""
    # The page has drawn them already and passes them in, since they read all answers.
    maps = histograms(results) if maps is None else maps
    entries = yaml.safe_load(DIVERGENCES.read_text(encoding="utf-8"))
    return [divergence(results, maps, entry) for entry in entries if applies(results, entry)]


def applies(results: Results, entry: dict[str, Any]) -> bool:
    """Return whether an entry is about this run: all are, but those that need a benchmark's published data."""
    needed = entry.get("published_data_of")
    return needed is None or results.facts["benchmarks"].get(needed, {}).get("comparable", False)


def divergence(results: Results, maps: list[dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    """Return one divergence: what each side says and gives, and how the two compare."""
    # Most entries set the paper against its code; some compare two other sides under the same keys.
    names = entry.get("names", ("Paper", "Released code"))
    return {
        "title": entry["title"],
        "sides": [side(results, name, entry[key]) for name, key in zip(names, ("paper", "code"), strict=True)],
        "here": entry["here"],
        "way": entry["show"],
        "extra": quarters(maps) if entry.get("extra") == "quarters" else None,
        "between": lines_of(results, entry["between"]) if "between" in entry else [],
    }


def side(results: Results, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return one side of a divergence."""
    # A further sentence on what the embedded world shows of it.
    says = [entry["says"], entry["in_mini"]] if "in_mini" in entry and is_mini(results) else [entry["says"]]
    return {"name": name, "says": " ".join(says), "lines": lines_of(results, entry)}


def lines_of(results: Results, entry: dict[str, Any]) -> list[str]:
    """Return the lines of the function that an entry names."""
    return RESULTS[entry["result"]](results, **entry.get("with", {}))


def is_mini(results: Results) -> bool:
    """Return whether a benchmark is drawn by the embedded world."""
    return any(facts["source"] == "mini" for facts in results.facts["benchmarks"].values())


def quarters(maps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return where the tokens lie that each form of the deep criterion keeps."""
    rows = [
        [part["model"], method["title"], *(quarter["text"] + " %" for quarter in method["quarters"])]
        for part in maps
        for method in part["methods"]
        # Variants of HiMAP only: the divergence is about its deep criterion.
        if method["title"].startswith("HiMAP")
    ]
    if not rows:
        return None
    caption = "Kept tokens over the four quarters of the image, from top to bottom"
    return {"caption": caption, "head": ["model", "method", "1st", "2nd", "3rd", "4th"], "rows": rows}


RESULTS: dict[str, Callable[..., list[str]]] = {
    "scored": scores.scored_lines,
    "difference": scores.difference_lines,
    "asked": scores.asked_lines,
    "asked difference": scores.asked_difference_lines,
    "precision": scores.precision_lines,
    "precision difference": scores.precision_difference_lines,
    "saliency": flows.saliency_lines,
    "scale": flows.scale_lines,
    "shares": flows.share_lines,
    "target": flows.target_lines,
    "disruption": flows.disruption_lines,
    "control": flows.control_lines,
    "block": flows.block_lines,
    "flops": flows.flops_lines,
}
