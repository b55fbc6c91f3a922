"""Verdicts read back, ours or those of the official evaluators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from himap.benchmarks._base import Benchmark
from himap.files import read_json
from himap.judging.requests import protocol_of


def read_judgements(benchmark: Benchmark, paths: Sequence[Path]) -> dict[str, list[list[float] | None]]:
    """Return the verdicts of all runs by sample id, from judge_answers.py or from the official evaluators' files.

    Those are MM-Vet's grades (one JSON object, a list of scores for each question) and LLaVA's reviews (JSON lines, one
    file a run).
    """
    # Ordered by file, then by run within it, so that run 2 means the same for every sample.
    collected: dict[str, list[tuple[tuple[int, int], list[float] | None]]] = defaultdict(list)
    for number, path in enumerate(paths):
        for sample_id, run, verdict in rows_of_judgements(benchmark, path):
            collected[sample_id].append(((number, run), verdict))
    return {
        sample_id: [verdict for _, verdict in sorted(rows, key=lambda row: row[0])]
        for sample_id, rows in collected.items()
    }


def rows_of_judgements(benchmark: Benchmark, path: Path) -> Iterator[tuple[str, int, list[float] | None]]:
    """Yield sample id, run and verdict of every row of one file."""
    from himap.benchmarks.samples.files import read_jsonl

    if path.suffix == ".json":  # MM-Vet: {"v1_0": {"score": [0.5, 0.6, ...], ...}, ...}
        for sample_id, grade in read_json(path).items():
            yield from ((sample_id, run, [float(score)]) for run, score in enumerate(grade["score"], start=1))
        return
    protocol = protocol_of(benchmark)
    for number, row in read_jsonl(path):
        # Ours has sample_id, run and verdict; LLaVA's review has question_id and content, the judge's text.
        sample_id = row.get("sample_id", row.get("question_id"))
        if sample_id is None or not {"verdict", "content"} & set(row):
            raise ValueError(f"{path}, line {number}: needs sample_id and verdict (or question_id and content)")
        # Not `row.get("verdict")`: None is a verdict too, one that could not be read.
        verdict = row["verdict"] if "verdict" in row else protocol.parse(row["content"])
        yield str(sample_id), int(row.get("run", 1)), verdict
