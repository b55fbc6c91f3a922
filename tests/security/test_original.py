"""The original implementation's old torch is given safetensors alone: what is rewritten, what is refused, what is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import originals
import pytest
import torch
from test_hostile_input import Trap

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LLAVA = """
import pathlib, torch


class LlavaConfig:
    @classmethod
    def from_pretrained(cls, folder):
        files = [path.name for path in pathlib.Path(folder).rglob("*") if path.is_file()]
        print("given", *sorted(files))
        torch.load(next(pathlib.Path(folder).glob("*.safetensors")), weights_only=True)


LlavaLlamaForCausalLM = conv_templates = process_images = tokenizer_image_token = None
"""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """LLaVA-v1.5 and its tower as their authors publish them: torch pickles."""
    originals.CHECKPOINTS["llava"](tmp_path / "llava")
    return tmp_path / "llava"


def step(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """verify_original.py to its end."""
    command = [sys.executable, "workflow_scripts/verify_original.py", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def spoil(folder: Path, mark: Path) -> None:
    """Put a trap beside the tensors of a folder's first pickle."""
    path = sorted(folder.glob("*.bin"))[0]
    torch.save(torch.load(path, weights_only=True) | {"trap": Trap(mark)}, path)


def test_every_tensor_comes_out_under_its_name_and_no_pickle_is_left(published: Path, tmp_path: Path) -> None:
    from himap.models.checkpoints import tensors, weight_files

    out = tmp_path / "out"
    done = step("rewrite", "--checkpoint", published / "chat", "--tower", published / "clip", "--out", out)
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in out.rglob("*") if path.is_file()} <= {".safetensors", ".json", ".model", ".txt"}
    for before, after in ((published / "chat", out), (published / "clip", out / "tower")):
        was = {name: tensor.clone() for file in weight_files(before) for name, tensor in tensors(file)}
        became = {name: tensor for file in weight_files(after) for name, tensor in tensors(file)}
        assert set(became) == {name for name, tensor in was.items() if tensor.is_floating_point()}
        assert all(torch.equal(tensor, was[name]) for name, tensor in became.items())
        assert (after / "config.json").read_bytes() == (before / "config.json").read_bytes()


@pytest.mark.parametrize("part", ["chat", "clip"])
def test_a_trap_in_the_checkpoint_or_its_tower_is_not_run(published: Path, tmp_path: Path, part: str) -> None:
    spoil(published / part, tmp_path / "mark")
    words = ("--checkpoint", published / "chat", "--tower", published / "clip")
    done = step("rewrite", *words, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "it is not opened" in done.stderr
    assert not (tmp_path / "mark").exists()


def test_the_original_is_given_safetensors_and_its_torch_opens_no_pickle(published: Path, tmp_path: Path) -> None:
    package = tmp_path / "site" / "llava"
    for module in ("conversation", "mm_utils", "model/language_model/llava_llama"):
        (package / module).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{module}.py").write_text(LLAVA)
    (package / "__init__.py").touch()
    (tmp_path / "ours.json").write_text('{"dtype": "float32", "rows": []}')
    own = tmp_path / "own"  # the project's Python, as the workflow has it on PATH
    own.mkdir()
    (own / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (own / "python").chmod(0o755)
    words = ("--checkpoint", published / "chat", "--tower", published / "clip", "--device", "cpu")
    files = ("--ours", tmp_path / "ours.json", "--out", tmp_path / "original.json")
    place = {"PYTHONPATH": str(package.parent), "PATH": f"{Path(sys.executable).parent}:{own}"}
    done = step("original", *words, *files, **place)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: the original's torch must not open a pickle; give it safetensors (verify_original.py rewrite)"
    )
    given = next(line for line in done.stdout.splitlines() if line.startswith("given "))
    assert given.count(".safetensors ") >= 2
    assert ".bin" not in given
    assert list(tmp_path.glob(".safetensors-*")) == []  # the rewritten weights went with the step
