"""The rule about open question 1: is the picture injected in the first half of the layers, in one architecture or the other?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from himap.numbers import interval, number
from himap.report.verdicts.questions import cells_of, concluded
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, TOO_FEW, Verdict, ran, title
from himap.results import Results, records_of

SURE = 0.05
GAP, AGAINST = "second half less first", ("spared less cut", "random less cut")
ALIKE = "the control, a cut of as many pairs that spares what is asked about, costs as many answers, or there is none"


def injection_shallow(results: Results, book: Any, beside: bool, keeps: float) -> Verdict:
    """Return the verdict on: cutting the second half of the layers costs few answers, and cutting the first half more.

    `beside` chooses the models whose text looks at the picture by cross-attention, or those with image tokens in the sequence.
    """
    cells, lines, ran_on, why = [], [], [], TOO_FEW
    for model, task, frame in cells_of(results, "oq1"):
        if bool(frame["beside"].iloc[0]) != beside:
            continue
        # Rows that compare both halves have no extent; NaN could not be found again as a key.
        frame = frame.fillna({"extent": ""})
        # The layer where the second half begins; of an odd depth the middle layer belongs to the first.
        cuts = frame[(frame["measure"] == "same") & (frame["layer"] == (frame["layers"] + 1) // 2)]
        shares = {(row.flow, row.extent): row for row in records_of(cuts)}
        compared = {
            (row.measure, row.extent): row for row in records_of(frame[frame["measure"].str.contains(" less ")])
        }
        gap = compared.get((GAP, ""))
        if gap is None:
            continue
        kept = shares["img2alltxt", "suffix"]
        bare = side(kept, gap, keeps)
        # It fails because of the second half and holds because of the first, which must cost more than its control does.
        told = bare == OPEN or is_told_apart(compared, "suffix" if bare == FAILS else "prefix")
        why = why if told else ALIKE
        cells.append((model, task, bare if told else OPEN))
        lines.append(
            f"{model}, {title(results, task)}: {words(kept)} of answers stay without the second half, "
            f"{words(shares['img2alltxt', 'prefix'])} without the first; {number(gap.value, 0, sign=True)} points "
            f"[{interval(gap.low, gap.high, 0, sign=True)}], p = {number(gap.p, 3)}"
        )
        lines += control_lines(shares)
        ran_on.append(ran(results, model, "questions", {task: (int(gap.n), int(gap.n))}))
    return concluded(results, cells, lines, ran_on, why)


def side(kept: Any, gap: Any, keeps: float) -> str:
    """Return the verdict on one model: it fails where surely too few answers stay, or surely more without the first half."""
    if kept.high < keeps or (gap.p < SURE and gap.value < 0):
        return FAILS
    return HOLDS if kept.value >= keeps and gap.p < SURE and gap.value > 0 else OPEN


def is_told_apart(compared: dict[tuple[str, str], Any], extent: str) -> bool:
    """Return whether a cut surely costs more than its control: one that spares the evidence, else as many random pairs."""
    controls = [compared[measure, extent] for measure in AGAINST if (measure, extent) in compared]
    # The stricter control where both were run: it cuts the same flow and spares only what is asked about.
    return bool(controls) and controls[0].p < SURE and controls[0].value > 0


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
