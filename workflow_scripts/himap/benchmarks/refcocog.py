"""RefCOCOg: longer expressions about one object of a picture. The hub's `val` mixes two standards, so the test split is taken."""

from __future__ import annotations

from dataclasses import replace

from himap.benchmarks import refcoco

SOURCE = replace(refcoco.SOURCE, hub_id="lmms-lab/RefCOCOg", revision="c39eb63", split="test", rows=9_602)

BENCHMARK = replace(
    refcoco.BENCHMARK,
    name="refcocog",
    title="RefCOCOg",
    rank=21,
    source=SOURCE,
    sources={},
    row_options=(),  # its other split, `val`, is left out
    options={"scripts": refcoco.BENCHMARK.options["scripts"]},
)
