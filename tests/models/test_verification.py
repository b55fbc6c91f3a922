"""The comparison with the original implementation: what is asked, what is compared, and that nothing of it is needed here."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import originals
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warm import run_script

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflow_scripts" / "verify_original.py"


@pytest.fixture(scope="module")
def ours(ready: Callable[[str], Path], recorded: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step `ours` on the recorded questions, put as open questions so that nothing is added to them."""
    folder = tmp_path_factory.mktemp("verify")
    rows = []
    for number, sample in enumerate(recorded["llava"]["samples"]):
        data = io.BytesIO()
        originals.image(number).save(data, "PNG")
        rows.append(
            {
                "sample_id": f"q{number}", "question": sample["question"], "options": [], "references": [],
                "images": [data.getvalue()], "metadata": "{}",
            }
        )  # fmt: skip
    lists = {name: pa.list_(pa.string()) for name in ("options", "references")}
    schema = pa.schema({"sample_id": pa.string(), "question": pa.string(), **lists,
                        "images": pa.list_(pa.binary()), "metadata": pa.string()})  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "samples.parquet")
    done = run_script(
        SCRIPT.name, "ours", "--model", ready("llava"), "--benchmark", "mmvet", "--samples", folder / "samples.parquet", "--dtype", "float32",
        "--device", "cpu", "--max-new-tokens", "12", "--out", folder / "ours.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "ours.json"


@pytest.fixture
def original(recorded: Any, tmp_path: Path) -> Path:
    """What the step `original` writes, from the recorded numbers of that implementation."""
    rows = [
        {"sample_id": f"q{number}", "prompt": sample["prompt"], "ids": sample["ids"], "logits": sample["logits"],
         "answer_ids": [token for token in sample["greedy"] if token > 2], "answer": "x"}
        for number, sample in enumerate(recorded["llava"]["samples"])
    ]  # fmt: skip
    path = tmp_path / "original.json"
    path.write_text(json.dumps({"made_with": "llava-torch", "rows": rows}))
    return path


def table(ours: Path, original: Path, folder: Path) -> list[dict[str, str]]:
    done = run_script(SCRIPT.name, "compare", "--ours", ours, "--original", original, "--out", folder / "table.csv")
    assert done.returncode == 0, done.stderr
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_here_and_in_the_original_all_is_the_same(ours: Path, original: Path, tmp_path: Path) -> None:
    *rows, whole = table(ours, original, tmp_path)
    assert [row["sample_id"] for row in rows] == ["q0", "q1", "q2"]
    for row in rows:
        assert {row[key] for key in ("same_prompt", "same_ids", "same_first_token", "same_answer")} == {"yes"}
        assert float(row["largest_logit_difference"]) < 1e-4
    assert whole["same_answer"] == "3 of 3"
    page = (tmp_path / "table.html").read_text()
    assert page.count("<tr>") == 5
    assert "The original: llava-torch. Both in float32." in page
    assert not re.search(r"(src|href)=", page)


def test_a_difference_is_shown(ours: Path, original: Path, tmp_path: Path) -> None:
    rows = json.loads(original.read_text())
    rows["rows"][1]["logits"][7] += 50
    rows["rows"][2]["ids"][3] += 1
    rows["rows"][0]["answer_ids"].append(5)
    original.write_text(json.dumps(rows))
    first, second, third, whole = table(ours, original, tmp_path)
    assert (first["same_answer"], second["same_first_token"], third["same_ids"]) == ("no", "no", "no")
    assert float(whole["largest_logit_difference"]) == pytest.approx(50, abs=0.1)
    assert whole["same_ids"] == "2 of 3"


def test_answers_to_other_questions_are_refused(ours: Path, original: Path, tmp_path: Path) -> None:
    rows = json.loads(original.read_text())
    rows["rows"].pop()
    original.write_text(json.dumps(rows))
    done = run_script(SCRIPT.name, "compare", "--ours", ours, "--original", original, "--out", tmp_path / "table.csv")
    assert done.returncode == 1
    assert "run the step `original` again" in done.stderr
    assert not (tmp_path / "table.csv").exists()


def test_the_package_llava_is_imported_in_one_place_and_in_no_requirement_of_the_main_environment() -> None:
    scripts = [path for path in (ROOT / "workflow_scripts").rglob("*.py") if path != SCRIPT]
    importing = re.compile(r"^\s*(from|import) llava\b", re.MULTILINE)
    assert importing.search(SCRIPT.read_text())
    assert [path.name for path in scripts if importing.search(path.read_text())] == []
    assert "llava" not in (ROOT / "envs" / "requirements.txt").read_text()
    pins = (ROOT / "envs" / "requirements-llava.txt").read_text().split()
    assert {"llava-torch==1.2.2.post1", "torch==2.0.1", "transformers==4.36.2"} <= set(pins)
