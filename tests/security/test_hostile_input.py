"""Hostile checkpoints, pictures and configs: refused in one sentence, and nothing of them is run."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from world import World, configuration

SECRETS = {
    "HF_TOKEN": "hf_verysecretword",
    "HIMAP_JUDGE_API_KEY": "sk-anothersecretword",
    "OPENAI_API_KEY": "sk-athirdsecretword",
    "AWS_SECRET_ACCESS_KEY": "afourthsecretword",
}


class Trap:
    """What a pickle runs when it is loaded: it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def checkpoint(tmp_path: Path, small_model: Path) -> Path:
    """A copy of the small model, to be spoiled."""
    shutil.copytree(small_model, tmp_path / "model")
    return tmp_path / "model"


def test_a_trap_works_where_pickles_are_loaded(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").is_dir()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_checkpoint_that_is_a_trap_is_not_opened(checkpoint: Path, tmp_path: Path, protocol: int) -> None:
    from himap.checkpoints import tensors

    (checkpoint / "model.safetensors").unlink()
    torch.save(
        {"weight": torch.zeros(2), "trap": Trap(tmp_path / "mark")},
        checkpoint / "pytorch_model.bin",
        pickle_protocol=protocol,
    )
    with pytest.raises(ValueError, match="not opened"):
        list(tensors(checkpoint / "pytorch_model.bin"))
    from himap.models import load

    with pytest.raises(ValueError, match="safetensors"):
        load(checkpoint)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_named_safetensors_is_not_opened(checkpoint: Path, tmp_path: Path) -> None:
    from himap.models import load

    torch.save({"trap": Trap(tmp_path / "mark")}, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"safetensors|model"):
        load(checkpoint)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_that_comes_with_a_checkpoint_is_never_run(checkpoint: Path, tmp_path: Path, file: str) -> None:
    from himap.models import load

    mark = tmp_path / "mark"
    (checkpoint / "theirs.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass Theirs: pass\n")
    held = json.loads((checkpoint / file).read_text())
    kinds = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoImageProcessor", "AutoProcessor")
    held["auto_map"] = dict.fromkeys(kinds, "theirs.Theirs") | {"AutoTokenizer": ["theirs.Theirs", "theirs.Theirs"]}
    (checkpoint / file).write_text(json.dumps(held))
    with contextlib.suppress(ValueError):  # refused, or loaded by this project's own code: both are right
        load(checkpoint)
    assert not mark.exists()


def test_an_index_that_points_out_of_its_folder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from himap.checkpoints import weight_files

    (checkpoint / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (checkpoint / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}})
    )
    with pytest.raises(ValueError, match="not a file of this folder"):
        weight_files(checkpoint)


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that unpacks to side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, lines = zlib.compressobj(9), []
    row = b"\0" + b"\0" * (side // 8)
    for _ in range(side):
        lines.append(packer.compress(row))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = b"".join(lines) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [12_000, 40_000])
def test_a_picture_that_unpacks_to_gigabytes_is_refused_before_it_does(side: int) -> None:
    from himap.benchmarks._images import check_image

    data = bomb(side)
    assert len(data) < 1_000_000
    with pytest.raises(ValueError, match=r"refused as too large|pixels, more than"):
        check_image(data)


def test_a_picture_bomb_in_the_samples_is_named_by_the_evaluation_too() -> None:
    from himap.evaluation import open_image

    with pytest.raises(ValueError, match=r"sample 7.*make the sample file again"):
        open_image(bomb(40_000), "sample 7")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("output",), "results; touch pwned"),
        (("output",), "$(touch pwned)"),
        (("models", "a; touch pwned"), {"path": "models/mini"}),
        (("models", "../../x"), {"path": "models/mini"}),
        (("methods", "x$(touch pwned)"), {"stages": []}),
        (("tables", "x`touch pwned`"), {"title": "t", "benchmarks": ["pope"], "methods": ["vanilla"]}),
        (("benchmarks", "../pope"), {"source": "hub"}),
        (("judge",), {"base_url": "https://user:secret@example.org/v1"}),
        (("judge",), {"base_url": "https://example.org/v1?key=secret"}),
    ],
)
def test_names_that_could_be_commands_paths_or_secrets_are_refused(place: tuple[str, ...], value: Any) -> None:
    from himap.config import ConfigError, load

    config = configuration()
    holder: Any = config
    for key in place[:-1]:
        holder = holder.setdefault(key, {})
    holder[place[-1]] = value
    with pytest.raises(ConfigError) as refused:
        load(config)
    assert place[0] in str(refused.value)


@pytest.mark.slow
def test_shell_signs_in_the_config_stay_text_and_no_secret_is_written_anywhere(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    signs = "it's $(touch pwned1) `touch pwned2`; touch pwned3 | {x} \\ \" & >pwned4 #"
    world.model.rename(world.folder / "models" / signs)
    (world.folder / "questions.parquet").rename(world.folder / f"{signs}.parquet")
    world.config["models"]["mini"]["path"] = f"models/{signs}"
    world.config["benchmarks"]["pope"]["source"] = f"{signs}.parquet"
    world.config["methods"]["vanilla"]["title"] = signs
    world.config["tables"]["table1"]["title"] = signs
    world.write_config()
    done = world.run("table1", "--cores", "2", "--verbose", **SECRETS)
    assert done.returncode == 0, done.stdout[-4000:]
    assert [path for path in world.folder.rglob("*pwned*") if signs not in str(path)] == []
    with (world.folder / "results/tables/table1.csv").open(newline="") as table:
        assert any(signs in row for row in csv.reader(table))
    searched = 0
    for path in world.folder.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors", ".py"):
            held = path.read_bytes()
            searched += 1
            for name, secret in SECRETS.items():
                assert secret.encode() not in held, f"{name} stands in {path}"
    assert searched > 100
