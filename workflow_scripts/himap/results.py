"""Reading the results of a run where they are there.

`Results` reads a folder that may be incomplete: what is missing is None, never an error. `paths.py` knows where each file lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import benchmarks
from himap.files import read_json
from himap.paths import Paths

# pandas takes half a second to import and the workflow is read often, so only the readers below import it.
if TYPE_CHECKING:
    import pandas as pd

    from himap.metrics.paired import Comparison

ANSWERS = 2000  # the first answers of an evaluation, which the report looks at
RANDOM_WEIGHTS = "random weights (for time only)"  # what figure and table call that model


def scope(facts: dict[str, Any], model: str | None = None, tasks: list[str] | None = None) -> str:
    """Return whether results speak about the paper's models on its data (`paper`), the embedded world (`mini`), or neither (`other`)."""
    models = [model] if model else list(facts["models"])
    tasks = tasks or list(facts["benchmarks"])
    # One benchmark of the embedded world is enough: a statement about several is then not about published data alone.
    if any(facts["benchmarks"][task]["source"] == "mini" for task in tasks):
        return "mini"
    return "paper" if all(all_models(facts)[name]["published"] for name in models) else "other"


def all_models(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is known of the models of tables and analyses, and of those that are there for open questions alone."""
    return {**facts["models"], **facts.get("question_models", {})}


def methods_of(results: Results, model: str, task: str) -> list[str]:
    """Return the methods evaluated on a benchmark, those of the main tables first."""
    here = [method for a, b, method in results.facts["evaluated"] if (a, b) == (model, task)]
    main = [method for method in results.facts["main_methods"] if method in here]
    return main + [method for method in here if method not in main]


def records_of(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield a frame's rows with its columns as attributes, their types as the file gives them."""
    return iter(frame.itertuples(index=False))


def read_costs(paths: Paths, model: str, kind: str, methods: Iterable[str]) -> pd.DataFrame:
    """Return the costs of several methods on a kind of task as one frame."""
    import pandas as pd

    return pd.concat([pd.read_csv(paths.flops(model, kind, method)) for method in methods], ignore_index=True)


def timing_files(settings: dict[str, Any], results: str | Path) -> Iterator[tuple[str, str, Path]]:
    """Yield model, benchmark and file of the timings that are there; random weights stand for a model, their size for a benchmark."""
    paths = Paths(results)
    files = [
        (model, task, paths.latency(model, task)) for model in settings["models"] for task in settings["benchmarks"]
    ]
    if text := settings.get("random_weights"):
        files.append((RANDOM_WEIGHTS, text, paths.random_latency))
    yield from ((model, task, Path(file)) for model, task, file in files if Path(file).is_file())


def one_at_a_time(timings: pd.DataFrame) -> pd.DataFrame:
    """Return the timings of single questions with the best kernel, without those of batches and of the eager kernel."""
    return timings[(timings["batch_size"] == 1) & (timings["kernel"] != "eager")]


class Results:
    """The results folder of one run, with the facts that the plan states about it."""

    def __init__(self, folder: str | Path, facts: dict[str, Any]) -> None:
        self.paths = Paths(folder)
        self.folder = Path(folder)
        self.facts = facts
        # Several claims ask for the same comparison.
        self._compared: dict[tuple[str, str, str, str], Comparison | None] = {}

    # ---- any file, by its path

    def csv(self, path: str | Path) -> pd.DataFrame | None:
        """Return a CSV file, or None."""
        import pandas as pd

        return pd.read_csv(path) if Path(path).is_file() else None

    def parquet(self, path: str | Path, columns: list[str] | None = None) -> pd.DataFrame | None:
        """Return a Parquet file, or None."""
        import pandas as pd

        return pd.read_parquet(path, columns=columns) if Path(path).is_file() else None

    def json(self, path: str | Path) -> Any:
        """Return a JSON file, or None."""
        return read_json(path) if Path(path).is_file() else None

    # ---- results by name

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table's records."""
        return self.csv(self.paths.table(name)[0])

    def figure(self, name: str) -> pd.DataFrame | None:
        """Return a figure's numbers."""
        return self.csv(self.paths.figure_data(name))

    def saliency(self, model: str, task: str) -> pd.DataFrame | None:
        """Return saliency per layer."""
        return self.parquet(self.paths.saliency(model, task))

    def flops(self, model: str, kind: str, method: str) -> pd.DataFrame | None:
        """Return what a method costs, one row per convention."""
        return self.csv(self.paths.flops(model, kind, method))

    def latency(self, model: str, task: str) -> pd.DataFrame | None:
        """Return the timings of a model on a benchmark, one question at a time."""
        timed = self.csv(self.paths.latency(model, task))
        return None if timed is None else one_at_a_time(timed)

    def random_latency(self) -> pd.DataFrame | None:
        """Return the timings of a model of random weights, one prompt at a time."""
        timed = self.csv(self.paths.random_latency)
        return None if timed is None else one_at_a_time(timed)

    def predictions(self, model: str, task: str, method: str) -> list[dict[str, Any]] | None:
        """Return the first answers of an evaluation."""
        path = Path(self.paths.predictions(model, task, method))
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for number, line in enumerate(lines) if number < ANSWERS]

    def score(self, model: str, task: str, method: str) -> dict[str, Any] | None:
        """Return a scored evaluation, or None while it is missing or not judged."""
        score = self.json(self.paths.scores(model, task, method)[0])
        # Answers without verdicts have a score file too, with a headline of None.
        return score if score and score["headline"] is not None else None

    def per_sample(self, model: str, task: str, method: str) -> pd.DataFrame | None:
        """Return the scores of an evaluation's samples."""
        return self.parquet(self.paths.scores(model, task, method)[1])

    @cached_property
    def against_vanilla(self) -> dict[tuple[str, str, str], Comparison]:
        """Return the comparisons with the unpruned model that the tables hold: computing them again takes minutes on a large set."""
        from himap.metrics.paired import Comparison

        comparisons = {}
        for name in self.facts["tables"]:
            frame = self.table(name)
            for row in records_of(frame[frame["vs_vanilla"].notna()]) if frame is not None else ():
                # The CSV has six digits of each number, which is all that the report shows.
                edges = (row.vs_vanilla_low, row.vs_vanilla_high)
                key = (row.model, row.benchmark, row.method)
                sizes = int(row.n), int(row.pictures)
                comparisons[key] = Comparison(row.vs_vanilla, edges, row.p_value, row.test, *sizes, row.least_p)
        return comparisons

    def compare(self, model: str, task: str, first: str, second: str) -> Comparison | None:
        """Return second minus first on the same samples, or None if either is missing."""
        if first == "vanilla" and (known := self.against_vanilla.get((model, task, second))):
            return known
        key = (model, task, first, second)
        if key not in self._compared:
            frames = [self.per_sample(model, task, method) for method in (first, second)]
            # An evaluation that was not judged has a table of nothing but NaN.
            scored = all(frame is not None and frame.drop(columns="sample_id").notna().any().any() for frame in frames)
            self._compared[key] = benchmarks.compare(benchmarks.get(task), *frames) if scored else None
        return self._compared[key]

    def disruption(self, model: str, task: str) -> pd.DataFrame | None:
        """Return the disruption sweep of a model and benchmark, or None. Blocks of layers that overlap count once."""
        import pandas as pd

        # One file per block of layers, such as layers-0-3.parquet; the last part of the path is the pattern.
        pattern = Path(self.paths.disruption(model, task, "*"))
        files = sorted(pattern.parent.glob(pattern.name))
        if not files:
            return None
        frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
        return frame.drop_duplicates(["sample_id", "layer", "flow", "extent", "block"])

    @cached_property
    def sidecars(self) -> dict[str, dict[str, Any]]:
        """Return every provenance sidecar by the result that it belongs to."""
        ending = ".provenance.json"
        files = sorted(self.folder.rglob(f"*{ending}"))
        return {str(path.relative_to(self.folder)).removesuffix(ending): read_json(path) for path in files}

    def devices(self, stage: str, model: str) -> list[str]:
        """Return the devices that a model's results of one stage were made on."""
        prefix = f"{stage}/{model}/"
        sidecars = [sidecar for name, sidecar in self.sidecars.items() if name.startswith(prefix)]
        return sorted({sidecar["device"] for sidecar in sidecars if "device" in sidecar})
