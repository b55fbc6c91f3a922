"""A model is downloaded once, however many jobs want it, and jobs that find it on disk ask the hub nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "5" * 40
FILES = {
    "config.json": json.dumps({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}).encode(),
    "model.safetensors": b"\2\0\0\0\0\0\0\0{}" + bytes(200_000),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as fetching a model needs; it notes what was taken."""

    taken: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].split("/")
        if "tree" in parts:
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in FILES.items()]
            return self.answer(json.dumps(tree).encode())
        if parts[1] == "api":
            siblings = [{"rfilename": name} for name in FILES]
            return self.answer(json.dumps({"id": "o/n", "sha": COMMIT, "siblings": siblings}).encode())
        name = parts[-1]
        if self.command == "GET":
            self.taken.append(name)
        return self.answer(FILES[name], hashlib.sha256(FILES[name]).hexdigest())

    do_HEAD = do_GET

    def answer(self, data: bytes, tag: str = "") -> None:
        self.send_response(200)
        if tag:
            self.send_header("ETag", f'"{tag}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What was taken from a hub, and the environment of jobs that use it, their cache empty."""
    handler = type("OneModel", (Hub,), {"taken": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    place = f"http://127.0.0.1:{server.server_port}"
    yield handler.taken, own | {"HF_ENDPOINT": place, "HF_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    server.shutdown()


def test_three_jobs_at_once_download_a_model_once_and_later_ones_not_at_all(
    hub: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    taken, environment = hub
    script = [sys.executable, "workflow_scripts/fetch_model.py", "--id", "o/n", "--revision", COMMIT]
    jobs = [
        subprocess.Popen(
            [*script, "--out", str(tmp_path / f"{number}.json")], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]  # fmt: skip
    for job in jobs:
        _, said = job.communicate(timeout=300)
        assert job.returncode == 0, said
    assert sorted(taken) == ["config.json", "model.safetensors"]
    listed = [json.loads((tmp_path / f"{number}.json").read_text())["files"] for number in range(3)]
    assert listed[0] == listed[1] == listed[2]
    assert listed[0][1]["sha256"] == hashlib.sha256(FILES["model.safetensors"]).hexdigest()

    nowhere = environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nobody answers there
    find = f"from himap.models.loading import find; print(find('o/n', {COMMIT!r}))"
    found = subprocess.run(
        [sys.executable, "-c", find], cwd=ROOT, env=nowhere, capture_output=True, text=True, check=True
    )
    assert (Path(found.stdout.strip()) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def fetch(environment: dict[str, str], out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """fetch_model.py to its end."""
    command = [sys.executable, "workflow_scripts/fetch_model.py", *words, "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_of_downloaded_weights_is_noticed_and_a_new_download_mends_it(
    hub: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    _, environment = hub
    out, words = tmp_path / "manifest.json", ("--id", "o/n", "--revision", COMMIT)
    assert fetch(environment, out, *words).returncode == 0
    whole = out.read_text()
    weights = Path(json.loads(whole)["directory"]) / "model.safetensors"
    assert weights.is_symlink()  # the hub library's layout: a snapshot of names, blobs called by their checksums
    flip_a_bit(weights.resolve())
    out.unlink()
    for again in (words, ("--path", str(weights.parent))):
        done = fetch(environment, out, *again)
        assert done.returncode == 1
        assert f"model.safetensors: has the checksum {hashlib.sha256(weights.read_bytes()).hexdigest()}" in done.stderr
        assert f"delete {weights.resolve()} and start again" in done.stderr
        assert not out.exists()
    weights.resolve().unlink()
    assert fetch(environment, out, *words).returncode == 0
    assert out.read_text() == whole


def test_one_flipped_bit_of_converted_weights_is_noticed(tmp_path: Path) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "manifest.json"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    listed = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in FILES.items()]
    (folder / "manifest.json").write_text(json.dumps({"layout": "llava", "files": listed}))
    assert fetch(dict(os.environ), out, "--path", str(folder)).returncode == 0
    flip_a_bit(folder / "model.safetensors")
    done = fetch(dict(os.environ), out, "--path", str(folder))
    assert done.returncode == 1
    assert "when it was converted" in done.stderr
