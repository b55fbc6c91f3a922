"""Rules about open questions: each holds, does not hold, cannot be decided, and says so where nothing was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from himap.report.verdicts import injection, questions
from himap.report.verdicts.questions import ALIKE, NOT_ASKED, UNEQUAL
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, TOO_FEW, Verdict
from himap.results import Results

TESTS = {**questions.TESTS, **injection.TESTS}
FACTS = {"models": {"mini": {"published": None}}, "benchmarks": {"kinds": {"title": "Kinds", "source": "mini"}}}


def judged(folder: Path, test: str, figure: str, rows: list[dict[str, Any]], **arguments: Any) -> Verdict:
    """The verdict of a rule on the numbers behind a figure; without rows the figure was never made."""
    if rows:
        data = folder / "figures/data"
        data.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).assign(model="mini", benchmark="kinds").to_csv(data / f"{figure}.csv", index=False)
    return TESTS[test](Results(folder, FACTS), None, **arguments)


# ---- K and R per input


def policies(cost: float) -> list[dict[str, Any]]:
    """HiMAP, and a policy that costs so much on the reported samples."""
    common = {"part": "policy", "value": 80.0, "low": 70.0, "high": 90.0, "n": 60}
    return [{**common, "name": "himap", "x": 50.0}, {**common, "name": "mass", "x": cost}]


def difference(kind: str, value: float, p: float, half: float = 5.0) -> dict[str, Any]:
    """A paired difference to HiMAP on a kind of question."""
    return {
        "part": "difference", "name": "mass", "kind": kind, "value": value, "low": value - half, "high": value + half, "p": p, "n": 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("differences", "cost", "verdict", "why"),
    [
        ({"word": (10, 0.001), "count": (0, 1.0)}, 50.2, HOLDS, TOO_FEW),
        ({"word": (10, 0.001), "count": (-10, 0.001)}, 50.2, FAILS, TOO_FEW),
        ({"word": (10, 0.04), "count": (0, 1.0)}, 50.2, OPEN, TOO_FEW),  # Holm doubles 0.04
        ({"word": (10, 0.001), "count": (0, 1.0)}, 49.0, OPEN, UNEQUAL),
    ],
)
def test_a_policy_wins_on_a_kind_after_holm_at_equal_cost_alone(
    tmp_path: Path, differences: dict[str, tuple[float, float]], cost: float, verdict: str, why: str
) -> None:
    rows = [*policies(cost), difference("all kinds", 0, 1.0)]
    rows += [difference(kind, *values) for kind, values in differences.items()]
    rows += [difference(kind, 0, 1.0) | {"part": "control"} for kind in differences]
    found = judged(tmp_path, "better_somewhere", "oq2", rows, policy="mass")
    assert (found.verdict, found.why) == (verdict, why)
    assert "FLOPs" in found.ours[0]
    assert found.ours[1] == "control, kinds shuffled among the samples: better on 0 and worse on 0 of 2"


@pytest.mark.parametrize(
    ("spent", "shuffled", "verdict", "why"),
    [(30, 70, HOLDS, TOO_FEW), (45, 70, FAILS, TOO_FEW), (36, 70, OPEN, TOO_FEW), (30, 95, OPEN, ALIKE)],
)
def test_the_oracle_must_save_and_its_shuffled_schedules_must_lose(
    tmp_path: Path, spent: float, shuffled: float, verdict: str, why: str
) -> None:
    rows = [
        {"part": "policy", "name": name, "x": x, "value": value, "low": value - 5, "high": value + 4, "n": 60}
        for name, x, value in (
            ("himap", 50, 80),
            ("oracle", spent, 90),
            ("oracle's schedules, shuffled", spent, shuffled),
        )
    ]
    saved = 100 * (1 - spent / 50)
    rows.append({"part": "saved", "name": "oracle", "value": saved, "low": saved - 6, "high": saved + 6, "n": 60})
    found = judged(tmp_path, "saves", "oq2", rows, share=0.25)
    assert (found.verdict, found.why) == (verdict, why)


# ---- importance


@pytest.mark.parametrize(
    ("agreement", "gain", "verdict"),
    [(0.7, 0.4, HOLDS), (0.2, 0.4, FAILS), (0.7, 0.05, FAILS), (0.52, 0.4, OPEN), (0.7, 0.22, OPEN)],
)
def test_attention_is_importance_if_it_agrees_and_finds_evidence_both_surely(
    tmp_path: Path, agreement: float, gain: float, verdict: str
) -> None:
    values = {"agreement": agreement, "over_random": gain, "recall": 0.9, "recall_shuffled": 0.5}
    rows = [
        {"stage": 0, "layer": 3, "criterion": "instruction_attention", "measure": name, "n": 12}
        | {"value": value, "low": value - 0.1, "high": value + 0.1}
        for name, value in values.items()
    ]
    untrained = {"criterion": "instruction_attention, random weights", "value": 0.49, "low": 0.4, "high": 0.6}
    rows.append({**rows[2], **untrained})
    words = {"stage": 0, "criterion": "instruction_attention", "agreement": 0.5, "gain": 0.2}
    found = judged(tmp_path, "finds_importance", "importance", rows, **words)
    assert found.verdict == verdict
    assert "control" in found.ours[0]
    assert found.ours[1] == "control, the same attention in random weights: evidence kept 0.49 [0.40 to 0.60]"


# ---- redundancy


@pytest.mark.parametrize(("share", "verdict"), [(0.7, HOLDS), (0.2, FAILS), (0.52, OPEN)])
def test_what_is_told_by_kept_tokens_is_the_encoders_share(tmp_path: Path, share: float, verdict: str) -> None:
    rows = [
        {"part": "features", "name": "himap", "where": where, "control": control, "n": 40}
        | {"value": value, "low": value - 0.05, "high": value + 0.05}
        for where, value in (("tower", share), ("input", 0.5))
        for control in (0, 1)
    ]
    found = judged(tmp_path, "repeated", "oq3", rows, part="features", above=0.5)
    assert found.verdict == verdict
    assert f"the encoder's share {100 * share:.0f} %" in found.ours[0]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ({"random": (-20, 0.001), "divprune": (-15, 0.01)}, HOLDS),
        ({"random": (-20, 0.001), "divprune": (15, 0.01)}, FAILS),
        (
            {"random": (-20, 0.001), "divprune": (8, 0.03)},
            OPEN,
        ),  # its p is that of the larger two, but its interval holds 0
        ({"random": (-20, 0.001), "divprune": (-2, 0.6)}, OPEN),
    ],
)
def test_the_encoder_cannot_choose_if_every_criterion_loses_there(
    tmp_path: Path, differences: dict[str, tuple[float, float]], verdict: str
) -> None:
    rows = [
        {
            "part": "difference",
            "name": name,
            "where": "tower",
            "value": value,
            "low": value - 9,
            "high": value + 9,
            "p": p,
            "n": 60,
        }
        for name, (value, p) in differences.items()
    ]
    assert judged(tmp_path, "nowhere_better", "oq3", rows, where="tower").verdict == verdict


@pytest.mark.parametrize(
    ("measure", "sign", "value", "verdict"),
    [
        ("change", -1, -30, HOLDS),
        ("change", -1, 30, FAILS),
        ("change", -1, -5, OPEN),
        ("over noise", 1, 40, HOLDS),
        ("over noise", 1, 5, OPEN),
    ],
)
def test_attention_is_led_astray_if_answers_are_surely_lost(
    tmp_path: Path, measure: str, sign: int, value: float, verdict: str
) -> None:
    rows = [
        {"measure": measure, "method": method, "value": number, "low": number - 10, "high": number + 10, "n": 30}
        for method, number in (("himap", value), ("random", 0))
    ]
    found = judged(tmp_path, "led_astray", "attack", rows, measure=measure, method="himap", sign=sign)
    assert found.verdict == verdict
    assert "Random" in found.ours[0]


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        ("led_astray", {"measure": "change", "method": "himap", "sign": -1}),
        ("better_somewhere", {"policy": "mass"}),
        ("saves", {"share": 0.25}),
        ("finds_importance", {"stage": 0, "criterion": "random", "agreement": 0.5, "gain": 0.2}),
        ("repeated", {"part": "features", "above": 0.5}),
        ("nowhere_better", {"where": "tower"}),
        ("injection_shallow", {"beside": True, "keeps": 0.9}),
    ],
)
def test_what_was_not_measured_is_not_decided(tmp_path: Path, test: str, arguments: dict[str, Any]) -> None:
    found = judged(tmp_path, test, "", [], **arguments)
    assert (found.verdict, found.why, found.ours) == (OPEN, NOT_ASKED, [])


# ---- injection across architectures


def cut_rows(kept: float, half: float, gap: float, p: float, control: float) -> list[dict[str, Any]]:
    """What is left of the answers without either half of twelve layers, the halves compared, and with the control; 48 answers."""
    common = {"layers": 12, "layer": 6, "beside": 0, "n": 48}
    shares = [
        {**common, "measure": "same", "flow": flow, "extent": extent, "value": value, "low": value - half, "high": value + half}
        for flow, extent, value in (
            ("img2alltxt", "suffix", kept), ("img2alltxt", "prefix", kept - gap / 100), ("spared", "suffix", 0.97), ("spared", "prefix", 0.96),
        )
    ]  # fmt: skip
    compared = [
        {**common, "measure": measure, "extent": extent, "value": value, "low": value - 9, "high": value + 9, "p": sure}
        for measure, extent, value, sure in (
            ("second half less first", "", gap, p), ("spared less cut", "suffix", 20, control), ("spared less cut", "prefix", 20, control),
        )
    ]  # fmt: skip
    return [*shares, *compared]


@pytest.mark.parametrize(
    ("kept", "half", "gap", "p", "control", "verdict"),
    [
        (0.92, 0.06, 40, 0.001, 0.01, HOLDS),
        (0.92, 0.06, 5, 0.4, 0.01, OPEN),  # the first half may cost as little
        (0.86, 0.06, 40, 0.001, 0.01, OPEN),  # too few stay, but 90 % are not excluded
        (0.60, 0.10, 20, 0.001, 0.01, FAILS),
        (0.92, 0.06, -8, 0.01, 0.01, FAILS),  # the first half surely costs less
        (0.92, 0.06, 40, 0.001, 0.5, OPEN),  # as in random weights: a cut that spares the evidence costs as much
        (0.60, 0.10, 20, 0.001, 0.5, OPEN),
    ],
)
def test_injection_is_shallow_if_the_second_half_costs_little_and_the_first_surely_more(
    tmp_path: Path, kept: float, half: float, gap: float, p: float, control: float, verdict: str
) -> None:
    found = judged(tmp_path, "injection_shallow", "oq1", cut_rows(kept, half, gap, p, control), beside=False, keeps=0.9)
    assert found.verdict == verdict
    assert (found.why == injection.ALIKE) == (control > 0.05)
    assert found.ours[1].startswith("control, the same cuts but for what the question is about: 97 %")
    other = judged(tmp_path, "injection_shallow", "oq1", [], beside=True, keeps=0.9)
    assert (other.verdict, other.why) == (OPEN, NOT_ASKED)  # no model of this architecture was asked
