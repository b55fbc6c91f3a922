"""Bad input ends with one line that names the file, the row or the key and the way out, status 1, and no output."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_runs import download, one_error_line, prepare_in_process, run_script, write_predictions
from himap import benchmarks
from hub_fixtures import MAKERS, Fixture, picture, vqav2_test_split
from PIL import Image


def outputs(folder: Path) -> list[str]:
    """What a script left in a folder, the fixture's own folder aside."""
    return sorted(path.name for path in folder.iterdir() if path.name != "hub")


def refused(benchmark: str, source: Path, folder: Path, **options: Any) -> str:
    """The message of a download that has to fail and leave nothing."""
    message = one_error_line(download(benchmark, source, folder, **options))
    assert outputs(folder) == []
    return message


def changed(name: str, change: Callable[[Fixture], object], folder: Path) -> Path:
    """A fixture's file after a change to its rows or types."""
    fixture = MAKERS[name]()
    change(fixture)
    return fixture.write(folder / "hub")


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that announce an enormous image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_a_truncated_parquet_file(tmp_path: Path):
    source = MAKERS["pope"]().write(tmp_path / "hub")
    source.write_bytes(source.read_bytes()[:-200])
    message = refused("pope", source, tmp_path)
    assert str(source) in message
    assert "truncated: fetch or make it again" in message


def test_a_parquet_file_with_damaged_pages(tmp_path: Path):
    source = MAKERS["pope"]().write(tmp_path / "hub")
    data = bytearray(source.read_bytes())
    data[4:600] = b"\xff" * 596
    source.write_bytes(data)
    message = refused("pope", source, tmp_path)
    assert str(source) in message
    assert "again" in message


def test_a_file_that_is_no_parquet_file(tmp_path: Path):
    source = tmp_path / "hub" / "pope.parquet"
    source.parent.mkdir()
    source.write_text("question,answer\n")
    assert "not a readable Parquet file" in refused("pope", source, tmp_path)


def test_a_path_that_does_not_exist(tmp_path: Path):
    assert "no such file or folder" in refused("pope", tmp_path / "nowhere", tmp_path)


def test_a_folder_without_the_split(tmp_path: Path):
    (tmp_path / "hub").mkdir()
    message = refused("docvqa", tmp_path / "hub", tmp_path)
    assert "no .parquet or .arrow file of config 'DocVQA', split 'validation'" in message


def test_a_missing_column(tmp_path: Path):
    source = changed("textvqa", lambda fixture: fixture.types.pop("ocr_tokens"), tmp_path)
    message = refused("textvqa", source, tmp_path)
    assert f"{source}: column 'ocr_tokens' is missing" in message
    assert "is this lmms-lab/textvqa?" in message


@pytest.mark.parametrize(
    ("name", "column", "kind", "convert", "says"),
    [
        ("vqav2", "question_id", pa.float64(), float, "column 'question_id' is double, expected int"),
        ("pope", "image", pa.string(), lambda cell: "a.jpg", "column 'image' is string, expected image"),
        ("scienceqa", "choices", pa.string(), str, "column 'choices' is string, expected list<string>"),
        ("docvqa", "docId", pa.string(), str, "column 'docId' is string, expected int"),
    ],
)
def test_a_mistyped_column(
    name: str, column: str, kind: pa.DataType, convert: Callable[[Any], Any], says: str, tmp_path: Path
):
    def change(fixture: Fixture) -> None:
        fixture.types[column] = kind
        for row in fixture.rows:
            row[column] = convert(row[column])

    assert says in refused(name, changed(name, change, tmp_path), tmp_path)


@pytest.mark.parametrize(("column", "value"), [("question", None), ("image", None)])
def test_a_null_where_there_may_be_none(column: str, value: Any, tmp_path: Path):
    source = changed("pope", lambda fixture: fixture.rows[4].update({column: value}), tmp_path)
    assert f"{source}, row 4: '{column}' is null" in refused("pope", source, tmp_path)


def test_a_null_among_the_answers(tmp_path: Path):
    source = changed("docvqa", lambda fixture: fixture.rows[1].update(answers=["x", None]), tmp_path)
    message = refused("docvqa", source, tmp_path)
    assert f"{source}, row 1" in message
    assert "null" in message


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ({"bytes": b"not an image", "path": None}, "the image cannot be decoded"),
        ({"bytes": picture(1, (400, 400), "JPEG")["bytes"][:-900], "path": None}, "the image cannot be decoded"),
        ({"bytes": picture(1, (400, 400))["bytes"][:-300], "path": None}, "the image cannot be decoded"),
        ({"bytes": png_that_claims(60_000, 60_000), "path": None}, "refused as too large"),
        ({"bytes": png_that_claims(12_000, 12_000), "path": None}, "12000 x 12000 pixels, more than"),
        ({"bytes": None, "path": "/etc/hostname"}, "only named (/etc/hostname)"),
        ({"bytes": None, "path": "../secret.png"}, "only named (../secret.png)"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
    ],
)
def test_an_image_that_cannot_be_used(cell: dict[str, Any], says: str, tmp_path: Path):
    source = changed("pope", lambda fixture: fixture.rows[4].update(image=cell), tmp_path)
    message = refused("pope", source, tmp_path)
    assert f"{source}, row 4" in message
    assert says in message


def test_an_image_that_lies_beside_the_file_is_read(tmp_path: Path):
    def change(fixture: Fixture) -> None:
        fixture.rows[4]["image"] = {"bytes": None, "path": "images/four.png"}

    source = changed("pope", change, tmp_path)
    beside = source.parent / "images" / "four.png"
    beside.parent.mkdir()
    beside.write_bytes(picture(44)["bytes"])
    assert download("pope", source, tmp_path).returncode == 0
    assert list(benchmarks.read_samples(tmp_path / "samples.parquet"))[4].images == [picture(44)["bytes"]]


def test_a_duplicate_id(tmp_path: Path):
    source = changed("docvqa", lambda fixture: fixture.rows[2].update(questionId="49153"), tmp_path)
    message = refused("docvqa", source, tmp_path)
    assert f"{source}, row 2: id '49153' is there twice (before in {source}, row 0)" in message


def test_a_third_question_on_an_mme_image(tmp_path: Path):
    source = changed("mme", lambda fixture: fixture.rows.append(fixture.rows[0]), tmp_path)
    assert "row 8: id 'existence/a.jpg' is there 3 times" in refused("mme", source, tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("scienceqa", {"answer": 7}, "row 1: answer 7 is not one of the 5 choices"),
        ("aokvqa", {"direct_answers": "cat, dog"}, "row 1: direct_answers 'cat, dog' is not a list"),
        ("mmvet", {"capability": "ocr,smell"}, "row 1: capability 'ocr,smell' holds smell"),
        ("chartqa", {"type": "train"}, "row 1: type 'train' is not one of human_test, augmented_test"),
        ("gqa", {"answer": " "}, "row 1: answer is empty"),
        ("mmbench", {"answer": "E"}, "row 1: answer 'E' is not one of A, B, C, D"),
        ("mmbench", {"A": "nan"}, "row 1: option A is missing"),
        ("mmbench_cn", {"index": "1e6"}, "row 1: index '1e6' is not a number"),
        ("seedbench_image", {"answer": "E"}, "row 1: answer 'E' is not one of A, B, C, D"),
        ("seedbench_image", {"question_type_id": 12}, "row 1: question_type_id 12 is not one of 1 to 9"),
        ("seedbench_image", {"image": [picture(1), picture(2)]}, "row 1: holds 2 pictures where one is expected"),
        ("ocrbench", {"question_type": "Poems"}, "row 1: question_type 'Poems' is not one of Regular Text"),
        ("refcoco", {"bbox": [1.0, 2.0, 0.0, 4.0]}, "row 1: bbox [1.0, 2.0, 0.0, 4.0] is no box"),
        ("refcoco", {"bbox": [1.0, 2.0, 3.0]}, "row 1: bbox [1.0, 2.0, 3.0] is no box"),
        ("refcoco_plus", {"answer": []}, "row 1: answer holds no expression"),
        ("refcocog", {"answer": ["a dog", " "]}, "row 1: answer holds an empty expression"),
        ("countbench", {"number": 11}, "row 1: number 11 is not one of 2 to 10"),
        ("ocrbench", {"answer": ["8", ""]}, "row 1: answer ['8', ''] holds no text or an empty one"),
        ("llavabench", {"category": "poem"}, "row 1: category 'poem' is not one of conv, detail, complex"),
    ],
)
def test_a_value_outside_its_range(name: str, change: dict[str, Any], says: str, tmp_path: Path):
    source = changed(name, lambda fixture: fixture.rows[1].update(change), tmp_path)
    assert says in refused(name, source, tmp_path)


def test_a_question_whose_picture_is_not_in_the_other_table(tmp_path: Path):
    source = changed("gqa", lambda fixture: None, tmp_path)
    pictures = source / "testdev_balanced_images" / "testdev-00000-of-00001.parquet"
    pq.write_table(pq.read_table(pictures).slice(1), pictures)
    message = refused("gqa", source, tmp_path)
    assert "row 0: imageId 'n161313' is not among the 1 pictures; fetch both tables again" in message


def test_gqa_questions_alone(tmp_path: Path):
    source = changed("gqa", lambda fixture: None, tmp_path)
    message = refused("gqa", source / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", tmp_path)
    assert "has no column 'image'; give a folder that also holds the pictures" in message


def small_files_only() -> None:
    """Let no file grow beyond 4 kB, which a process sees as a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def noise() -> dict[str, Any]:
    """An image that does not compress."""
    stream = io.BytesIO()
    Image.frombytes("RGB", (60, 60), os.urandom(60 * 60 * 3)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def test_a_full_disk(tmp_path: Path):
    source = changed("pope", lambda fixture: [row.update(image=noise()) for row in fixture.rows], tmp_path)
    message = refused("pope", source, tmp_path, preexec_fn=small_files_only)
    assert f"{tmp_path / 'samples.parquet'}: no room to write it" in message


def test_a_failed_download_leaves_earlier_outputs_alone(tmp_path: Path):
    assert download("pope", MAKERS["pope"]().write(tmp_path / "hub"), tmp_path).returncode == 0
    before = {name: (tmp_path / name).read_bytes() for name in outputs(tmp_path)}
    source = changed("pope", lambda fixture: fixture.rows[5].update(image={"bytes": b"x", "path": None}), tmp_path)
    one_error_line(download("pope", source, tmp_path))
    assert {name: (tmp_path / name).read_bytes() for name in outputs(tmp_path)} == before


def score(folder: Path, name: str, predictions: Path, *more: object, **options: Any) -> Any:
    """score_predictions.py on samples.parquet of a folder."""
    asked = ("--benchmark", name, "--samples", folder / "samples.parquet", "--predictions", predictions)
    return run_script("score_predictions.py", *asked, "--out", folder / "out" / "score.json", *more, **options)


@pytest.fixture(name="chart")
def make_chart(tmp_path: Path) -> Path:
    """A folder with ChartQA's samples."""
    prepare_in_process(MAKERS["chartqa"](), tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ("01234", "1 of 6 samples have no prediction (5)"),
        ("0123456", "1 predictions are for unknown samples (6)"),
        ("01236", "2 of 6 samples have no prediction (4, 5); 1 predictions are for unknown samples (6)"),
        ("0012345", "line 2: sample_id '0' is there twice"),
    ],
)
def test_predictions_that_do_not_fit_the_samples(ids: str, says: str, chart: Path):
    predictions = write_predictions(chart / "p.jsonl", list(ids), ["1"] * len(ids))
    message = one_error_line(score(chart, "chartqa", predictions))
    assert says in message
    assert not (chart / "out").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"sample_id": "0", "predic', "line 2: not valid JSON"),
        ('["0", "1"]', "line 2: expected a JSON object, found list"),
        ('{"id": "0", "text": "1"}', "line 2: needs the strings sample_id and prediction, has id, text"),
        ('{"sample_id": 0, "prediction": "1"}', "line 2: needs the strings sample_id and prediction"),
        ('{"sample_id": "0", "prediction": null}', "line 2: needs the strings sample_id and prediction"),
    ],
)
def test_a_predictions_file_with_a_broken_line(line: str, says: str, chart: Path):
    predictions = chart / "p.jsonl"
    predictions.write_text('{"sample_id": "1", "prediction": "x"}\n' + line)
    message = one_error_line(score(chart, "chartqa", predictions))
    assert f"{predictions}, {says}" in message


def test_missing_predictions_can_be_allowed_and_are_counted(chart: Path):
    predictions = write_predictions(chart / "p.jsonl", list("0123"), ["105", "0.14", "1,000", "0"])
    done = score(chart, "chartqa", predictions, "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "2 samples without a prediction left out" in done.stdout
    result = json.loads((chart / "out" / "score.json").read_text())
    assert (result["n"], result["missing_predictions"], result["headline"]) == (4, 2, pytest.approx(75.0))


def test_several_methods_are_scored_in_one_call_as_one_by_one_and_an_error_names_the_file(chart: Path):
    whole = write_predictions(chart / "whole.jsonl", list("012345"), ["105", "0.14", "1,000", "0", "no", "x"])
    other = write_predictions(chart / "other.jsonl", list("012345"), ["1"] * 6)
    alone = score(chart, "chartqa", other)
    assert alone.returncode == 0, alone.stderr
    written = {name: (chart / "out" / name).read_bytes() for name in ("score.json", "per_sample.parquet")}
    asked = ("--benchmark", "chartqa", "--samples", chart / "samples.parquet", "--predictions", whole)
    both = (*asked, "--predictions", other, "--out", chart / "a" / "score.json")
    done = run_script("score_predictions.py", *both, "--out", chart / "b" / "score.json")
    assert done.returncode == 0, done.stderr
    assert {name: (chart / "b" / name).read_bytes() for name in written} == written
    assert (chart / "a" / "score.json").read_bytes() != written["score.json"]
    assert "--predictions is given 2 times, --out 1" in one_error_line(run_script("score_predictions.py", *both))
    write_predictions(other, list("01234"), ["1"] * 5)
    message = one_error_line(run_script("score_predictions.py", *both, "--out", chart / "c" / "score.json"))
    assert f"{other}: chartqa: 1 of 6 samples have no prediction (5)" in message


def test_mme_leaves_an_image_out_if_one_of_its_answers_is_missing(tmp_path: Path):
    fixture = MAKERS["mme"]()
    ids = [one.sample_id for one in benchmarks.read_samples(prepare_in_process(fixture, tmp_path), [])]
    predictions = write_predictions(tmp_path / "p.jsonl", ids[1:], fixture.answers[1:])
    assert score(tmp_path, "mme", predictions, "--allow-missing").returncode == 0
    result = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (result["n"], result["incomplete_groups_dropped"]) == (6, 1)
    assert result["scores"]["existence"] == pytest.approx(50.0)


def test_mmbench_leaves_a_question_out_if_one_of_its_rotations_has_no_answer(tmp_path: Path):
    fixture = MAKERS["mmbench"]()
    ids = [one.sample_id for one in benchmarks.read_samples(prepare_in_process(fixture, tmp_path), [])]
    predictions = write_predictions(tmp_path / "p.jsonl", ids[1:], fixture.answers[1:])
    assert score(tmp_path, "mmbench", predictions, "--allow-missing").returncode == 0
    result = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (result["n"], result["incomplete_groups_dropped"]) == (6, 3)
    assert (result["headline"], result["scores"]["questions"]) == (pytest.approx(100 / 3), 3.0)


def test_a_split_without_references_cannot_be_scored(tmp_path: Path):
    prepare_in_process(vqav2_test_split(), tmp_path)
    ids = [one.sample_id for one in benchmarks.read_samples(tmp_path / "samples.parquet", [])]
    message = one_error_line(score(tmp_path, "vqav2", write_predictions(tmp_path / "p.jsonl", ids, ["a", "b"])))
    assert f"vqav2 sample {ids[0]} has no reference: this split can only be scored by its server" in message


def test_samples_of_another_benchmark(chart: Path):
    predictions = write_predictions(chart / "p.jsonl", list("012345"), ["yes"] * 6)
    message = one_error_line(score(chart, "pope", predictions))
    assert f"{chart / 'samples.parquet'}: holds samples of chartqa, not of pope" in message


def test_samples_that_are_no_samples(chart: Path):
    pq.write_table(pa.table({"sample_id": ["0"]}), chart / "samples.parquet")
    message = one_error_line(score(chart, "chartqa", write_predictions(chart / "p.jsonl", ["0"], ["1"])))
    assert "make the file with download_benchmark.py" in message


def test_a_full_disk_while_scoring(chart: Path):
    def tiny() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    predictions = write_predictions(chart / "p.jsonl", list("012345"), ["1"] * 6)
    message = one_error_line(score(chart, "chartqa", predictions, preexec_fn=tiny))
    assert "per_sample.parquet: no room to write it" in message
    assert list((chart / "out").iterdir()) == []


def test_judgements_for_a_benchmark_without_a_judge(chart: Path):
    predictions = write_predictions(chart / "p.jsonl", list("012345"), ["1"] * 6)
    message = one_error_line(score(chart, "chartqa", predictions, "--judgements", predictions))
    assert "chartqa is not judged: leave --judgements out" in message
