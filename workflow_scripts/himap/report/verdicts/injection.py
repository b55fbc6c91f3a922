"""The rule about open question 1: is the picture injected in the first half of the layers, in one architecture or the other?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from himap.numbers import interval, number
from himap.report.verdicts.questions import cells_of, concluded
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, Verdict, ran, title
from himap.results import Results, records_of

SURE = 0.05


def injection_shallow(results: Results, book: Any, beside: bool, keeps: float) -> Verdict:
    """Return the verdict on: cutting the second half of the layers costs few answers, and cutting the first half more.

    `beside` chooses the models whose text looks at the picture by cross-attention, or those with image tokens in the sequence.
    """
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "oq1"):
        if bool(frame["beside"].iloc[0]) != beside:
            continue
        cuts = frame[(frame["measure"] == "same") & (frame["layer"] == (frame["layers"] + 1) // 2)]
        shares = {(row.flow, row.extent): row for row in records_of(cuts)}
        compared = frame[frame["measure"] == "second half less first"]
        if compared.empty:
            continue
        gap = next(records_of(compared))
        cells.append((model, task, side(shares["img2alltxt", "suffix"], gap, keeps)))
        lines.append(
            f"{model}, {title(results, task)}: {words(shares['img2alltxt', 'suffix'])} of answers stay without the second half, "
            f"{words(shares['img2alltxt', 'prefix'])} without the first; {number(gap.value, 0, sign=True)} points "
            f"[{interval(gap.low, gap.high, 0, sign=True)}], p = {number(gap.p, 3)}"
        )
        lines += control_lines(shares)
        ran_on.append(ran(results, model, "questions", {task: (int(gap.n), int(gap.n))}))
    return concluded(results, cells, lines, ran_on)


def side(kept: Any, gap: Any, keeps: float) -> str:
    """Return the verdict on one model: it fails where surely too few answers stay, or surely more without the first half."""
    if kept.high < keeps or (gap.p < SURE and gap.value < 0):
        return FAILS
    return HOLDS if kept.value >= keeps and gap.p < SURE and gap.value > 0 else OPEN


def control_lines(shares: dict[tuple[str, str], Any]) -> list[str]:
    """Return what is left where the same cuts spare the evidence, and where as many pairs are cut at random."""
    names = {"spared": "the same cuts but for what the question is about", "random": "as many random pairs cut"}
    return [
        f"control, {name}: {words(shares[flow, 'suffix'])} and {words(shares[flow, 'prefix'])}"
        for flow, name in names.items()
        if (flow, "suffix") in shares and (flow, "prefix") in shares
    ]


def words(row: Any) -> str:
    """Return a share of answers with its interval."""
    return f"{number(100 * row.value, 0)} % [{interval(100 * row.low, 100 * row.high, 0)}]"


TESTS: dict[str, Callable[..., Verdict]] = {"injection_shallow": injection_shallow}
