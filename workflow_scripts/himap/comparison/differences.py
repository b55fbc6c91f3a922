"""What differs between two runs: cells with a paired test where their samples are the same, settings, code, verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from himap import benchmarks
from himap.comparison.runs import Cell, Run
from himap.metrics.statistics import difference_of_intervals
from himap.report.verdicts.verdict import holm

LEVEL = 0.05  # p values below it are counted as low, corrected ones as sure
NOTHING = "–"  # a setting that only the other run has
Change = tuple[str, str, str]  # a name, the first run's value, the second run's


@dataclass(frozen=True)
class CellDifference:
    """One cell in both runs: second minus first."""

    cell: Cell
    first: float | None  # None: not scored
    second: float | None
    digits: int  # decimal places of the benchmark's headline
    paired: bool  # whether both runs answered the same samples
    n: tuple[int, int]  # answers of each run
    changed: int  # answers that differ, of those that both runs have
    shared: int
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    holm: float | None = None  # the p value corrected for the number of cells that were tested

    @property
    def differs(self) -> bool:
        """Return whether anything about the cell is not the same."""
        return self.first != self.second or self.changed > 0 or self.n[0] != self.n[1] or not self.paired


@dataclass(frozen=True)
class Differences:
    """Everything that `differences` finds."""

    names: tuple[str, str]
    cells: list[CellDifference]
    only: tuple[list[Cell], list[Cell]]  # cells of the first run alone, of the second alone
    verdicts: list[Change]
    costs: list[Change]
    settings: list[Change]
    code: list[Change]
    surroundings: list[Change]
    revisions: list[Change]
    untold: list[str]  # runs without a record, so that verdicts and settings are not compared

    @property
    def is_changed(self) -> bool:
        """Return whether a result changed: an answer, a score, a cost, a verdict, or which cells there are."""
        return any(cell.differs for cell in self.cells) or any((*self.only, self.verdicts, self.costs))


def differences(first: Run, second: Run) -> Differences:
    """Compare two runs."""
    shared = [cell for cell in second.cells if cell in set(first.cells)]
    untold = [run.name for run in (first, second) if not run.about]
    return Differences(
        names=(first.name, second.name),
        cells=corrected([cell_difference(first, second, cell) for cell in shared]),
        only=(
            [cell for cell in first.cells if cell not in set(shared)],
            [cell for cell in second.cells if cell not in set(shared)],
        ),
        verdicts=[] if untold else changes(verdicts_of(first), verdicts_of(second)),
        costs=changes(costs_of(first), costs_of(second)),
        settings=[] if untold else changes(first.settings, second.settings),
        code=changes(first.code, second.code),
        surroundings=changes(first.surroundings, second.surroundings),
        revisions=changes(first.revisions, second.revisions),
        untold=untold,
    )


def changes(first: Mapping[str, str], second: Mapping[str, str]) -> list[Change]:
    """Return the names whose values differ, those of the first run first."""
    names = dict.fromkeys([*first, *second])
    pairs = ((name, first.get(name, NOTHING), second.get(name, NOTHING)) for name in names)
    return [change for change in pairs if change[1] != change[2]]


def cell_difference(first: Run, second: Run, cell: Cell) -> CellDifference:
    """Compare one cell: answers one by one, scores by a paired test if the samples are the same, else by their intervals."""
    _, task, _ = cell
    answers = [answers_of(run, cell) for run in (first, second)]
    same_ids = answers[0].keys() == answers[1].keys()
    sums = first.sum_of(task), second.sum_of(task)
    # Equal ids may name other pictures or questions, as in two revisions of a set; the checksums of the samples tell.
    # Where one is not known, the ids have to do.
    paired = same_ids and (sums[0] == sums[1] or not all(sums))
    both = answers[0].keys() & answers[1].keys()
    a, b = (run.results.score(*cell) for run in (first, second))
    facts: dict[str, Any] = {
        "cell": cell,
        "first": a and a["headline"],  # None where the run has no score
        "second": b and b["headline"],
        # A run of another version may have a benchmark that this one does not know.
        "digits": benchmarks.get(task).digits if task in benchmarks.names() else 1,
        "paired": paired,
        "n": (len(answers[0]), len(answers[1])),
        "changed": sum(answers[0][name] != answers[1][name] for name in both),
        "shared": len(both),
    }
    if paired and not facts["changed"] and facts["first"] == facts["second"]:
        facts["difference"] = 0.0 if a else None  # nothing to test
    elif a and b:
        facts |= tested(first, second, cell) if paired and task in benchmarks.names() else apart(a, b)
    return CellDifference(**facts)


def answers_of(run: Run, cell: Cell) -> dict[str, str]:
    """Return a cell's answers by sample."""
    path = Path(run.results.paths.predictions(*cell))
    with path.open(encoding="utf-8") as lines:
        try:
            return {row["sample_id"]: row["prediction"] for row in map(json.loads, lines)}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{run.name}: {path.relative_to(run.folder)} cannot be read ({error}); make it again"
            ) from None


def tested(first: Run, second: Run, cell: Cell) -> dict[str, Any]:
    """Return the paired difference of two runs' scores of the same samples, with interval and p value."""
    frames = [run.results.per_sample(*cell) for run in (first, second)]
    if any(frame is None for frame in frames):
        return {}
    try:
        found = benchmarks.compare(benchmarks.get(cell[1]), *frames)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{'/'.join(cell)}: the scores of {first.name} and {second.name} cannot be compared ({error}); "
            "they may come from versions that score in other ways: score one of the runs again"
        ) from error
    return {"difference": found.difference, "interval": found.interval, "p_value": found.p_value}


def apart(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the difference of two scores of other samples, with the interval that follows from both."""
    difference, low, high = difference_of_intervals(
        (first["headline"], *first["interval"]), (second["headline"], *second["interval"])
    )
    return {"difference": difference, "interval": (low, high)}


def corrected(cells: list[CellDifference]) -> list[CellDifference]:
    """Return the cells with p values that are also corrected for how many were tested."""
    # Only cells that were tested count for the correction; equal answers need no test.
    places = [place for place, cell in enumerate(cells) if cell.p_value is not None]
    values = holm([cells[place].p_value or 0.0 for place in places])
    by_place = dict(zip(places, values, strict=True))
    return [replace(cell, holm=by_place.get(place)) for place, cell in enumerate(cells)]


def verdicts_of(run: Run) -> dict[str, str]:
    """Return each claim with its verdict in words."""
    return {entry["claim"]: entry["words"] for entry in run.about.get("verdicts", {}).values()}


def costs_of(run: Run) -> dict[str, str]:
    """Return each method's FLOPs by formula and as counted, as text."""
    import pandas as pd

    costs = {}
    for path in sorted(run.folder.glob("flops/*/*/*.csv")):
        where = "/".join((*path.parts[-3:-1], path.stem))  # model/kind/method
        for row in pd.read_csv(path).to_dict("records"):
            # Six digits, as in the CSV of a table.
            costs[f"{where}, {row['convention']}"] = f"{float(row['flops']):.6g} FLOPs"
    return costs
