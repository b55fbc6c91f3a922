"""Two samples of each benchmark through each model: the same code as a run, in a folder that is deleted afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from himap.files import read_json
from himap.project import ROOT
from himap.workflow.plan import arguments, settings
from himap.workflow.plan.plan import Plan
from himap.workflow.preflight.findings import Finding, tried

TRIAL = "Two samples"
SAMPLES = 2


def trial(plan: Plan) -> Iterator[Finding]:
    """Yield one finding for each model and benchmark that a table of the config shows."""
    with TemporaryDirectory(prefix="himap-check-") as name:
        folder = Path(name)
        prepared: dict[str, str] = {}  # why a benchmark's samples are missing, empty if they are there
        for model, benchmark in sorted({cell[:2] for cell in plan.evaluations()}):
            label = f"{model}, {benchmark}"
            if benchmark not in prepared:
                prepared[benchmark] = problem_with(plan, benchmark, folder)
            if prepared[benchmark]:
                yield Finding(TRIAL, label, False, prepared[benchmark], "see what is marked ✗ under Data")
            else:
                advice = "read the words above; ./reproduce would fail in the same way"
                yield tried(TRIAL, label, lambda m=model, b=benchmark: answered(plan, m, b, folder), advice)  # type: ignore[misc]


def problem_with(plan: Plan, benchmark: str, folder: Path) -> str:
    """Prepare two samples of a benchmark; return why that failed, or an empty text."""
    words = arguments.samples(plan, benchmark)
    if rows := plan.mini_rows(benchmark):
        drawn = folder / f"{benchmark}-rows.parquet"
        words = [str(drawn) if word == rows[0] else word for word in words]
        if why := call(
            "make_mini_benchmarks.py", "--benchmark", benchmark, "--limit", str(SAMPLES), "--out", str(drawn)
        ):
            return why
    if "--limit" in words:
        del words[words.index("--limit") : words.index("--limit") + 2]
    out = samples_of(folder, benchmark)
    places = ["--out", str(out), "--manifest", str(out.with_suffix(".json"))]
    return call("download_benchmark.py", "--benchmark", benchmark, *words, "--limit", str(SAMPLES), *places)


def samples_of(folder: Path, benchmark: str) -> Path:
    """Return where a benchmark's two samples are."""
    return folder / f"{benchmark}.parquet"


def answered(plan: Plan, model: str, benchmark: str, folder: Path) -> Finding:
    """Let a model answer the two samples under the benchmark's first method; return what it said."""
    method = next(cell[2] for cell in plan.evaluations(model) if cell[1] == benchmark)
    out = folder / f"{model}-{benchmark}.jsonl"
    why = call(
        "evaluate_method.py", *arguments.model(plan, model), "--benchmark", benchmark,
        "--samples", str(samples_of(folder, benchmark)), "--method", arguments.method(plan, model, benchmark, method),
        "--settings", settings.evaluation(plan, model, benchmark, method), "--out", str(out),
    )  # fmt: skip
    if why:
        raise ValueError(why)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    device = read_json(f"{out}.provenance.json")["device"]
    said = "; ".join(repr(" ".join(row["prediction"].split())[:40]) for row in rows)
    return Finding(TRIAL, f"{model}, {benchmark}", True, f"{method} on {device} says {said}")


def call(script: str, *words: str) -> str:
    """Run a script of the workflow; return the last words of a failure, or an empty text."""
    done = subprocess.run(
        [sys.executable, f"workflow_scripts/{script}", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines or [f"{script} ended with status {done.returncode}"])[-1]
