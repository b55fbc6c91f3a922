"""The benchmarks, each declared in one file of this folder; adding a file adds a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from himap.benchmarks._base import Benchmark, JudgeProtocol, Limits
from himap.benchmarks._sample import Sample, Source

# Reading a config asks this module for names. So pandas, NumPy and pyarrow are imported only by the functions that
# need them, here and in every benchmark's file.
if TYPE_CHECKING:
    from himap.benchmarks._scoring import Scores
    from himap.metrics.paired import Comparison

__all__ = [
    "Benchmark",
    "JudgeProtocol",
    "Limits",
    "Sample",
    "Source",
    "compare",
    "get",
    "names",
    "read_samples",
    "score",
]


@lru_cache
def registry() -> dict[str, Benchmark]:
    """Return every benchmark by name, in the order of the paper's tables."""
    # By file name, so that an added file is found without a list to edit; every module has to be imported for its rank.
    modules = [name for _, name, is_package in iter_modules(__path__) if not is_package and not name.startswith("_")]
    benchmarks = (import_module(f"{__name__}.{name}").BENCHMARK for name in modules)
    # An added file that states no rank has 100 and comes last; the name decides between equal ranks.
    in_order = sorted(benchmarks, key=lambda benchmark: (benchmark.rank, benchmark.name))
    return {benchmark.name: benchmark for benchmark in in_order}


def names() -> list[str]:
    """Return the names of all benchmarks, in the order of the paper's tables."""
    return list(registry())


def get(name: str) -> Benchmark:
    """Return a benchmark by name. Raise ValueError that lists the known ones for an unknown name."""
    try:
        return registry()[name]
    except KeyError:
        raise ValueError(f"unknown benchmark '{name}'; known are {', '.join(names())}") from None


def read_samples(path: str | Path, columns: Iterable[str] | None = None) -> Iterator[Sample]:
    """Yield the samples of a samples.parquet one after another; with `columns` only those fields are read and filled in."""
    from himap.benchmarks.samples.files import read_samples as read

    return read(path, columns)


def score(
    benchmark: Benchmark,
    samples: Iterable[Sample],
    predictions: dict[str, str],
    verdicts: dict[str, list[Any]] | None = None,
    **options: Any,
) -> Scores:
    """Score answers (id -> text) by the benchmark's official rule; a judged one takes the judge's verdicts too."""
    # The module imports pandas.
    from himap.benchmarks._scoring import score as run

    return run(benchmark, samples, predictions, verdicts, **options)


def compare(benchmark: Benchmark, first: Any, second: Any) -> Comparison:
    """Compare two tables of per-sample scores on the same samples: second minus first, interval, p value."""
    from himap.benchmarks._scoring import compare as run

    return run(benchmark, first, second)
