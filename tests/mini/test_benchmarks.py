"""The twelve mini benchmarks: columns of the published sets, read by the same adapters, with questions in their style."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import make_mini_benchmarks
import pyarrow.parquet as pq
import pytest
from himap import benchmarks as adapters
from himap.benchmarks._prompts import letters
from himap.mini import benchmarks
from himap.mini.benchmarks._draw import SEEDS, seed_of
from himap.mini.questions.question import CAPTION, LETTER, ONE_WORD, SHORT
from himap.workflow.plan.code_hash import code_version


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All twelve, 36 rows or images each."""
    path = tmp_path_factory.mktemp("mini-benchmarks")
    assert make_mini_benchmarks.main(["--out", str(path), "--samples", "36"]) == 0
    return path


def rows(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def test_every_benchmark_of_the_paper_has_one(folder: Path) -> None:
    assert set(SEEDS) <= set(benchmarks.names()) <= set(adapters.names())
    assert {path.stem for path in folder.glob("*.parquet")} == set(benchmarks.names())


@pytest.mark.parametrize("name", benchmarks.names())
def test_columns_are_those_of_the_published_set(folder: Path, name: str) -> None:
    source = adapters.get(name).source
    assert set(pq.read_schema(folder / f"{name}.parquet").names) == set(source.columns) | set(source.unused)


@pytest.mark.parametrize("name", benchmarks.names())
def test_the_datasets_library_decodes_the_images(folder: Path, name: str, tmp_path: Path) -> None:
    from datasets import Dataset

    data = Dataset.from_parquet(str(folder / f"{name}.parquet"), cache_dir=str(tmp_path))
    assert data[0]["image"].size == (96, 96)


@pytest.mark.parametrize("name", benchmarks.names())
def test_the_adapter_reads_them_and_right_answers_score_in_full(folder: Path, name: str) -> None:
    benchmark = adapters.get(name)
    table = rows(folder, name)
    samples = [benchmark.sample(row, index) for index, row in enumerate(table)]
    assert all(sample.images and sample.references for sample in samples)
    if benchmark.judged or benchmark.task == "caption":
        return
    answers = [Counter(sample.references).most_common(1)[0][0] for sample in samples]
    if name in ("scienceqa", "aokvqa"):
        index = "answer" if name == "scienceqa" else "correct_choice_idx"
        answers = [letters(row["choices"])[row[index]] for row in table]
    scores = [row["score"] for row in benchmark.rows(samples, answers)]
    assert min(scores) >= (0.9 if name in ("vqav2", "textvqa") else 1.0)


def test_the_prompts_are_among_those_trained_on(folder: Path) -> None:
    endings = (SHORT, LETTER, ONE_WORD, CAPTION, "?", "detail.")
    for name in benchmarks.names():
        benchmark = adapters.get(name)
        for index, row in enumerate(rows(folder, name)):
            assert benchmark.prompt(benchmark.sample(row, index), "llava").text.rstrip().endswith(endings)


def test_vqav2_has_ten_annotators_who_mostly_agree(folder: Path) -> None:
    for row in rows(folder, "vqav2"):
        answers = Counter(answer["answer"].lower() for answer in row["answers"])
        assert answers.total() == 10
        assert answers.most_common(1)[0][1] >= 4


def test_mme_asks_about_each_picture_once_with_yes_and_once_with_no(folder: Path) -> None:
    answers = defaultdict(list)
    for row in rows(folder, "mme"):
        answers[row["category"], row["question_id"]].append(row["answer"])
        assert row["question"].endswith(" Please answer yes or no.")
    assert all(sorted(pair) == ["No", "Yes"] for pair in answers.values())
    assert {"existence", "count", "position", "color"} <= {category for category, _ in answers}


def test_pope_settings_share_positives_and_differ_in_negatives(folder: Path) -> None:
    asked = defaultdict(set)
    for row in rows(folder, "pope"):
        asked[row["category"], row["answer"]].add((row["image_source"], row["question"]))
    assert asked["random", "yes"] == asked["popular", "yes"] == asked["adversarial", "yes"]
    assert asked["random", "no"] != asked["adversarial", "no"]
    assert len({len(each) for each in asked.values()}) == 1


def test_scienceqa_has_contexts_and_two_to_five_options(folder: Path) -> None:
    table = rows(folder, "scienceqa")
    assert {len(row["choices"]) for row in table} == {2, 3, 4, 5}
    assert any(row["hint"] for row in table)
    assert any(not row["hint"] for row in table)


def test_aokvqa_direct_answers_are_a_list_in_a_string(folder: Path) -> None:
    for row in rows(folder, "aokvqa"):
        assert len(ast.literal_eval(row["direct_answers"])) == 10
        assert len(row["choices"]) == 4


@pytest.mark.parametrize(
    ("name", "column", "number"), [("nocaps", "annotations_captions", 10), ("flickr30k", "caption", 5)]
)
def test_captions_have_as_many_references_as_the_real_set(folder: Path, name: str, column: str, number: int) -> None:
    assert all(len(set(row[column])) == number for row in rows(folder, name))


def test_chartqa_has_two_halves_and_llavabench_three_categories(folder: Path) -> None:
    assert Counter(row["type"] for row in rows(folder, "chartqa")) == {"human_test": 18, "augmented_test": 18}
    assert {row["category"] for row in rows(folder, "llavabench")} == {"conv", "detail", "complex"}


def test_mmvet_has_alternatives_and_conjunctions(folder: Path) -> None:
    answers = [row["answer"] for row in rows(folder, "mmvet")]
    assert any("<AND>" in answer for answer in answers)
    assert any("<OR>" in answer for answer in answers)


def test_metadata_names_the_features(folder: Path) -> None:
    metadata = pq.read_schema(folder / "pope.parquet").metadata
    assert json.loads(metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}


def test_one_file_can_be_drawn_alone_and_equals_that_of_the_folder(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    make_mini_benchmarks.main(["--benchmark", "textvqa", "--limit", "36", "--out", str(path)])
    assert pq.read_table(path).equals(pq.read_table(folder / "textvqa.parquet"))


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown mini benchmark 'vqa'"):
        make_mini_benchmarks.main(["--benchmarks", "vqa", "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="is one file but 14"):
        make_mini_benchmarks.main(["--out", str(tmp_path / "all.parquet")])
    with pytest.raises(ValueError, match="at least one"):
        make_mini_benchmarks.main(["--benchmark", "pope", "--samples", "0", "--out", str(tmp_path)])


SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
SKETCHES = """
from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture


def make(draw: Drawer, number: int) -> list[Row]:
    scenes = [draw.scene("few")[0] for _ in range(number)]
    return [{"image": picture(scene, "sketch.png"), "caption": scene.marks[0].name} for scene in scenes]


MINI = MiniBenchmark(name="a_sketches", columns={"image": IMAGE, "caption": TEXT}, samples=5, make=make)
"""
DIGESTS = """
import hashlib, json
from himap.mini import benchmarks

def digest(name):
    return hashlib.sha256(repr(benchmarks.make(name, samples=6)).encode()).hexdigest()

print(json.dumps({name: digest(name) for name in benchmarks.names()}))
"""


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a copy of the scripts' folder instead of this one."""
    command = [sys.executable, "-B", *arguments]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, text=True, capture_output=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code that a test may add files to."""
    return Path(shutil.copytree(SCRIPTS, tmp_path / "workflow_scripts", ignore=shutil.ignore_patterns("__pycache__")))


def test_adding_one_file_adds_a_mini_benchmark_and_changes_no_row_and_no_code_of_another(copy: Path) -> None:
    (copy / "himap" / "mini" / "benchmarks" / "a_sketches.py").write_text(SKETCHES)
    printed = run_in(copy, "-c", DIGESTS)
    assert printed.returncode == 0, printed.stderr
    digests = json.loads(printed.stdout)
    assert list(digests) == [*SEEDS, *sorted({*benchmarks.names(), "a_sketches"} - set(SEEDS))]
    for name in benchmarks.names():
        rows = benchmarks.make(name, samples=6)
        assert digests[name] == hashlib.sha256(repr(rows).encode()).hexdigest(), name
        roots = ("make_mini_benchmarks.py", f"himap.mini.benchmarks.{name}")
        assert code_version(*roots, folder=copy) == code_version(*roots), name
    out = copy / "sketches.parquet"
    assert run_in(copy, "make_mini_benchmarks.py", "--benchmark", "a_sketches", "--out", str(out)).returncode == 0
    assert pq.read_table(out).column_names == ["image", "caption"]
    assert pq.read_table(out).num_rows == 5


def test_a_changed_mini_benchmark_makes_only_its_own_rows_stale(copy: Path) -> None:
    file = copy / "himap" / "mini" / "benchmarks" / "pope.py"
    file.write_text(file.read_text().replace("samples=720", "samples=36"))
    changed = {
        name
        for name in benchmarks.names()
        if code_version(*(roots := ("make_mini_benchmarks.py", f"himap.mini.benchmarks.{name}")), folder=copy)
        != code_version(*roots)
    }
    assert changed == {"pope"}


def test_the_seeds_of_the_twelve_are_frozen_and_a_new_one_depends_on_its_name_alone() -> None:
    twelve = "vqav2 textvqa mme scienceqa aokvqa pope nocaps flickr30k llavabench mmvet chartqa docvqa"
    assert [seed_of(name) for name in twelve.split()] == list(range(12))
    assert seed_of("a_sketches") == 0x36BDFB2299B61B6


def test_a_file_under_another_name_than_its_benchmark_is_an_error(copy: Path) -> None:
    (copy / "himap" / "mini" / "benchmarks" / "sketches.py").write_text(SKETCHES)
    printed = run_in(copy, "-c", DIGESTS)
    assert "sketches.py in himap/mini/benchmarks declares 'a_sketches'; name both the same" in printed.stderr


def test_mini_benchmarks_import_no_torch(copy: Path) -> None:
    code = "import sys; from himap.mini import benchmarks; benchmarks.names(); print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    assert run_in(copy, "-c", code).stdout.strip() == "[]"


def test_the_config_names_a_benchmark_that_the_embedded_world_does_not_have(copy: Path) -> None:
    published = (copy / "himap" / "benchmarks" / "pope.py").read_text()
    (copy / "himap" / "benchmarks" / "popular.py").write_text(published.replace('name="pope"', 'name="popular"'))
    code = """
from himap.workflow.config.checks import check_benchmarks
print(list(check_benchmarks({"benchmarks": {"pope": {"source": "mini"}, "popular": {"source": "mini"}}})))
"""
    printed = run_in(copy, "-c", code)
    assert printed.returncode == 0, printed.stderr
    [(key, line)] = ast.literal_eval(printed.stdout)
    assert key == "benchmarks.popular.source"
    assert (
        line
        == "the embedded world has no benchmark 'popular'; add workflow_scripts/himap/mini/benchmarks/popular.py or choose another source"
    )
