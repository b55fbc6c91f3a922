"""Running the benchmark scripts as a user would, and reading how they end."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hub_fixtures import Fixture

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


def run_script(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script as a user does; its outcome is for the test to judge. With options it gets a process of its own."""
    words = [str(SCRIPTS / name), *map(str, arguments)]
    if options:
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, **options)
    out, problems = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, words
    try:
        with redirect_stdout(out), redirect_stderr(problems):
            runpy.run_path(words[0], run_name="__main__")
        status: Any = 0
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(words, int(status or 0), out.getvalue(), problems.getvalue())


def download(
    benchmark: str, source: Path, folder: Path, *more: object, **options: Any
) -> subprocess.CompletedProcess[str]:
    """download_benchmark.py from a local path into a folder."""
    where = ("--out", folder / "samples.parquet", "--manifest", folder / "manifest.json")
    return run_script(
        "download_benchmark.py", "--benchmark", benchmark, "--from-path", source, *where, *more, **options
    )


def write_predictions(path: Path, ids: Sequence[str], answers: Sequence[str]) -> Path:
    """predictions.jsonl"""
    lines = [json.dumps({"sample_id": one, "prediction": answer}) for one, answer in zip(ids, answers, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def prepare_in_process(fixture: Fixture, folder: Path, **options: Any) -> Path:
    """samples.parquet of a fixture without starting a process."""
    from himap import benchmarks
    from himap.benchmarks.samples.prepare import prepare
    from himap.benchmarks.samples.source import from_path

    benchmark = benchmarks.get(fixture.benchmark)
    found = from_path(fixture.write(folder / "hub"), benchmark.source)
    prepare(benchmark, benchmark.source, found, folder / "samples.parquet", folder / "manifest.json", **options)
    return folder / "samples.parquet"


def one_error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The message of a script that ended as it should on bad input: status 1, one line, no trace."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: "), lines[0]
    return lines[0]
