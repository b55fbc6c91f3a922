"""What the first screen says in words: the largest loss, where HiMAP beats its rivals, and the time that it saves.

Each sentence is chosen by a rule that the page states, so that nobody picks the numbers that please. The cells are those of
the main tables; a difference counts where its paired test, corrected for the number of benchmarks (Holm), is below 5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from himap import benchmarks, numbers
from himap.metrics.paired import Comparison
from himap.metrics.statistics import mean_of_intervals
from himap.report.verdicts.cost import per_sample_seconds, saving, saving_of_random_weights
from himap.report.verdicts.verdict import holm, title
from himap.results import Results, methods_of

LEVEL = 0.05
METHOD, BASE = "himap", "vanilla"
NAMED = 4  # benchmarks that a line names before it counts them


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A headline with further sentences or rows of counts, and the rule that chose them."""

    label: str
    headline: str
    rule: str
    more: list[str]
    counts: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Difference:
    """One method against another on one benchmark, on the same samples."""

    model: str
    task: str
    method: str
    against: Comparison
    p: float  # corrected for the number of benchmarks
    percent: float  # of the other method's score

    @property
    def better(self) -> bool:
        """Return whether the method is better beyond chance."""
        return self.p < LEVEL and self.against.difference > 0

    @property
    def worse(self) -> bool:
        """Return whether the method is worse beyond chance."""
        return self.p < LEVEL and self.against.difference < 0


def findings(results: Results) -> list[Finding]:
    """Return the three findings."""
    return [largest_loss(results), against_rivals(results), time_saved(results)]


def name_of(results: Results, method: str) -> str:
    """Return a method's title."""
    return str(results.facts["methods"].get(method, {}).get("title", method))


def pruning_methods(results: Results) -> list[str]:
    """Return the methods of the first table, without the unpruned model.

    Those of the table `rivals` are left to its own sentences: they cost what its budgets say, which HiMAP here does not.
    """
    return [name for name in results.facts["main_methods"] if name != BASE]


def differences(results: Results, model: str, method: str, base: str) -> list[Difference]:
    """Return a method against another one on every benchmark where both are scored, corrected together."""
    rows = []
    for task in results.facts["benchmarks"]:
        # Not both run yet.
        if not {method, base} <= set(methods_of(results, model, task)):
            continue
        score, against = results.score(model, task, base), results.compare(model, task, base, method)
        # NaN differs from itself: a pair without a test cannot enter the correction.
        if score and against is not None and against.p_value == against.p_value:
            # NaN instead of a division by zero: without a score there is no percentage of it.
            rows.append((task, against, 100 * against.difference / (abs(score["headline"]) or float("nan"))))
    corrected = holm([against.p_value for _, against, _ in rows])
    return [
        Difference(model, task, method, against, p, percent)
        for (task, against, percent), p in zip(rows, corrected, strict=True)
    ]


def every_difference(results: Results, method: str, base: str) -> list[Difference]:
    """Return the differences of all models."""
    return [row for model in results.facts["models"] for row in differences(results, model, method, base)]


def place(results: Results, model: str, task: str) -> str:
    """Return the benchmark, with the model where there are several."""
    several = len(results.facts["models"]) > 1
    return f"{title(results, task)}{f' ({model})' if several else ''}"


def points(row: Difference) -> str:
    """Return the size of a difference in the benchmark's own unit."""
    return numbers.number(abs(row.against.difference), benchmarks.get(row.task).digits)


def steepest(rows: Iterable[Difference]) -> Difference | None:
    """Return the largest loss beyond chance, in percent of the unpruned score; None if there is none."""
    return min((row for row in rows if row.worse), key=lambda row: row.percent, default=None)


# ---- the three


def largest_loss(results: Results) -> Finding:
    """Return where HiMAP loses most against the unpruned model, and which method loses most of all."""
    mine = every_difference(results, METHOD, BASE)
    # Later cases overwrite the headline of earlier ones: nothing lost, nothing compared, a loss.
    low, more = steepest(mine), []
    headline = f"HiMAP loses beyond chance on none of {of_benchmarks(results, mine)}"
    if not mine:
        headline = "HiMAP has not been compared with the unpruned model yet"
    if low is not None:
        edges = numbers.interval(*low.against.interval, benchmarks.get(low.task).digits, sign=True)
        headline = f"HiMAP loses {points(low)} points on {place(results, low.model, low.task)}"
        lost = sum(row.worse for row in mine)
        more = [
            f"That is {numbers.number(-low.percent, 0)} % of the unpruned score (95 % interval {edges} points).",
            f"It loses beyond chance on {lost} of {of_benchmarks(results, mine)}.",
        ]
    # HiMAP is among these methods: the sentence is only written where another one loses more.
    most = steepest(row for method in pruning_methods(results) for row in every_difference(results, method, BASE))
    if most is not None and most.method != METHOD:
        more.append(
            f"{name_of(results, most.method)} loses most: {points(most)} points on {place(results, most.model, most.task)}."
        )
    return Finding(
        label="Largest loss",
        headline=headline,
        more=more,
        rule="The benchmark on which HiMAP's paired difference to the unpruned model is lowest in percent of that model's score, "
        "among those with p < 0.05 after Holm's correction over the benchmarks; then the same over the pruning methods of the first table.",
    )


def of_benchmarks(results: Results, rows: list[Difference]) -> str:
    """Return how many benchmarks were compared, over how many models."""
    models = len({row.model for row in rows})
    return f"{len(rows)} benchmarks" if models <= 1 else f"{len(rows)} comparisons with {models} models"


def against_rivals(results: Results) -> Finding:
    """Return on how many benchmarks HiMAP is better and worse than each other pruning method."""
    compared = {
        rival: every_difference(results, METHOD, rival) for rival in pruning_methods(results) if rival != METHOD
    }
    counts = [counts_of(results, rival, rows) for rival, rows in compared.items() if rows]
    # A comparison is one rival on one benchmark of one model.
    every = [row for rows in compared.values() for row in rows]
    better, worse = sum(row.better for row in every), sum(row.worse for row in every)
    headline = f"Of {len(every)} comparisons with rivals, HiMAP wins {better} and loses {worse}"
    return Finding(
        label="Against its rivals",
        headline=headline if every else "No rival has been run yet",
        more=[],
        counts=counts,
        rule="HiMAP against every other pruning method of the first table on the same samples of each benchmark; better or worse "
        "where the paired test gives p < 0.05 after Holm's correction over the benchmarks.",
    )


def counts_of(results: Results, rival: str, rows: list[Difference]) -> dict[str, Any]:
    """Return on how many benchmarks HiMAP is better than a rival, worse, and neither beyond chance."""
    ups, downs = [row for row in rows if row.better], [row for row in rows if row.worse]
    counts = {"better": len(ups), "worse": len(downs), "even": len(rows) - len(ups) - len(downs)}
    return {"name": name_of(results, rival), **counts, "where": where(results, ups, downs)}


def where(results: Results, ups: list[Difference], downs: list[Difference]) -> str:
    """Return the benchmarks behind two counts."""
    sides = [("better on", ups), ("worse on", downs)]
    return "; ".join(
        f"{word} {numbers.listed([place(results, row.model, row.task) for row in rows], NAMED)}"
        for word, rows in sides
        if rows
    )


def time_saved(results: Results) -> Finding:
    """Return how much less measured time HiMAP takes than the unpruned model, over the timed benchmarks."""
    # (model, benchmark, (mean, low, high)), in percent of the unpruned model's time.
    savings = [
        (model, task, saving(frame[METHOD], frame[BASE]))
        for model in results.facts["models"]
        # frame: a row per sample, a column of seconds per method.
        for task, frame in per_sample_seconds(results, model).items()
        if {METHOD, BASE} <= set(frame.columns)
    ]
    headline, more = "No time has been measured yet", []
    if savings:
        mean, low, high = mean_of_intervals([value[0] for *_, value in savings], [value[1:] for *_, value in savings])
        headline = f"HiMAP takes {numbers.number(abs(mean), 0)} % {'less' if mean > 0 else 'more'} time than the unpruned model"
        # Decided last, so that a mean that looks like a saving is not called one when its interval holds zero.
        if low <= 0 <= high:
            headline = "HiMAP saves no time beyond the noise of measurement"
        each = [f"{place(results, model, task)} {numbers.number(value[0], 0)} %" for model, task, value in savings]
        more.append(
            f"It saves {numbers.interval(low, high, 0)} % (95 % interval) as measured: {numbers.listed(each, NAMED)}."
        )
    if (saved := saving_of_random_weights(results)) is not None:
        mean, low, high = saved
        more.append(
            f"Where tokens are the cost, in a larger model of random weights, it saves {numbers.number(mean, 0)} % "
            f"({numbers.interval(low, high, 0)} %)."
        )
    shares = [
        float(frame.set_index("convention")["ratio"]["paper"])
        for model in results.facts["models"]
        if (frame := results.flops(model, "qa", METHOD)) is not None
    ]
    if shares:
        share = numbers.number(100 * sum(shares) / len(shares), 0)
        more.append(f"By the paper's formula it needs {share} % of the unpruned FLOPs for a question.")
    return Finding(
        label="Measured time",
        headline=headline,
        more=more,
        rule="Seconds from decoded image to answer on one device, methods in turns: each sample's saving against the unpruned "
        "model, then the mean over samples, timed benchmarks and models.",
    )
