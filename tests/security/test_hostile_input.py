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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from world import World, configuration

SECRETS = {
    "HF_TOKEN": "hf_verysecretword",
    "HIMAP_JUDGE_API_KEY": "sk-anothersecretword",
    "OPENAI_API_KEY": "sk-athirdsecretword",
    "AWS_SECRET_ACCESS_KEY": "afourthsecretword",
}


def files_without_secrets(folder: Path) -> set[Path]:
    """All files of a folder but code and weights, searched for every secret."""
    searched = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".py")}
    for path in searched:
        held = path.read_bytes()
        for name, secret in SECRETS.items():
            assert secret.encode() not in held, f"{name} stands in {path}"
    return searched


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
    from himap.models.checkpoints import tensors

    (checkpoint / "model.safetensors").unlink()
    torch.save(
        {"weight": torch.zeros(2), "trap": Trap(tmp_path / "mark")},
        checkpoint / "pytorch_model.bin",
        pickle_protocol=protocol,
    )
    with pytest.raises(ValueError, match="not opened"):
        list(tensors(checkpoint / "pytorch_model.bin"))
    from himap.models.loading import load

    with pytest.raises(ValueError, match="safetensors"):
        load(checkpoint)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_named_safetensors_is_not_opened(checkpoint: Path, tmp_path: Path) -> None:
    from himap.models.loading import load

    torch.save({"trap": Trap(tmp_path / "mark")}, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"safetensors|model"):
        load(checkpoint)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_that_comes_with_a_checkpoint_is_never_run(checkpoint: Path, tmp_path: Path, file: str) -> None:
    from himap.models.loading import load

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
    from himap.models.checkpoints import weight_files

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
    from himap.benchmarks.samples.images import check_image

    data = bomb(side)
    assert len(data) < 1_000_000
    with pytest.raises(ValueError, match=r"refused as too large|pixels, more than"):
        check_image(data)


def test_a_picture_bomb_in_the_samples_is_named_by_the_evaluation_too() -> None:
    from himap.experiments.pictures import open_image

    for side in (12_000, 40_000):  # Pillow itself refuses the second alone
        with pytest.raises(ValueError, match=r"sample 7.*make the sample file again"):
            open_image(bomb(side), "sample 7")


def parquet_bomb(path: Path, column: str, rows: int = 20_000) -> Path:
    """A sample file of a few kilobytes, one of whose columns says the same half megabyte in every row: 10 GB."""
    from himap.benchmarks.samples.files import FIELDS

    short, long = pa.array(["{}"] * rows), pa.array(["x" * 500_000])
    folded = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), long)
    offsets = pa.array(range(rows + 1), pa.int32())
    held = {name: folded if name == column else short for name in FIELDS}
    lists = ("options", "references", "images")
    held |= {name: pa.ListArray.from_arrays(offsets, held[name]) for name in lists}
    pq.write_table(pa.table(held), path, compression="zstd")
    return path


@pytest.mark.parametrize("column", ["question", "metadata", "references"])
def test_a_text_column_that_unpacks_to_gigabytes_is_refused_before_it_does(column: str, tmp_path: Path) -> None:
    from himap.benchmarks import read_samples
    from himap.benchmarks.samples.rows import batches

    bomb = parquet_bomb(tmp_path / "samples.parquet", column)
    assert bomb.stat().st_size < 200_000
    before = pa.default_memory_pool().max_memory()
    text = ("sample_id", "question", "options", "references", "metadata")
    for reading in (read_samples(bomb, text), batches(bomb, text, None)):
        with pytest.raises(ValueError, match=r"samples\.parquet: 4096 rows unpack to 20\d{8} bytes"):
            next(reading)
        assert pa.default_memory_pool().max_memory() < before + 100_000_000
    assert next(read_samples(bomb, ["images"])).images  # rows of another column are read as ever


def test_a_row_group_that_unpacks_to_gigabytes_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from himap.benchmarks.samples import files

    path = tmp_path / "samples.parquet"
    table = pa.table({"question": [" " * 1_000_000 + str(number) for number in range(8)]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 10_000
    assert files.open_parquet(path).metadata.num_rows == 8
    monkeypatch.setattr(files, "BATCH_BYTES", 8_000_000)  # large rows come a few at a time
    assert [batch.num_rows for batch in files.read_group(files.open_parquet(path), 0, ["question"], 64)] == [1] * 8
    monkeypatch.setattr(files, "GROUP_BYTES", 7_000_000)
    with pytest.raises(ValueError, match=r"row group 0 unpacks to 8\d{6} bytes.*smaller row groups"):
        files.open_parquet(path)


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
    from himap.workflow.config.load import load
    from himap.yaml_files import ConfigError

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
    title = signs.replace(">", "")  # a title may not hold it: Snakemake's own report would read it as a tag
    world.config["methods"]["vanilla"]["title"] = title
    world.config["tables"]["table1"]["title"] = title
    world.write_config()
    for words in (("table1", "--cores", "2", "--verbose"), ("report",)):
        done = world.run(*words, **SECRETS)
        assert done.returncode == 0, done.stdout[-4000:]
    assert [path for path in world.folder.rglob("*pwned*") if signs not in str(path)] == []
    with (world.folder / "results/tables/table1.csv").open(newline="") as table:
        assert any(title in row for row in csv.reader(table))
    searched = files_without_secrets(world.folder)
    assert world.folder / "results/report.html" in searched
    assert len(searched) > 100
