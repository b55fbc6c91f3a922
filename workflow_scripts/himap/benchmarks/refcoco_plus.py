"""RefCOCO+: expressions about one object of a picture that do not say where it is."""

from __future__ import annotations

from dataclasses import replace

from himap.benchmarks import refcoco

# Rows are expressions, not rows of the hub: `parts` of RefCOCO makes several of one.
SOURCE = replace(refcoco.SOURCE, hub_id="lmms-lab/RefCOCOplus", revision="6ff10a2", rows=5_726)

BENCHMARK = replace(
    refcoco.BENCHMARK,
    name="refcoco_plus",
    title="RefCOCO+",
    rank=20,
    source=SOURCE,
    sources={
        "split=testB": replace(SOURCE, split="testB", rows=4_889),
        "split=val": replace(SOURCE, split="val", rows=10_758),
    },
    options={**refcoco.BENCHMARK.options, "split": ("testA", "testB", "val")},
)
