"""Where every result lies.

`Paths` is the one place that knows the folder: the plan asks it for the files that jobs make, tables, figures, the report and
`./reproduce status` for the files that they read. The rules write the same paths with Snakemake's `<results>` in front.
"""

from __future__ import annotations

from pathlib import Path

TABLE_FORMS = ("csv", "tex", "md", "html")  # the records first: other jobs read them
FIGURE_FORMS = ("svg", "pdf", "png")


class Paths:
    """Where each result lies below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(Path(folder))  # normalized: Snakemake takes `results` and `./results` for two files

    def checkpoint(self, model: str) -> str:
        """Return the folder of a converted checkpoint."""
        return f"{self.folder}/models/{model}/checkpoint"

    def manifest(self, model: str) -> str:
        """Return the list of a model's files with their checksums."""
        return f"{self.folder}/models/{model}/manifest.json"

    def mini_rows(self, benchmark: str) -> str:
        """Return the temporary file with a benchmark's rows as the embedded world draws them."""
        return f"{self.folder}/mini-world/{benchmark}.parquet"

    def is_temporary(self, file: str) -> bool:
        """Return whether Snakemake deletes a file after its last reader: rows of the embedded world."""
        return file == self.mini_rows(Path(file).stem)

    def samples(self, benchmark: str) -> str:
        """Return a benchmark's samples."""
        return f"{self.folder}/benchmarks/{benchmark}/samples.parquet"

    def benchmark_manifest(self, benchmark: str) -> str:
        """Return the record of where a benchmark's samples come from."""
        return f"{self.folder}/benchmarks/{benchmark}/manifest.json"

    def saliency(self, model: str, benchmark: str) -> str:
        """Return saliency per layer (Figures 3 and 4)."""
        return f"{self.folder}/saliency/{model}/{benchmark}/saliency.parquet"

    def disruption(self, model: str, benchmark: str, layers: str) -> str:
        """Return the disruption sweep over a block of layers, such as `0-3` (Figures 5 and 6)."""
        return f"{self.folder}/disruption/{model}/{benchmark}/layers-{layers}.parquet"

    def evaluation(self, model: str, benchmark: str, method: str, name: str) -> str:
        """Return a file of an evaluation: answers, verdicts or scores."""
        return f"{self.folder}/evaluation/{model}/{benchmark}/{method}/{name}"

    def predictions(self, model: str, benchmark: str, method: str) -> str:
        """Return the answers of an evaluation."""
        return self.evaluation(model, benchmark, method, "predictions.jsonl")

    def shards(self, model: str, benchmark: str, method: str, count: int) -> list[str]:
        """Return the parts of an evaluation's answers. The names hold the count, so that another count reuses none of them."""
        return [self.evaluation(model, benchmark, method, f"shard-{i}-of-{count}.jsonl") for i in range(count)]

    def judgements(self, model: str, benchmark: str, method: str) -> str:
        """Return a judge's verdicts."""
        return self.evaluation(model, benchmark, method, "judgements.jsonl")

    def scores(self, model: str, benchmark: str, method: str) -> list[str]:
        """Return an evaluation's score and the scores of its samples."""
        return [self.evaluation(model, benchmark, method, name) for name in ("score.json", "per_sample.parquet")]

    def flops(self, model: str, kind: str, method: str) -> str:
        """Return what a method costs on a kind of task."""
        return f"{self.folder}/flops/{model}/{kind}/{method}.csv"

    def latency(self, model: str, benchmark: str) -> str:
        """Return seconds per example (Figure 8)."""
        return f"{self.folder}/latency/{model}/{benchmark}.csv"

    @property
    def random_latency(self) -> str:
        """Return the timings of a model of random weights."""
        return f"{self.folder}/random-weights/latency.csv"

    def question(self, model: str, benchmark: str, name: str) -> str:
        """Return the rows of an open question."""
        return f"{self.folder}/questions/{model}/{benchmark}/{name}.csv"

    def grid(self, model: str, benchmark: str, name: str = "scores.csv") -> str:
        """Return a file of the grid of schedules: its scores, those of each sample (samples.csv), or its answers (predictions.jsonl)."""
        return f"{self.folder}/grid/{model}/{benchmark}/{name}"

    def verification(self, model: str, name: str = "table.csv") -> str:
        """Return a file of the comparison with the original LLaVA."""
        return f"{self.folder}/verification/{model}/{name}"

    def table(self, name: str) -> list[str]:
        """Return a table in its four forms, its records first."""
        return [f"{self.folder}/tables/{name}.{form}" for form in TABLE_FORMS]

    def figure_data(self, name: str) -> str:
        """Return the numbers behind a figure."""
        return f"{self.folder}/figures/data/{name}.csv"

    def figure(self, name: str) -> list[str]:
        """Return a figure in its three forms."""
        return [f"{self.folder}/figures/{name}.{form}" for form in FIGURE_FORMS]

    @property
    def report(self) -> str:
        """Return the report page."""
        return f"{self.folder}/report.html"

    def log(self, output: str) -> str:
        """Return where the job behind a result writes its log."""
        path = Path(output).relative_to(self.folder)
        # One job makes several of these files in one folder (a set's samples with their manifest), so the folder names
        # its log: results/benchmarks/pope/samples.parquet -> results/logs/benchmarks/pope.log.
        if path.name in ("manifest.json", "samples.parquet", "saliency.parquet") or path.parts[0] == "grid":
            path = path.parent
        # Only these endings go: a folder such as llava-1.5-7b would lose ".5-7b" as well.
        stem = path.with_suffix("") if path.suffix in (".json", ".jsonl", ".parquet", ".csv") else path
        return f"{self.folder}/logs/{stem}.log"
