"""Rules about the open questions beyond the paper; each reads the numbers behind the figure of its question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from himap.figures._labels import method_or_criterion
from himap.numbers import interval, number
from himap.report.verdicts.verdict import FAILS, HOLDS, OPEN, TOO_FEW, Verdict, holm, ran, side_of, title, together
from himap.results import Results, records_of, scope

NOT_ASKED = "not asked in this config, or not run yet"
EQUAL_COST = 0.01  # how far mean FLOPs may differ of policies that are compared at equal cost
UNEQUAL = "its mean FLOPs on the reported samples differ from HiMAP's by more than 1 %"
ALIKE = "the control, the oracle's schedules shuffled among the samples, cannot be told from the oracle"
AGAINST = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}


def cells_of(results: Results, figure: str) -> list[tuple[str, str, pd.DataFrame]]:
    """Return a figure's numbers by model and benchmark."""
    frame = results.figure(figure)
    if frame is None or frame.empty:
        return []
    return [(str(model), str(task), part) for (model, task), part in frame.groupby(["model", "benchmark"], sort=False)]


def concluded(
    results: Results, cells: list[tuple[str, str, str]], lines: list[str], ran_on: list[str], why: str = TOO_FEW
) -> Verdict:
    """Return the verdict of (model, benchmark, verdict): that of the paper's models where there are any, else of all.

    `why` says what keeps it from being decided, where that is not the number of samples.
    """
    scopes = [scope(results.facts, model, [task]) for model, task, _ in cells]
    basis = "paper" if "paper" in scopes else scopes[0] if scopes else "paper"
    # Where some cells are of the paper's models on its data, the others are shown and do not count.
    counted = [verdict for (_, _, verdict), of in zip(cells, scopes, strict=True) if of == basis]
    return Verdict(together(counted), basis, ours=lines, ran_on=ran_on, why=why if cells else NOT_ASKED)


def blocked(results: Results, edit: str, depth: float, judge: Callable[[Any], str], words: str) -> Verdict:
    """Return the verdict on what an edit at a share of the depth leaves, with the control beside it."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "blocking"):
        # Rows of another picture's run may carry its answer over; other edits can only keep or lose the answer.
        donor, measure = ("other answer", "follows") if edit in ("instruction", "image") else ("", "same")
        at = frame.fillna({"donor": ""})
        at = at[(at["edit"] == edit) & (at["donor"] == donor) & (at["measure"] == measure)]
        # The first measured layer at or above the share of the depth; 1e-9 for shares such as 1/3 of 12.
        at = at[at["layer"] >= depth * at["layers"] - 1e-9].sort_values("layer")
        if at.empty:
            continue
        row = next(records_of(at))
        cells.append((model, task, judge(row)))
        share = f"{number(100 * row.value, 0)} % [{interval(100 * row.low, 100 * row.high, 0)}]"
        lines.append(f"{model}, {title(results, task)}: {words} at layer {row.layer} of {row.layers}: {share}")
        lines += control_lines(frame, model, results, task, int(row.layer))
        ran_on.append(ran(results, model, "questions", {task: (int(row.n), int(row.n))}))
    return concluded(results, cells, lines, ran_on)


def control_lines(frame: pd.DataFrame, model: str, results: Results, task: str, layer: int) -> list[str]:
    """Return how many answers stay when rows come from a picture with the same answer."""
    # Rows from such a picture should change nothing; what they change, the edit itself breaks.
    part = frame[(frame["donor"] == "same answer") & (frame["measure"] == "same") & (frame["layer"] == layer)]
    return [
        f"control, {row.edit} rows of a picture with the same answer: {number(100 * row.value, 0)} % "
        f"[{interval(100 * row.low, 100 * row.high, 0)}] of {int(row.n)} answers stay"
        for row in records_of(part)
    ]


def carried(results: Results, book: Any, edit: str, depth: float, above: float) -> Verdict:
    """Return the verdict on: these rows alone carry at least such a share of the answers by a share of the depth."""
    return blocked(
        results, edit, depth, lambda row: side_of(row.low, row.high, above), "answers that follow the other picture"
    )


def costs(results: Results, book: Any, edit: str, depth: float, below: float) -> Verdict:
    """Return the verdict on: an edit at a share of the depth leaves fewer answers than a share."""
    return blocked(results, edit, depth, lambda row: AGAINST[side_of(row.low, row.high, below)], "answers that stay")


def interaction(results: Results, book: Any, ability: str) -> Verdict:
    """Return the verdict on: shallow pruning costs an ability more than deep pruning does, by more than it does recognition."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "oq4"):
        for row in records_of(frame[(frame["measure"] == "interaction") & (frame["of"] == ability)]):
            cells.append((model, task, side_of(row.low, row.high)))
            edges = interval(100 * row.low, 100 * row.high, 0, sign=True)
            lines.append(f"{model}, {title(results, task)}: {number(100 * row.value, 0, sign=True)} points [{edges}]")
            lines += recall_lines(frame)
            ran_on.append(ran(results, model, "questions", {task: (int(row.n + row.n_base), int(row.n + row.n_base))}))
    return concluded(results, cells, lines, ran_on)


def recall_lines(frame: pd.DataFrame) -> list[str]:
    """Return how much of the evidence each module keeps at the smallest dose that both have, and of another sample's."""
    deep = frame.loc[frame["module"] == "deep", "dose"]
    lines = []
    for module in ("shallow", "deep"):
        rows = frame[(frame["module"] == module) & (frame["dose"] == deep.min())].set_index("measure")["value"]
        if {"recall", "recall_shuffled", "kept"} <= set(rows.index):
            shares = [f"{number(100 * rows[name], 0)} %" for name in ("kept", "recall", "recall_shuffled")]
            lines.append(
                f"{module}, keeping {shares[0]}: {shares[1]} of the evidence, {shares[2]} of another sample's (control)"
            )
    return lines


def better_somewhere(results: Results, book: Any, policy: str) -> Verdict:
    """Return the verdict on: at equal mean FLOPs a policy is better than HiMAP on a kind of question, and worse on none."""
    cells, lines, ran_on, why = [], [], [], TOO_FEW
    for model, task, frame in cells_of(results, "oq2"):
        rows = frame[(frame["part"] == "difference") & (frame["name"] == policy)]
        if rows.empty:
            continue
        wins, losses = sure_kinds(rows[rows["kind"] != "all kinds"])
        # That no kind differs shows nothing as long as so few samples could not have shown it.
        costs_of = frame[frame["part"] == "policy"].set_index("name")["x"]
        # A policy that spends more would win for that reason alone.
        equal = abs(costs_of[policy] / costs_of["himap"] - 1) <= EQUAL_COST
        why = why if equal else UNEQUAL
        cells.append((model, task, OPEN if not equal else FAILS if losses else HOLDS if wins else OPEN))
        whole, at = next(records_of(rows[rows["kind"] == "all kinds"])), cost_line(frame, policy)
        lines.append(
            f"{model}, {title(results, task)}: {number(whole.value)} points [{interval(whole.low, whole.high)}] over all kinds, "
            f"{at}; better on {', '.join(wins) or 'no kind'}, worse on {', '.join(losses) or 'none'} (Holm)"
        )
        # With kinds dealt out at random no policy can be better on a kind; what is counted here is chance.
        dealt = frame[(frame["part"] == "control") & (frame["name"] == policy)]
        if len(dealt):
            better, worse = map(len, sure_kinds(dealt))
            lines.append(
                f"control, kinds shuffled among the samples: better on {better} and worse on {worse} of {len(dealt)}"
            )
        ran_on.append(ran(results, model, "questions", {task: (int(whole.n), int(whole.n))}))
    return concluded(results, cells, lines, ran_on, why)


def sure_kinds(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the kinds of question on which a policy is surely better, and those on which it is worse, after Holm's correction."""
    rows = rows.assign(holm=holm(rows["p"].tolist()))
    # Both, because the test and the interval may disagree at the edge.
    sure = rows[(rows["holm"] < 0.05) & ((rows["low"] > 0) | (rows["high"] < 0))]
    return [*sure[sure["value"] > 0]["kind"]], [*sure[sure["value"] < 0]["kind"]]


def cost_line(frame: pd.DataFrame, policy: str) -> str:
    """Return a policy's mean FLOPs beside HiMAP's."""
    costs = frame[frame["part"] == "policy"].set_index("name")["x"]
    return f"FLOPs {number(costs[policy])} % against HiMAP's {number(costs['himap'])} %"


def saves(results: Results, book: Any, share: float) -> Verdict:
    """Return the verdict on: an oracle saves at least such a share of HiMAP's FLOPs, and the schedules matter sample by sample."""
    cells, lines, ran_on, why = [], [], [], TOO_FEW
    for model, task, frame in cells_of(results, "oq2"):
        rows = {row["name"]: row for row in frame[frame["part"] == "policy"].to_dict("records")}
        oracle, control, fixed = (rows[name] for name in ("oracle", "oracle's schedules, shuffled", "himap"))
        # Shuffled schedules cost as much. If they answer as well, it does not matter which sample gets which.
        told_apart = control["high"] < oracle["value"]
        why = why if told_apart else ALIKE
        for saved in records_of(frame[frame["part"] == "saved"]):  # one row; results of older versions have none
            cells.append((model, task, side_of(saved.low, saved.high, 100 * share) if told_apart else OPEN))
            lines.append(
                f"{model}, {title(results, task)}: saved {number(saved.value, 0)} % [{interval(saved.low, saved.high, 0)}]; the oracle "
                f"spends {number(oracle['x'])} % of the unpruned FLOPs at the unpruned accuracy of {number(oracle['value'])} %, "
                f"HiMAP {number(fixed['x'])} % at {number(fixed['value'])} %; control, the oracle's schedules shuffled: "
                f"{number(control['value'])} % [{interval(control['low'], control['high'])}]"
            )
            ran_on.append(ran(results, model, "questions", {task: (int(saved.n), int(saved.n))}))
    return concluded(results, cells, lines, ran_on, why)


def finds_importance(results: Results, book: Any, stage: int, criterion: str, agreement: float, gain: float) -> Verdict:
    """Return the verdict on: a criterion's ranking agrees with true importance, and keeps more evidence than a random order."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "importance"):
        rows = {
            row["measure"]: row
            for row in frame[(frame["stage"] == stage) & (frame["criterion"] == criterion)].to_dict("records")
        }
        if "agreement" not in rows or "over_random" not in rows:
            continue
        # Both parts of the claim as a set of verdicts: one that fails decides, one that is open leaves it open.
        sides = {
            side_of(rows[measure]["low"], rows[measure]["high"], line)
            for measure, line in (("agreement", agreement), ("over_random", gain))
        }
        cells.append((model, task, FAILS if FAILS in sides else OPEN if OPEN in sides else HOLDS))
        shown = {
            name: f"{number(row['value'], 2)} [{interval(row['low'], row['high'], 2)}]" for name, row in rows.items()
        }
        lines.append(
            f"{model}, {title(results, task)}, before layer {rows['agreement']['layer']}: rank correlation {shown['agreement']}; evidence "
            f"kept {shown['recall']}, more than at random by {shown['over_random']}; control, as many tokens anywhere: "
            f"{shown['recall_shuffled']}"
        )
        lines += random_weights_line(frame, stage, criterion)
        n = int(rows["agreement"]["n"])
        ran_on.append(ran(results, model, "questions", {task: (n, n)}))
    return concluded(results, cells, lines, ran_on)


def random_weights_line(frame: pd.DataFrame, stage: int, criterion: str) -> list[str]:
    """Return what evidence a criterion keeps in random weights, where that was measured."""
    rows = frame[(frame["stage"] == stage) & (frame["criterion"] == f"{criterion}, random weights")]
    return [
        f"control, the same attention in random weights: evidence kept {number(row.value, 2)} [{interval(row.low, row.high, 2)}]"
        for row in records_of(rows[(rows["measure"] == "recall") & rows["value"].notna()])
    ]


def repeated(results: Results, book: Any, part: str, above: float) -> Verdict:
    """Return the verdict on: kept tokens tell at least such a share of what the tokens say that HiMAP drops without loss."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "oq3"):
        # Where the model has no view of its tower, the decoder's input is the encoder's output.
        where = next((place for place in ("tower", "input") if place in set(frame["where"])), "")
        rows = frame[(frame["part"] == part) & (frame["name"] == "himap") & (frame["where"] == where)]
        rows_by = {int(row["control"]): row for row in rows.to_dict("records")}
        # 0: told by the kept tokens of the same picture; 1: by those of another, as a control.
        if set(rows_by) != {0, 1}:
            continue
        row, control = rows_by[0], rows_by[1]
        cells.append((model, task, side_of(row["low"], row["high"], above)))
        shares = [
            f"{number(100 * value['value'], 0)} % [{interval(100 * value['low'], 100 * value['high'], 0)}]"
            for value in (row, control)
        ]
        lines.append(
            f"{model}, {title(results, task)}: the encoder's share {shares[0]}, the decoder's {number(100 - 100 * row['value'], 0)} %; "
            f"control, told by the kept tokens of another picture: {shares[1]}"
        )
        ran_on.append(ran(results, model, "questions", {task: (int(row["n"]), int(row["n"]))}))
    return concluded(results, cells, lines, ran_on)


def nowhere_better(results: Results, book: Any, where: str) -> Verdict:
    """Return the verdict on: whatever the criterion, dropping there loses more than HiMAP at equal FLOPs."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "oq3"):
        rows = frame[(frame["part"] == "difference") & (frame["where"] == where)]
        if rows.empty:
            continue
        rows = rows.assign(holm=holm(rows["p"].tolist()))
        sure = rows[rows["holm"] < 0.05]
        better, worse = sure[sure["low"] > 0], sure[sure["high"] < 0]
        # One criterion that is surely better refutes `nowhere`; to hold, all must be surely worse.
        cells.append((model, task, FAILS if len(better) else HOLDS if len(worse) == len(rows) else OPEN))
        each = (
            f"{method_or_criterion(row.name_)} {number(row.value, sign=True)} points [{interval(row.low, row.high, sign=True)}]"
            for row in records_of(rows.rename(columns={"name": "name_"}))
        )
        lines.append(f"{model}, {title(results, task)}, against HiMAP at equal FLOPs: {'; '.join(each)}")
        n = int(rows["n"].max())
        ran_on.append(ran(results, model, "questions", {task: (n, n)}))
    return concluded(results, cells, lines, ran_on)


def led_astray(results: Results, book: Any, measure: str, method: str, sign: int) -> Verdict:
    """Return the verdict on: what leads attention astray moves a method's answers, down (-1) or an attack's success up (1)."""
    cells, lines, ran_on = [], [], []
    for model, task, frame in cells_of(results, "attack"):
        rows = {row["method"]: row for row in frame[frame["measure"] == measure].to_dict("records")}
        if method not in rows:
            continue
        row = rows.pop(method)
        # Turned so that above zero means what the claim says; a negative sign swaps the edges.
        low, high = sorted((sign * row["low"], sign * row["high"]))
        cells.append((model, task, side_of(low, high)))
        others = (
            f"{method_or_criterion(name)} {number(other['value'], sign=True)} [{interval(other['low'], other['high'], sign=True)}]"
            for name, other in rows.items()
        )
        lines.append(
            f"{model}, {title(results, task)}: {number(row['value'], sign=True)} points "
            f"[{interval(row['low'], row['high'], sign=True)}]; beside it {'; '.join(others)}"
        )
        ran_on.append(ran(results, model, "questions", {task: (int(row["n"]), int(row["n"]))}))
    return concluded(results, cells, lines, ran_on)


TESTS: dict[str, Callable[..., Verdict]] = {
    "carried": carried,
    "costs": costs,
    "interaction": interaction,
    "better_somewhere": better_somewhere,
    "saves": saves,
    "finds_importance": finds_importance,
    "led_astray": led_astray,
    "repeated": repeated,
    "nowhere_better": nowhere_better,
}
