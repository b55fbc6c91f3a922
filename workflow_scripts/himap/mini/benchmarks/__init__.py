"""The benchmarks of the embedded world, each declared in one file of this folder; adding a file adds one.

A file declares `MINI = MiniBenchmark(name, columns, samples, make)`: rows about generated pictures, in the columns of the
published data set, so that the same adapter (`himap/benchmarks/<name>.py`) reads both.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from himap.mini.benchmarks._draw import SEEDS, Drawer, MiniBenchmark, Row
from himap.registry import import_all, unknown

__all__ = ["MiniBenchmark", "Row", "get", "make", "names", "write"]


@cache
def registry() -> dict[str, MiniBenchmark]:
    """Return every mini benchmark by name: those with a fixed seed in its order, then the others by name."""
    minis: dict[str, MiniBenchmark] = {}
    for file_name in import_all(__name__):  # every file of this folder whose name has no underscore in front
        mini = import_module(f"{__name__}.{file_name}").MINI
        if mini.name != file_name:  # the workflow finds the code of a mini benchmark by this name
            raise ValueError(f"{file_name}.py in himap/mini/benchmarks declares {mini.name!r}; name both the same")
        minis[mini.name] = mini
    ordered = [*(name for name in SEEDS if name in minis), *sorted(minis.keys() - set(SEEDS))]
    return {name: minis[name] for name in ordered}


def names() -> list[str]:
    """Return the names of all mini benchmarks."""
    return list(registry())


def get(name: str) -> MiniBenchmark:
    """Return a mini benchmark; raise ValueError for an unknown name."""
    if name not in registry():
        raise unknown("mini benchmark", name, names())
    return registry()[name]


def make(name: str, split: str = "test", seed: int = 0, samples: int | None = None) -> list[Row]:
    """Return the rows of a mini benchmark, always the same for the same arguments.

    `samples` replaces the usual number: of rows, or of pictures where several rows belong together.
    """
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; at least one is needed")
    mini = get(name)
    # A new drawer for every call: it counts scenes from 0, so that equal arguments give equal rows.
    return mini.make(Drawer(name, split, seed), samples or mini.samples)


def write(name: str, path: Path, split: str = "test", seed: int = 0, samples: int | None = None) -> int:
    """Draw a mini benchmark, write its Parquet file, and return the number of rows."""
    from himap import files
    from himap.mini.benchmarks._table import to_table

    rows = make(name, split, seed, samples)
    files.write_parquet(path, to_table(get(name).columns, rows))
    return len(rows)
