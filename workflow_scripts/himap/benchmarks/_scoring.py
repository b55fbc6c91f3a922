"""From samples and answers to a result with its interval, and from two results to their difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from himap.benchmarks._base import Benchmark
from himap.benchmarks._sample import Sample
from himap.metrics.paired import Comparison, paired
from himap.metrics.statistics import interval


@dataclass(frozen=True)
class Scores:
    """A benchmark's result: headline with interval, further numbers, one row per sample, and what was left out.

    Without a judge's verdicts a judged benchmark has a headline and an interval of None.
    """

    benchmark: str
    metric: str
    headline: float | None
    interval: tuple[float, float] | None
    n: int
    pictures: int  # the independent units behind the interval
    scores: dict[str, float]  # the benchmark's further numbers, by name
    per_sample: pd.DataFrame
    missing: list[str] = field(default_factory=list)  # ids of samples without a prediction
    dropped: int = 0  # answers that are not scored because the rest of their group has none

    def as_json(self) -> dict[str, Any]:
        """Return what score.json holds."""
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "headline": self.headline,
            "interval": None if self.interval is None else list(self.interval),
            "n": self.n,
            "pictures": self.pictures,
            # JSON has no NaN, and a further number may be undefined (a category without samples) where the headline is not.
            "scores": {name: value for name, value in self.scores.items() if np.isfinite(value)},
            "judged": self.headline is not None,
            "missing_predictions": len(self.missing),
            "incomplete_groups_dropped": self.dropped,
        }


def score(
    benchmark: Benchmark,
    samples: Iterable[Sample],
    predictions: dict[str, str],
    verdicts: dict[str, list[Any]] | None = None,
    allow_missing: bool = False,
) -> Scores:
    """Score predictions; missing or unknown ones are an error unless `allow_missing`, which scores the rest."""
    samples = list(samples)  # it may be a generator, and three steps below go through it
    answered, missing = match(benchmark, samples, predictions, allow_missing)
    whole = complete_groups(benchmark, answered, samples)
    for one in whole:
        if not one.references:
            raise ValueError(
                f"{benchmark.name} sample {one.sample_id} has no reference: this split can only be scored by its server"
            )
    given = [predictions[one.sample_id] for one in whole]
    # No judged benchmark has groups, so there is nothing to drop.
    if benchmark.judged:
        return judged_scores(benchmark, whole, given, verdicts, missing)
    frame = table(benchmark, whole, benchmark.rows(whole, given))
    return summed_up(benchmark, frame, missing, len(answered) - len(whole))


def match(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], allow_missing: bool
) -> tuple[list[Sample], list[str]]:
    """Return the samples that have a prediction, and the ids of those that have none."""
    known = {one.sample_id for one in samples}
    # Unknown ids usually mean answers to another subset, whose score would be taken for this one's.
    unknown = [name for name in predictions if name not in known]
    missing = [one.sample_id for one in samples if one.sample_id not in predictions]
    if (unknown or missing) and not allow_missing:
        parts = [f"{len(missing)} of {len(samples)} samples have no prediction ({some(missing)})"] if missing else []
        parts += [f"{len(unknown)} predictions are for unknown samples ({some(unknown)})"] if unknown else []
        raise ValueError(
            f"{benchmark.name}: {'; '.join(parts)}; answer all samples and no others, "
            "or give --allow-missing to score the rest and say so"
        )
    answered = [one for one in samples if one.sample_id in predictions]
    if not answered:
        raise ValueError(
            f"{benchmark.name}: no sample has a prediction (ids begin like {some([one.sample_id for one in samples])})"
        )
    return answered, missing


def complete_groups(benchmark: Benchmark, answered: list[Sample], samples: list[Sample]) -> list[Sample]:
    """Return the samples whose whole group is answered (MME: both questions of an image; MMBench: all rotations)."""
    if benchmark.group is None:
        return answered
    whole, present = (Counter(map(benchmark.group, part)) for part in (samples, answered))
    # `rows_per_id` too, since a subset or a cut file may hold one question of an MME image: half an image has no acc+.
    complete = {name for name, count in present.items() if count == max(whole[name], benchmark.rows_per_id)}
    if not complete:
        raise ValueError(f"{benchmark.name}: no group of questions has predictions for all of them")
    return [one for one in answered if benchmark.group(one) in complete]


def some(names: Sequence[str], show: int = 3) -> str:
    """Return the first few of many names."""
    return ", ".join(names[:show]) + (", ..." if len(names) > show else "")


def table(benchmark: Benchmark, samples: Sequence[Sample], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row of scores per sample, with the picture that it is about."""
    names = [{"sample_id": sample.sample_id, "picture": benchmark.picture_of(sample)} for sample in samples]
    return pd.DataFrame([{**name, **row} for name, row in zip(names, rows, strict=True)])


def summed_up(benchmark: Benchmark, frame: pd.DataFrame, missing: list[str], dropped: int) -> Scores:
    """Return headline, interval and further numbers of a table of per-sample scores."""
    estimate = benchmark.headline(frame)
    headline = estimate.point()
    # Such as LLaVA-Bench where no verdict is readable: both means are then 0 divided by 0.
    if not np.isfinite(headline):
        raise ValueError(f"{benchmark.name}: {benchmark.metric} is not defined for these {len(frame)} samples")
    return Scores(
        benchmark=benchmark.name,
        metric=benchmark.metric,
        headline=headline,
        interval=interval(estimate),
        n=int(frame["score"].count()),  # not the answers on which a judge gave no readable verdict
        pictures=estimate.pictures,
        scores=benchmark.details(frame),
        per_sample=frame,
        missing=missing,
        dropped=dropped,
    )


def judged_scores(
    benchmark: Benchmark,
    samples: list[Sample],
    predictions: list[str],
    verdicts: dict[str, list[Any]] | None,
    missing: list[str],
) -> Scores:
    """Return scores from a judge's verdicts; without any the result is open, and says so by having no headline."""
    if verdicts is None:
        frame = table(benchmark, samples, [{"score": float("nan")} for _ in samples])
        pictures = frame["picture"].nunique()
        return Scores(benchmark.name, benchmark.metric, None, None, len(samples), pictures, {}, frame, missing)
    ungraded = [one.sample_id for one in samples if not verdicts.get(one.sample_id)]
    if ungraded:
        raise ValueError(
            f"{benchmark.name}: {len(ungraded)} answers have no judgement ({some(ungraded)}); "
            "run judge_answers.py again, it sends just these"
        )
    # Answers judged in more runs would otherwise weigh differently from the others.
    runs = {len(verdicts[one.sample_id]) for one in samples}
    if len(runs) > 1:
        raise ValueError(
            f"{benchmark.name}: answers were judged {min(runs)} to {max(runs)} times; "
            "run judge_answers.py again with one number of runs"
        )
    frame = table(benchmark, samples, benchmark.rows(samples, [verdicts[one.sample_id] for one in samples]))
    return summed_up(benchmark, frame, missing, 0)


def compare(benchmark: Benchmark, first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    """Return second minus first in the benchmark's own result, on the same samples whatever their order in the two tables.

    Answers without a readable verdict in one of the two are left out of both.
    """
    # Quietly comparing the common samples would hide that one of the runs is incomplete.
    if set(first["sample_id"]) != set(second["sample_id"]):
        only = sorted(set(first["sample_id"]) ^ set(second["sample_id"]))
        raise ValueError(
            f"{benchmark.name}: cannot compare pairwise, {len(only)} samples are in just one of the two ({some(only)})"
        )
    # By id, not by place: shards and restarts may write the same answers in another order.
    before, after = (frame.set_index("sample_id").sort_index().reset_index() for frame in (first, second))
    # After the sort both tables have the same rows, so one mask fits both.
    scored = before["score"].notna() & after["score"].notna()
    return paired(benchmark.headline(before[scored]), benchmark.headline(after[scored]))
