"""Reading a results folder that may be incomplete: what is not there is None, never an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from himap import benchmarks
from himap.files import read_json

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    from himap.metrics.statistics import Comparison


def scope(facts: dict[str, Any], model: str | None = None, tasks: list[str] | None = None) -> str:
    """Whether results speak about the paper's models on its data (`paper`), the embedded world (`mini`), or neither (`other`)."""
    models = [model] if model else list(facts["models"])
    tasks = tasks or list(facts["benchmarks"])
    if any(facts["benchmarks"][task]["source"] == "mini" for task in tasks):
        return "mini"
    return "paper" if all(facts["models"][one]["published"] for one in models) else "other"


ANSWERS = 2000  # answers per evaluation that are looked at


def methods_of(results: Results, model: str, task: str) -> list[str]:
    """The methods evaluated on a benchmark, those of the main tables first."""
    here = [method for a, b, method in results.facts["evaluated"] if (a, b) == (model, task)]
    main = [method for method in results.facts["main_methods"] if method in here]
    return main + [method for method in here if method not in main]


def records_of(frame: pd.DataFrame) -> Iterator[Any]:
    """A frame's rows with its columns as attributes, their types as the file gives them."""
    return iter(frame.itertuples(index=False))


class Results:
    """The results folder of one run, with what the plan says about it."""

    def __init__(self, folder: str | Path, facts: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.facts = facts
        self._compared: dict[tuple[str, str, str, str], Comparison | None] = {}

    def csv(self, *parts: str) -> pd.DataFrame | None:
        """A CSV file, or None."""
        path = self.folder.joinpath(*parts)
        return pd.read_csv(path) if path.is_file() else None

    def parquet(self, *parts: str, columns: list[str] | None = None) -> pd.DataFrame | None:
        """A Parquet file, or None."""
        path = self.folder.joinpath(*parts)
        return pd.read_parquet(path, columns=columns) if path.is_file() else None

    def json(self, *parts: str) -> Any:
        """A JSON file, or None."""
        path = self.folder.joinpath(*parts)
        return read_json(path) if path.is_file() else None

    def jsonl(self, *parts: str, most: int | None = None) -> list[dict[str, Any]] | None:
        """The first rows of a JSON-lines file, or None."""
        path = self.folder.joinpath(*parts)
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for number, line in enumerate(lines) if most is None or number < most]

    def table(self, name: str) -> pd.DataFrame | None:
        """A table's records."""
        return self.csv("tables", f"{name}.csv")

    def figure(self, name: str) -> pd.DataFrame | None:
        """A figure's numbers."""
        return self.csv("figures", "data", f"{name}.csv")

    def score(self, model: str, task: str, method: str) -> dict[str, Any] | None:
        """A scored evaluation, or None while it is missing or not judged."""
        found = self.json("evaluation", model, task, method, "score.json")
        return found if found and found["headline"] is not None else None

    @cached_property
    def against_vanilla(self) -> dict[tuple[str, str, str], Comparison]:
        """The comparisons with the unpruned model that the tables hold already, since swapping methods on a large set takes its time."""
        from himap.metrics.statistics import Comparison

        found = {}
        for name in self.facts["tables"]:
            frame = self.table(name)
            for row in records_of(frame[frame["vs_vanilla"].notna()]) if frame is not None else ():
                edges = (row.vs_vanilla_low, row.vs_vanilla_high)
                key = (row.model, row.benchmark, row.method)
                sizes = int(row.n), int(row.pictures)
                found[key] = Comparison(row.vs_vanilla, edges, row.p_value, row.test, *sizes, row.least_p)
        return found

    def compare(self, model: str, task: str, first: str, second: str) -> Comparison | None:
        """Second minus first on the same samples, or None if either is missing."""
        if first == "vanilla" and (known := self.against_vanilla.get((model, task, second))):
            return known
        key = (model, task, first, second)
        if key not in self._compared:
            frames = [self.parquet("evaluation", model, task, one, "per_sample.parquet") for one in (first, second)]
            scored = all(frame is not None and frame.drop(columns="sample_id").notna().any().any() for frame in frames)
            self._compared[key] = benchmarks.compare(benchmarks.get(task), *frames) if scored else None
        return self._compared[key]

    def disruption(self, model: str, task: str) -> pd.DataFrame | None:
        """Return the disruption sweep of a model and benchmark, or None; blocks of layers that overlap count once."""
        files = sorted((self.folder / "disruption" / model / task).glob("layers-*.parquet"))
        if not files:
            return None
        frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
        return frame.drop_duplicates(["sample_id", "layer", "flow", "extent", "block"])

    @cached_property
    def sidecars(self) -> dict[str, dict[str, Any]]:
        """Every provenance sidecar by the result that it belongs to."""
        ending = ".provenance.json"
        found = sorted(self.folder.rglob(f"*{ending}"))
        return {str(path.relative_to(self.folder)).removesuffix(ending): read_json(path) for path in found}

    def devices(self, stage: str, model: str) -> list[str]:
        """The devices that a model's results of one stage were made on."""
        prefix = f"{stage}/{model}/"
        return sorted(
            {one["device"] for name, one in self.sidecars.items() if name.startswith(prefix) and "device" in one}
        )
