"""./reproduce pack: one archive that compares like the folder it was made from, and that can do no harm."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from himap.comparison.archive import CONTENTS, pack, unpack
from himap.workflow import compare_runs, pack_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first run, packed by the command."""
    folder = tmp_path_factory.mktemp("packed")
    facts = json.loads((first / "report.html.provenance.json").read_text())["facts"]
    config = yaml.safe_load(facts["config"]) | {"output": str(first)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    pack_run.main(["--configfile", str(folder / "config.yaml"), "--out", str(folder / "run.zip")])
    return folder / "run.zip"


def test_an_archive_compares_as_its_folder_does_and_packing_again_gives_the_same_bytes(
    first: Path, second: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ["--out", str(tmp_path / "page.html")]
    assert compare_runs.main([str(first), str(archive), "--fail-on-change", *page]) == 0
    assert compare_runs.main([str(archive), str(second), "--fail-on-change", *page]) == 1
    assert "10 of 16" in capsys.readouterr().out
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
        contents = json.loads(packed.read(CONTENTS))
        texts = {"config.yaml": packed.read("config.yaml").decode()}
    for name in ("report.html", "tables/table1.csv", "evaluation/mini/vqav2/himap/predictions.jsonl", "config.yaml"):
        assert name in names
    assert not [name for name in names if name.endswith("samples.parquet")]  # pictures have licenses of their own
    pack(first, tmp_path / "again.zip", {key: contents[key] for key in ("project", "code")}, texts)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_an_archive_cut_short_or_damaged_is_named(first: Path, archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    cut, damaged = tmp_path / "cut.zip", tmp_path / "damaged.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(archive) as packed:
        head = packed.getinfo("evaluation/mini/vqav2/himap/predictions.jsonl")
    place = head.header_offset + 30 + len(head.filename) + head.compress_size // 2
    damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    for path in (cut, damaged):
        with pytest.raises(ValueError, match=rf"{path.name}: .*(cut short|damaged).*copy (it|the archive) again"):
            compare_runs.main([str(first), str(path), "--out", str(tmp_path / "page.html")])
    assert not (tmp_path / "page.html").exists()


def crafted(
    path: Path, name: str, listed: Any = None, data: bytes = b"x", mode: int = stat.S_IFREG, version: int = 1
) -> Path:
    """Write an archive with one member of a stranger's making."""
    import hashlib

    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | (listed or {})
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(CONTENTS, json.dumps({"format": version, "files": {name: entry}}))
        head = zipfile.ZipInfo(name)
        head.external_attr = (mode | 0o644) << 16
        out.writestr(head, data)
    return path


@pytest.mark.parametrize(
    ("making", "message"),
    [
        ({"name": "../outside.txt"}, "leads out of the archive's folder; nothing was unpacked"),
        ({"name": "/tmp/outside.txt"}, "leads out of the archive's folder"),
        ({"name": "evaluation/link", "mode": stat.S_IFLNK, "data": b"/etc/passwd"}, "is not a plain file"),
        ({"name": "big", "listed": {"bytes": 1 << 50}}, "at most 200000 files and 9 GB are read"),
        ({"name": "a.json", "listed": {"bytes": 9}}, "has another size than its pack.json states"),
        ({"name": "a.json", "listed": {"sha256": "0" * 64}}, "is damaged"),
        ({"name": "a.json", "version": 2}, r"packed by a newer version of this project \(format 2; this one reads 1\)"),
    ],
)
def test_an_archive_of_a_stranger_writes_nothing_outside_and_nothing_unbounded(
    tmp_path: Path, making: dict[str, Any], message: str
) -> None:
    path = crafted(tmp_path / "strange.zip", **making)
    (tmp_path / "inside").mkdir()
    with pytest.raises(ValueError, match=message):
        unpack(path, tmp_path / "inside", lambda name: True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"strange.zip", "inside"}


def test_a_run_without_a_report_is_not_packed_and_the_command_that_writes_it_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(Path("config.yaml").read_text() + f"output: {tmp_path / 'results'}\n")
    with pytest.raises(
        ValueError, match=rf"report\.html is missing; write it with: \./reproduce report --configfile {config}"
    ):
        pack_run.main(["--configfile", str(config), "--out", str(tmp_path / "run.zip")])
