"""The whole path of every benchmark: published rows, samples and manifest, answers, scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_runs import download, run_script, write_predictions
from himap import benchmarks
from himap.benchmarks._sample import image_bytes
from himap.files import sha256
from hub_fixtures import IMAGE, MAKERS, aokvqa_as_lists, picture

UNJUDGED = [name for name in MAKERS if not benchmarks.get(name).judged]


def test_every_benchmark_has_a_fixture():
    assert sorted(MAKERS) == sorted(benchmarks.names())


@pytest.mark.parametrize("name", UNJUDGED)
def test_download_then_score_gives_the_expected_numbers(name: str, tmp_path: Path):
    fixture = MAKERS[name]()
    made = download(name, fixture.write(tmp_path / "hub"), tmp_path)
    assert made.returncode == 0, made.stderr
    samples = list(benchmarks.read_samples(tmp_path / "samples.parquet"))
    predictions = write_predictions(tmp_path / "p.jsonl", [one.sample_id for one in samples], fixture.answers)
    asked = ("--benchmark", name, "--samples", tmp_path / "samples.parquet", "--predictions", predictions)
    scored = run_script("score_predictions.py", *asked, "--out", tmp_path / "score.json")
    assert scored.returncode == 0, scored.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["n"] == len(fixture.answers)
    assert score["interval"][0] <= score["headline"] <= score["interval"][1]
    if fixture.headline is not None:
        assert score["headline"] == pytest.approx(fixture.headline, abs=5e-5)
    assert {key: score["scores"][key] for key in fixture.scores} == pytest.approx(fixture.scores)
    rows = pd.read_parquet(tmp_path / "per_sample.parquet")
    assert list(rows["sample_id"]) == [one.sample_id for one in samples]
    assert rows["score"].notna().all()


@pytest.mark.parametrize("name", list(MAKERS))
def test_samples_keep_what_the_source_says(name: str, prepared):
    fixture = MAKERS[name]()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    rows = [part for row in fixture.rows for part in benchmarks.get(name).parts(row)]
    assert [one.images for one in samples] == [image_bytes(row) for row in rows]
    assert [one.question for one in samples] == [row.get("question", "") for row in rows]
    assert len({one.sample_id for one in samples}) == len(rows)
    assert all(one.references for one in samples)


def test_the_scripts_run_by_hand(tmp_path: Path):
    fixture = MAKERS["docvqa"]()
    made = download("docvqa", fixture.write(tmp_path / "hub"), tmp_path, cwd=tmp_path)
    assert made.stdout == f"docvqa: 3 of 3 samples with 3 images in {tmp_path / 'samples.parquet'}\n"
    predictions = write_predictions(tmp_path / "p.jsonl", ["49153", "49154", "49155"], fixture.answers)
    asked = ("--benchmark", "docvqa", "--samples", "samples.parquet", "--predictions", predictions, "--out", "s.json")
    scored = run_script("score_predictions.py", *asked, cwd=tmp_path)
    assert scored.stdout.startswith("docvqa: ANLS 72.86 [0.00, 100.00] (n = 3, pictures = 1)")


def test_manifest_says_where_the_samples_come_from(tmp_path: Path):
    source = MAKERS["pope"]().write(tmp_path / "hub")
    assert download("pope", source, tmp_path).returncode == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rows"] == 6
    assert manifest["sha256"] == sha256(tmp_path / "samples.parquet")
    assert manifest["source"]["path"] == str(source)
    assert manifest["licence"] == benchmarks.get("pope").source.licence
    assert manifest["subset"] == {"limit": None, "seed": None, "n_total": 6}


def test_the_same_source_gives_the_same_bytes(prepared, tmp_path: Path):
    first = sha256(prepared(MAKERS["mme"]()))
    assert sha256(prepared(MAKERS["mme"]())) == first


def test_only_the_columns_asked_for_are_read(prepared):
    samples = list(benchmarks.read_samples(prepared(MAKERS["pope"]()), ["references"]))
    assert samples[0].references == ["yes"]
    assert samples[0].images == []
    assert samples[0].sample_id == "0"


def test_aokvqa_is_read_in_both_published_forms(prepared, tmp_path: Path):
    as_text = [one.metadata["direct_answers"] for one in benchmarks.read_samples(prepared(MAKERS["aokvqa"]()))]
    as_list = [one.metadata["direct_answers"] for one in benchmarks.read_samples(prepared(aokvqa_as_lists()))]
    assert as_text == as_list == [["cat", "a dog's"]] * 3


def test_mme_questions_of_an_image_get_ids_of_their_own(prepared):
    ids = [one.sample_id for one in benchmarks.read_samples(prepared(MAKERS["mme"]()), [])]
    assert ids[:2] == ["existence/a.jpg#1", "existence/a.jpg#2"]


def test_scienceqa_rows_without_an_image_have_none(prepared):
    fixture = MAKERS["scienceqa"]()
    fixture.rows[0]["image"] = None
    assert next(benchmarks.read_samples(prepared(fixture))).images == []


def test_flickr30k_takes_only_the_test_rows_of_a_copy_with_all_splits(prepared):
    fixture = MAKERS["flickr30k"]()
    fixture.types["split"] = pa.string()
    for row, split in zip(fixture.rows, ["train", "test", "test"], strict=True):
        row["split"] = split
    assert [one.sample_id for one in benchmarks.read_samples(prepared(fixture), [])] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("gqa", 2),
        ("vizwiz_val", 4),
        ("seedbench_image", 3),
        ("mmbench", 4),
        ("mmbench_cn", 4),
        ("ocrbench", 4),
        ("refcoco", 2),
    ],
)
def test_questions_about_one_picture_are_drawn_together(name: str, pictures: int, prepared):
    fixture = MAKERS[name]()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    answers = dict(zip((one.sample_id for one in samples), fixture.answers, strict=True))
    assert benchmarks.score(benchmarks.get(name), samples, answers).pictures == pictures


def test_a_vizwiz_question_without_ten_answers_is_not_scored(prepared):
    fixture = MAKERS["vizwiz_val"]()
    fixture.rows[1]["answers"].pop()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    with pytest.raises(ValueError, match="vizwiz_val sample VizWiz_val_00000001: 9 answers"):
        benchmarks.score(benchmarks.get("vizwiz_val"), samples, {one.sample_id: "yes" for one in samples})


def test_seedbench_takes_only_the_questions_about_pictures(prepared):
    fixture = MAKERS["seedbench_image"]()
    fixture.rows[1] |= {"data_type": "video", "question_type_id": 10, "image": [picture(1), picture(2)]}
    samples = list(benchmarks.read_samples(prepared(fixture)))
    assert [one.metadata["question_id"] for one in samples] == ["101669", "49914", "49915"]
    assert [len(one.images) for one in samples] == [1, 1, 1]


def test_gqa_is_also_read_from_one_file_that_holds_the_pictures(tmp_path: Path):
    fixture = MAKERS["gqa"]()
    path = tmp_path / "gqa.parquet"
    pq.write_table(pa.Table.from_pylist(fixture.rows, pa.schema([*fixture.types.items(), ("image", IMAGE)])), path)
    done = download("gqa", path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(benchmarks.read_samples(tmp_path / "samples.parquet"))) == 6


def test_an_object_of_refcoco_is_asked_for_once_by_each_of_its_expressions(prepared):
    fixture = MAKERS["refcoco"]()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    assert [one.sample_id for one in samples] == ["0", "1", "2", "3", "4", "5"]
    assert [one.question for one in samples] == [text for row in fixture.rows for text in row["answer"]]
    assert [one.references for one in samples[:4]] == [["6, 2, 12, 8"]] * 3 + [["0, 0, 6, 8"]]
    assert [(one.metadata["width"], one.metadata["height"]) for one in samples[3:5]] == [(12, 8), (8, 12)]
    chosen = list(benchmarks.read_samples(prepared(fixture, limit=4)))
    assert {(one.sample_id, one.question) for one in chosen} < {(one.sample_id, one.question) for one in samples}
    assert len(chosen) == 4


def test_a_limit_of_mmbench_takes_whole_questions(prepared):
    ids = [int(one.sample_id) for one in benchmarks.read_samples(prepared(MAKERS["mmbench"](), limit=2), [])]
    questions = {number % 1_000_000 for number in ids}
    assert len(questions) == 2
    every = [row["index"] for row in MAKERS["mmbench"]().rows]
    assert ids == [number for number in every if number % 1_000_000 in questions]


def test_a_judged_benchmark_without_verdicts_says_so(prepared, tmp_path: Path):
    fixture = MAKERS["mmvet"]()
    samples = prepared(fixture)
    predictions = write_predictions(tmp_path / "p.jsonl", ["v1_0", "v1_1", "v1_2"], fixture.answers)
    asked = ("--benchmark", "mmvet", "--samples", samples, "--predictions", predictions)
    scored = run_script("score_predictions.py", *asked, "--out", tmp_path / "score.json")
    assert scored.returncode == 0, scored.stderr
    assert "not judged" in scored.stdout
    score = json.loads((tmp_path / "score.json").read_text())
    assert (score["headline"], score["interval"], score["judged"], score["n"]) == (None, None, False, 3)


def test_a_large_set_is_streamed(tmp_path: Path):
    fixture = MAKERS["pope"]()
    head = b"BM" + b"\0" * 8
    source = tmp_path / "large.parquet"
    schema = pa.schema(list(fixture.types.items()))
    with pq.ParquetWriter(source, schema, compression="none") as writer:
        for group in range(40):
            noise = [{"bytes": head + os.urandom(200_000), "path": None} for _ in range(10)]
            rows = [fixture.rows[0] | {"id": f"{group}-{at}", "image": image} for at, image in enumerate(noise)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    code = (
        "import pyarrow as pa; from himap import benchmarks; from himap.benchmarks.samples import prepare, source;"
        "from pathlib import Path; prepare.check_image = lambda data: None; one = benchmarks.get('pope');"
        f"found = source.from_path(Path({str(source)!r}), one.source); out = Path({str(tmp_path)!r});"
        "prepare.prepare(one, one.source, found, out / 's.parquet', out / 'm.json');"
        "print(pa.default_memory_pool().max_memory())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert source.stat().st_size > 80_000_000
    assert int(ran.stdout) < 40_000_000
