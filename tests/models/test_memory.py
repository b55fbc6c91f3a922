"""Loading takes the checkpoint's size and little more, and conversion about one shard, however large the whole is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import originals
import pytest

LARGER = {"width": 512, "layers": 10, "heads": 8, "ffn": 2048}  # 170 MB of weights in fp32
SHARDS = 9  # Qwen-VL-Chat is published in ten

MEASURED = """
import sys
from pathlib import Path
from himap.models.conversion.convert import convert
from himap.models.loading import load

def now(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

kind, small, large, *rest = map(str, sys.argv[1:])
def load_and_read(folder, dtype="float32"):
    model = load(folder, dtype=dtype)
    assert all(float(weight.sum()) == float(weight.sum()) for weight in model.module.parameters())  # no page stays unread
    return model

def load_in_half(folder):
    return load_and_read(folder, "float16")

def convert_it(folder):
    return convert(Path(folder) / "chat", Path(folder) / "clip", Path(folder) / "out")

work = {"load": load_and_read, "half": load_in_half, "convert": convert_it}
first = work[kind](small)  # whatever is imported or set up once
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = now("VmRSS")
kept = work[kind](large)
print(now("VmHWM") - before)
"""


def peak_of(kind: str, small: Path, large: Path) -> int:
    """Most memory in bytes, pages of mapped files included, that the second of two calls took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(small), str(large)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def size_of(folder: Path, pattern: str) -> list[int]:
    return [path.stat().st_size for path in folder.glob(pattern)]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured with Linux's /proc"),
]


def test_loading_qwen_from_its_shards(tmp_path: Path) -> None:
    small = originals.write_qwen_vl(tmp_path / "small")
    large = originals.write_qwen_vl(tmp_path / "large", shards=SHARDS, sizes=LARGER)
    assert sum(size_of(large, "*.bin")) > 150e6
    assert 0.9 < peak_of("load", small, large) / sum(size_of(large, "*.bin")) < 1.2


def test_converting_and_loading_llava(tmp_path: Path) -> None:
    originals.write_llava(tmp_path / "small")
    originals.write_llava(tmp_path / "large", shards=SHARDS, sizes=LARGER)
    shards = size_of(tmp_path / "large" / "chat", "*.bin")
    assert sum(shards) > 150e6
    assert 0.3 < peak_of("convert", tmp_path / "small", tmp_path / "large") / max(shards) < 1.5
    converted = tmp_path / "large" / "out"
    weights = sum(size_of(converted, "*.safetensors"))
    assert 0.9 < peak_of("load", tmp_path / "small" / "out", converted) / weights < 1.2
    # From float32 on disk to float16 in memory: the mapped file (two parts) and the weights (one) are there together.
    assert 2.7 < peak_of("half", tmp_path / "small" / "out", converted) / (weights / 2) < 3.3
