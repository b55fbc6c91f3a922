"""Fetching from the hub, against a server on loopback that speaks its protocol, and from local copies in its layouts."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest
from benchmark_runs import download, one_error_line, run_script
from himap import benchmarks
from himap.benchmarks._base import Source
from himap.benchmarks.samples.source import files_of_split
from hub_fixtures import MAKERS

SHA = "9c0699c" + "0" * 33
CARD = """---
configs:
- config_name: default
  data_files:
  - split: validation
    path: data/validation-*
---
# A set
"""


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that fetching a set needs."""

    files: dict[str, bytes]
    gated: bool
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        what = self.path.split("?")[0].split("/")
        if what[1:3] == ["api", "datasets"] and ("revision" in what or len(what) == 5):
            self.answer_json(
                {"id": "lmms-lab/textvqa", "sha": SHA, "siblings": [{"rfilename": one} for one in self.files]}
            )
        elif what[1:3] == ["api", "datasets"] and "commits" in what:
            self.answer_json(
                [{"id": SHA, "title": "", "message": "", "authors": [], "date": "2024-01-01T00:00:00.000Z"}]
            )
        elif "resolve" in what:
            self.answer_file("/".join(what[what.index("resolve") + 2 :]))
        else:
            self.fail(404, "RepoNotFound")

    do_HEAD = do_GET

    def answer_json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.finish_with(data)

    def answer_file(self, name: str) -> None:
        if self.gated:
            return self.fail(403, "GatedRepo")
        self.send_response(200)
        self.send_header("ETag", f'"{abs(hash(name)):x}"')
        self.send_header("X-Repo-Commit", SHA)
        return self.finish_with(self.files[name])

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.finish_with(b"")

    def finish_with(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture(name="hub")
def start_hub(tmp_path: Path) -> Iterator[tuple[type[Hub], dict[str, str]]]:
    """A hub that serves TextVQA's fixture, and the environment that makes a script use it."""
    data = MAKERS["textvqa"]().write(tmp_path / "hub").read_bytes()
    files = {
        "README.md": CARD.encode(),
        "data/validation-00000-of-00001.parquet": data,
        "data/train-00000-of-00001.parquet": b"",
    }
    handler = type("TextVQAHub", (Hub,), {"files": files, "gated": False, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, environment(f"http://127.0.0.1:{server.server_port}", tmp_path)
    server.shutdown()


def environment(endpoint: str, folder: Path) -> dict[str, str]:
    """An environment whose hub is elsewhere and whose cache is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}


def fetch(folder: Path, env: dict[str, str], *more: object) -> subprocess.CompletedProcess[str]:
    """download_benchmark.py --from-hub for TextVQA."""
    where = ("--out", folder / "samples.parquet", "--manifest", folder / "manifest.json")
    return run_script("download_benchmark.py", "--benchmark", "textvqa", "--from-hub", *where, *more, env=env)


def test_a_set_is_fetched_at_its_pinned_revision(hub, tmp_path: Path):
    handler, env = hub
    done = fetch(tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert len(list(benchmarks.read_samples(tmp_path / "samples.parquet"))) == 3
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["revision"] == SHA
    assert manifest["source"]["hub_id"] == "lmms-lab/textvqa"
    assert manifest["source"]["split"] == "validation"
    assert not any("train" in path for path in handler.asked)


def test_questions_and_pictures_of_two_tables_are_both_fetched(hub, tmp_path: Path):
    handler, env = hub
    root = MAKERS["gqa"]().write(tmp_path / "hub")
    handler.files = {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*.parquet")}
    where = ("--out", tmp_path / "samples.parquet", "--manifest", tmp_path / "manifest.json")
    for environment_of_run in (env, env | {"HF_HUB_OFFLINE": "1"}):
        asked = ("--benchmark", "gqa", "--from-hub", "--revision", SHA, *where)
        done = run_script("download_benchmark.py", *asked, env=environment_of_run)
        assert done.returncode == 0, done.stderr
        rows = [row["image"]["bytes"] for row in MAKERS["gqa"]().rows]
        assert [one.images[0] for one in benchmarks.read_samples(tmp_path / "samples.parquet")] == rows
        assert len(json.loads((tmp_path / "manifest.json").read_text())["source"]["files"]) == 2


def test_a_fetched_set_is_there_without_the_hub(hub, tmp_path: Path):
    _, env = hub
    assert fetch(tmp_path, env).returncode == 0
    first = (tmp_path / "samples.parquet").read_bytes()
    (tmp_path / "samples.parquet").unlink()
    offline = env | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = fetch(tmp_path, offline)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "samples.parquet").read_bytes() == first
    by_path = download("textvqa", tmp_path / "cache", tmp_path)
    assert by_path.returncode == 0, by_path.stderr


def test_offline_without_a_copy(tmp_path: Path):
    message = one_error_line(fetch(tmp_path, environment("http://127.0.0.1:9", tmp_path) | {"HF_HUB_OFFLINE": "1"}))
    assert "lmms-lab/textvqa: not in the cache" in message
    assert "--from-path" in message


def test_offline_with_a_copy_of_another_revision(hub, tmp_path: Path):
    _, env = hub
    assert fetch(tmp_path, env).returncode == 0
    message = one_error_line(fetch(tmp_path, env | {"HF_HUB_OFFLINE": "1"}, "--revision", "abcdef0"))
    assert f"does not hold revision abcdef0; it holds {SHA}" in message


def test_an_unreachable_hub(tmp_path: Path):
    message = one_error_line(fetch(tmp_path, environment("http://127.0.0.1:9", tmp_path)))
    assert "lmms-lab/textvqa could not be fetched from http://127.0.0.1:9" in message
    assert "--from-path" in message
    assert not (tmp_path / "samples.parquet").exists()


def test_a_gated_set(hub, tmp_path: Path):
    handler, env = hub
    handler.gated = True
    message = one_error_line(fetch(tmp_path, env))
    assert "lmms-lab/textvqa is gated; accept its terms on" in message
    assert "HF_TOKEN" in message
    assert not (tmp_path / "samples.parquet").exists()


def test_a_cache_on_a_full_disk(hub, tmp_path: Path):
    handler, env = hub
    handler.files["data/validation-00000-of-00001.parquet"] = b"x" * 100_000

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    where = ("--out", tmp_path / "samples.parquet", "--manifest", tmp_path / "manifest.json")
    asked = ("--benchmark", "textvqa", "--from-hub", *where)
    message = one_error_line(run_script("download_benchmark.py", *asked, env=env, preexec_fn=small_files_only))
    assert f"lmms-lab/textvqa does not fit into the cache {tmp_path / 'cache' / 'hub'}" in message
    assert "HF_HOME" in message


def test_a_set_that_is_not_there(hub, tmp_path: Path):
    handler, env = hub
    handler.do_GET = handler.do_HEAD = lambda self: self.fail(404, "RepoNotFound")
    message = one_error_line(fetch(tmp_path, env, "--id", "nobody/nothing", "--revision", "main"))
    assert "nobody/nothing is not on the hub or is private; check --id" in message


def test_a_set_without_the_split(hub, tmp_path: Path):
    handler, env = hub
    handler.files = {"README.md": CARD.encode(), "textvqa.py": b"script"}
    message = one_error_line(fetch(tmp_path, env))
    assert "no Parquet file of config 'default', split 'validation'" in message
    assert "refs/convert/parquet" in message


def test_a_short_revision_that_no_commit_begins_with(hub, tmp_path: Path):
    message = one_error_line(fetch(tmp_path, hub[1], "--revision", "1234567"))
    assert "0 commits begin with 1234567" in message


@pytest.mark.parametrize(
    ("config", "split", "card", "names", "chosen"),
    [
        ("default", "test", "", ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], [0]),
        ("DocVQA", "validation", "", ["DocVQA/validation-0.parquet", "InfographicVQA/validation-0.parquet"], [0]),
        (
            "default",
            "test",
            "",
            ["default/test/0000.parquet", "default/test/0001.parquet", "other/test/0.parquet"],
            [0, 1],
        ),
        ("default", "testdev", "", ["data/test-0.parquet", "data/testdev-0.parquet"], [1]),
        ("default", "validation", CARD, ["data/validation-0.parquet", "data/validation_extra-0.parquet"], [0]),
        ("Full", "random", "", ["Full/random-0.parquet", "Full/popular-0.parquet", "data/test-0.parquet"], [0]),
        ("testdev_rows", "testdev", "", ["testdev_images/testdev-0.parquet", "testdev_rows/testdev-0.parquet"], [1]),
        ("cn", "dev", "", ["cn/dev-0.parquet", "cn/test-0.parquet", "en/dev-0.parquet"], [0]),
        ("default", "test", "", ["rows.parquet"], [0]),
        ("default", "test", "", ["validation-0.parquet"], []),
        ("default", "validation", "", ["validation/data-00000-of-00001.arrow", "train/data-00000-of-00001.arrow"], [0]),
    ],
)
def test_files_of_a_split_are_found(config: str, split: str, card: str, names: list[str], chosen: list[int]):
    source = Source("a/b", split=split, licence="", columns={}, config=config)
    assert files_of_split(names, source, card) == [names[at] for at in chosen]


def as_dataset(name: str) -> datasets.Dataset:
    """A fixture as the datasets library holds it, with a real image column."""
    held = datasets.Dataset(MAKERS[name]().table())
    return held.cast_column("image", datasets.Image())


@pytest.mark.parametrize("name", ["textvqa", "vqav2", "aokvqa"])
def test_a_folder_made_by_save_to_disk(name: str, tmp_path: Path):
    as_dataset(name).save_to_disk(str(tmp_path / "saved"))
    done = download(name, tmp_path / "saved", tmp_path)
    assert done.returncode == 0, done.stderr
    samples = list(benchmarks.read_samples(tmp_path / "samples.parquet"))
    assert [one.images[0] for one in samples] == [row["image"]["bytes"] for row in MAKERS[name]().rows]


def test_the_right_split_of_a_saved_dictionary(tmp_path: Path):
    whole = as_dataset("textvqa")
    splits = datasets.DatasetDict({"train": whole.select([0]), "validation": whole.select([1, 2])})
    splits.save_to_disk(str(tmp_path / "saved"))
    done = download("textvqa", tmp_path / "saved", tmp_path, "--limit", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "manifest.json").read_text())["subset"] == {"limit": 1, "seed": 0, "n_total": 2}


def test_a_truncated_arrow_file(tmp_path: Path):
    as_dataset("textvqa").save_to_disk(str(tmp_path / "saved"))
    file = next((tmp_path / "saved").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:1500])
    message = one_error_line(download("textvqa", tmp_path / "saved", tmp_path))
    assert str(file) in message
    assert "again" in message


def test_several_files_are_one_set(tmp_path: Path):
    folder = tmp_path / "hub" / "data"
    whole = MAKERS["pope"]()
    for at, part in enumerate((whole.rows[:2], whole.rows[2:])):
        piece = MAKERS["pope"]()
        piece.rows[:] = part
        piece.write(folder).rename(folder / f"test-{at:05}-of-00002.parquet")
    assert download("pope", tmp_path / "hub", tmp_path, "--limit", 3, "--seed", 1).returncode == 0
    samples = list(benchmarks.read_samples(tmp_path / "samples.parquet"))
    assert sorted(one.metadata["category"] for one in samples) == ["adversarial", "popular", "random"]
    rows = {row["id"]: row for row in whole.rows}
    assert all(one.images == [rows[one.sample_id]["image"]["bytes"]] for one in samples)
