"""MMBench in Chinese, dev split of October 2023: as `mmbench`, with fewer questions and a suffix of its own."""

from __future__ import annotations

from dataclasses import replace

from himap.benchmarks import mmbench

OPTION_LETTER = "请直接回答选项字母。"  # LLaVA's: "Please answer directly with the option's letter."

SOURCE = replace(
    mmbench.SOURCE,
    hub_id="lmms-lab/MMBench",
    config="cn",
    revision="ac155b9c318a37ac5a75267b18cbca12cbcc6bab",
    rows=4_329,
)

BENCHMARK = replace(
    mmbench.BENCHMARK,
    name="mmbench_cn",
    title="MMBench (CN)",
    rank=17,
    source=SOURCE,
    make_prompt=mmbench.asking(OPTION_LETTER),
)
