"""./reproduce check, against a hub, a SLURM and a judge on this machine that can be told to refuse."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from himap.workflow import check_before
from loopback_judge import Judge, completion

pytestmark = pytest.mark.slow

SHA = "b" * 40
DIMS = {"layers": 20, "width": 32, "heads": 4, "kv_heads": 4, "ffn": 48, "vocab": 97, "image_tokens": 16}
CONFIG = {
    "models": {
        name: {"id": f"some/{name}", "revision": SHA, "gpus": 1, "dims": {**DIMS, "parameters_billion": 0.01}}
        for name in ("open", "closed")
    },
    "benchmarks": {"chartqa": {"source": "hub"}, "mmvet": {"source": "mini", "limit": 4}},
    "tables": {"table1": {"benchmarks": ["chartqa", "mmvet"], "methods": ["vanilla"], "models": ["open"]}},
}


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that says what there is and who may have it."""

    refused: dict[str, str]  # repository -> the hub's code for why

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].split("/")  # "", api, models, owner, name, …
        name = "/".join(parts[3:5])
        why = self.refused.get(name)
        if why == "GatedRepo" and parts[-1] != "auth-check":
            why = None  # everyone may read what a gated repository is called
        if why:
            self.send_response(403 if why == "GatedRepo" else 404)
            self.send_header("X-Error-Code", why)
            body = b""
        else:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            gated = "manual" if self.refused.get(name) == "GatedRepo" else False
            info: Any = {"id": name, "sha": SHA, "gated": gated, "tags": ["license:mit"], "siblings": []}
            if "commits" in parts:
                info = [{"id": SHA, "title": "", "message": "", "authors": [], "date": "2024-01-01T00:00:00.000Z"}]
            body = json.dumps(info).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A hub that gives everything away, until told what to refuse."""
    from huggingface_hub import constants

    refused: dict[str, str] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("LocalHub", (Hub,), {"refused": refused}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield refused
    server.shutdown()
    server.server_close()


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """A judge that gives half a point."""
    monkeypatch.setenv("HIMAP_JUDGE_API_KEY", "sk-of-the-test")
    judge = Judge()
    yield judge
    judge.server.shutdown()
    judge.server.server_close()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's programs as a cluster with the partitions cpu and gpu and the account science has them, and a profile for it."""
    programs = {
        "sinfo": 'printf "cpu*\\ngpu\\n"',
        "sbatch": 'case "$*" in *--account=science*) ;; *) echo "sbatch: error: Invalid account" >&2; exit 1;; esac',
    }
    for name, body in programs.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return write_profile(tmp_path / "profile", {"slurm_partition": "gpu", "slurm_account": "science"})


def write_profile(folder: Path, resources: dict[str, str]) -> Path:
    """Write a profile that sends jobs to SLURM."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"executor": "slurm", "default-resources": resources}))
    return folder


def write_config(folder: Path, judge: Judge, **changes: Any) -> str:
    """Write a config with two models of the hub, one data set of the hub, and a judged benchmark."""
    config = {**CONFIG, "judge": {"base_url": judge.url}, "output": str(folder / "results"), **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder / "config.yaml")


def test_a_run_that_can_start_gets_a_tick_for_every_source_disk_cluster_and_judge(
    tmp_path: Path, hub: dict[str, str], judge: Judge, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, judge)
    status = check_before.main(["--configfile", config, "--profile", str(slurm)])
    said = capsys.readouterr().out
    assert status == 0, said
    for line in (
        f"  ✓ open: some/open at {SHA[:12]}, license mit",
        "  ✓ mmvet: judge-0613 gave 0.5",
        "  ✓ partition gpu: is known",
        "  ✓ a job with --partition=gpu --account=science: SLURM would take it (tested, not submitted)",
    ):
        assert line in said.splitlines()
    assert "✓ chartqa: " in said
    assert "✗" not in said
    assert len(judge.requests) == 1


def test_everything_that_would_fail_later_is_named_with_what_to_do_and_the_status_is_1(
    tmp_path: Path,
    hub: dict[str, str],
    judge: Judge,
    slurm: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub |= {"some/closed": "GatedRepo", "some/open": "RevisionNotFound", "HuggingFaceM4/ChartQA": "RepoNotFound"}
    hub |= dict.fromkeys(("lmms-lab/ChartQA", "lmms-lab-encoder/ChartQA"), "RepoNotFound")
    judge.behave = lambda request, number: completion("I would rather not say.")
    profile = write_profile(slurm, {"slurm_partition": "gpus", "slurm_account": "nobody"})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    status = check_before.main(["--configfile", write_config(tmp_path, judge), "--profile", str(profile)])
    said = capsys.readouterr().out
    assert status == 1
    for words in (
        "GB of 0.0 GB that are free",
        "✗ partition gpus: is unknown to SLURM",
        "known: cpu, gpu",
        "SLURM rejects it (sbatch: error: Invalid account)",
        f"✗ closed: some/closed at {SHA[:12]} is gated",
        "accept its terms on http://127.0.0.1",
        f"✗ open: some/open has no revision {SHA}",
        "is not on the hub, or private",
        "but without a verdict that can be read: 'I would rather not say.'",
        "use a stronger judge",
        "Fix what is marked ✗ before you start.",
    ):
        assert words in said, said


def test_without_slurm_a_key_a_gpu_or_a_network_each_is_named_and_nothing_is_raised(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HIMAP_JUDGE_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = write_config(tmp_path, judge)
    assert check_before.main(["--configfile", config]) == 1
    said = capsys.readouterr().out
    assert "asks for a GPU, and this machine has none" in said
    assert "cannot be reached" in said
    assert "no key for the judge: set HIMAP_JUDGE_API_KEY" in said
    assert check_before.main(["--configfile", config, "--profile", "profiles/slurm"]) == 1
    assert "sinfo does not answer" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--profile profiles/slrum: no config\.yaml"):
        check_before.main(["--configfile", config, "--profile", "profiles/slrum"])


def test_try_sends_two_samples_through_each_model_and_says_what_it_answered_or_why_not(
    tmp_path: Path, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree("models/mini", broken)
    (broken / "model.safetensors").write_bytes(b"cut short")
    tables = {"table1": {"benchmarks": ["pope"], "methods": ["himap"], "models": ["mini", "broken"]}}
    config = write_config(
        tmp_path, judge, models={"mini": {"path": "models/mini"}, "broken": {"path": str(broken)}},
        benchmarks={"pope": {"source": "mini", "limit": 144}}, tables=tables,
    )  # fmt: skip
    assert check_before.main(["--configfile", config, "--try"]) == 1
    said = capsys.readouterr().out
    assert "✓ mini, pope: " in said
    assert "says '" in said
    assert "✗ broken: " in said
    assert "not a complete safetensors file" in said
    assert "✗ broken: cannot be loaded" in said
    assert not (tmp_path / "results").exists()
