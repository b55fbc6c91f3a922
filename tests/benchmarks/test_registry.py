"""The benchmarks as the rest of the project sees them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from himap import benchmarks

NAMES = [
    "vqav2",
    "textvqa",
    "pope",
    "mme",
    "scienceqa",
    "aokvqa",
    "nocaps",
    "flickr30k",
    "llavabench",
    "mmvet",
    "chartqa",
    "docvqa",
    "gqa",
    "vizwiz_val",
    "seedbench_image",
    "mmbench",
    "mmbench_cn",
    "ocrbench",
    "refcoco",
    "refcoco_plus",
    "refcocog",
    "countbench",
    "kinds",
    "where",
]


def test_the_benchmarks_come_in_the_order_of_the_tables():
    assert benchmarks.names() == NAMES


def test_an_unknown_benchmark_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown benchmark 'cococap'; known are vqav2, textvqa"):
        benchmarks.get("cococap")


def test_looking_a_benchmark_up_brings_in_nothing_heavy():
    code = (
        "import sys; from himap import benchmarks; benchmarks.get('mme').prompt(benchmarks.Sample('1', 'Q?'), 'llava');"
        "print([name for name in ('torch', 'numpy', 'pandas', 'pyarrow', 'datasets', 'openai') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_describes_itself(name: str):
    benchmark = benchmarks.get(name)
    assert benchmark.name == name
    assert benchmark.title
    assert benchmark.metric
    assert benchmark.scale in (100.0, 1000.0, 2800.0)
    assert benchmark.chance is None or 0 <= benchmark.chance < benchmark.scale
    assert benchmark.source.licence
    assert benchmark.source.rows
    assert sys.modules[f"himap.benchmarks.{name}"].__doc__


def test_tasks_choose_the_schedules():
    tasks = {name: benchmarks.get(name).task for name in NAMES}
    assert {name for name in NAMES if tasks[name] == "caption"} == {"nocaps", "flickr30k"}
    assert {name for name in NAMES if tasks[name] == "open"} == {"llavabench", "mmvet"}
    assert {name for name in NAMES if benchmarks.get(name).judged} == {"llavabench", "mmvet"}


def test_a_file_more_is_a_benchmark_more(tmp_path, monkeypatch):
    (tmp_path / "extra.py").write_text(
        "from dataclasses import replace\nfrom himap.benchmarks.pope import BENCHMARK\n"
        "BENCHMARK = replace(BENCHMARK, name='extra', rank=100)\n"
    )
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    benchmarks.registry.cache_clear()
    try:
        assert benchmarks.names() == [*NAMES, "extra"]
        assert benchmarks.get("extra") == replace(benchmarks.get("pope"), name="extra", rank=100)
    finally:
        benchmarks.registry.cache_clear()
        sys.modules.pop("himap.benchmarks.extra", None)
