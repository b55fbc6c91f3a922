"""The claims of report/claims.yaml, and those beyond the paper, each with the verdict that its rule gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from himap.report.verdicts import accuracy, cost, flow, injection, questions, sweep
from himap.report.verdicts.verdict import ASIDES, FAILS, HOLDS, OPEN, WORDS, Verdict, shown, words
from himap.results import Results
from himap.workflow.plan.report_settings import CLAIMS

TESTS: dict[str, Callable[..., Verdict]] = {
    "not_worse": accuracy.not_worse,
    "better": accuracy.better,
    "scores_match": accuracy.scores_match,
    "flow_is_larger": flow.flow_is_larger,
    "image_importance": flow.image_importance,
    "early_cut_matters": flow.early_cut_matters,
    "random_is_minor": flow.random_is_minor,
    "bias_changes_sign": flow.bias_changes_sign,
    "formula": cost.formula,
    "flops_cut": cost.flops_cut,
    "latency_order": cost.latency_order,
    "latency_cut": cost.latency_cut,
}


def verdict_groups(results: Results, file: Path = CLAIMS) -> list[dict[str, Any]]:
    """Return the claims of a file in their groups, each with its verdict."""
    book = yaml.safe_load(file.read_text(encoding="utf-8"))
    groups = []
    for group in book["groups"]:
        rows = []
        for claim in group["claims"]:
            tests = {**TESTS, **questions.TESTS, **injection.TESTS, **sweep.TESTS}
            # `with` gives the rule's arguments, and the numbers that the rule's sentence names in braces.
            found: Verdict = tests[claim["test"]](results, book, **claim["with"])
            rows.append(
                {"claim": claim, "rule": claim["rule"].format(**claim["with"]), "found": found, "words": words(found)}
            )
        groups.append({"title": group["title"], "rows": rows})
    return groups


def summary(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many claims came out how, and apart from that what models that cannot decide show."""
    found = [row["found"] for group in groups for row in group["rows"]]
    # Verdicts of the embedded world or of another model: counted apart, since they decide nothing about the paper.
    apart = [verdict for verdict in found if verdict.basis in ASIDES and verdict.verdict != OPEN]
    return {
        "total": len(found),
        "counts": {verdict: sum(shown(one) == verdict for one in found) for verdict in WORDS},
        "arithmetic": sum(one.basis == "arithmetic" and one.verdict != OPEN for one in found),
        "aside": ASIDES[apart[0].basis] if apart else "",
        "apart": {verdict: sum(one.verdict == verdict for one in apart) for verdict in (HOLDS, FAILS)},
    }
