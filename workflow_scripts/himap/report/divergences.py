"""Where the paper and its released code differ: what each says, and the results of both beside each other."""

from __future__ import annotations

from typing import Any

import pandas as pd

from himap import benchmarks, numbers
from himap.metrics.statistics import mean_interval
from himap.report.kept_maps import histograms
from himap.results import Results, records_of

CONVENTIONS = {
    "paper": "image tokens, two feed-forward matrices",
    "gated": "image tokens, three matrices",
    "prompt": "whole prompt, operations",
    "measured": "counted on a run, scoring included",
}
MIDDLE = (0.22, 0.5)  # layers 7 to 15 of 32, as shares of the depth


def divergences(results: Results, maps: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Each divergence as two columns of results; an empty column says what would fill it."""
    maps = histograms(results) if maps is None else maps
    return [
        one(
            "Ranking with or without a cache",
            "The paper ranks the image tokens once, at prefill.",
            "The released code has no cache: every generated token runs the prompt again and ranks anew, generated tokens included.",
            scored(results, "divergence", "himap"), scored(results, "divergence", "himap_released"), "./reproduce divergence",
            between=differences(results, "himap", "himap_released"),
        ),
        one(
            "Deep criterion: attention received or paid",
            "Equation 9 as printed is a row sum, the attention that an image token pays.",
            "Prose and code take column sums, the attention that it receives. Under a causal mask that favours early tokens; "
            "dividing by the queries that can see a token removes it.",
            scored(results, "divergence", "himap_printed"),
            scored(results, "divergence", "himap") + scored(results, "divergence", "himap_debiased"), "./reproduce divergence",
            quarters(maps), differences(results, "himap_printed", "himap"),
        ),
        one(
            "FastV's criterion",
            "As the papers describe it: the mean attention from all tokens.",
            "Its code: the attention of the last token alone.",
            scored(results, "divergence", "fastv_as_written"), scored(results, "divergence", "fastv"), "./reproduce divergence",
            between=differences(results, "fastv_as_written", "fastv"),
        ),
        one(
            "Saliency",
            "Equation 1: attention times its gradient, absolute value after the sum over heads.",
            "The code multiplies by the attention once more (A² times the gradient) and takes the absolute value per head.",
            saliency_lines(results, "paper"), saliency_lines(results, "released"), "./reproduce figure4",
        ),
        one(
            "Scale of the flows",
            "The paper divides S_vv and S_vt by the number of image tokens.",
            "The code sums the whole blocks. With one image size the same number divides both curves, so that no shape, ratio or "
            "normalised figure changes.",
            scale_lines(results, per_token=True), scale_lines(results, per_token=False), "./reproduce figure4",
        ),
        one(
            "Modality shares",
            "Equations 2 to 4 sum columns: the flow out of a group.",
            "The code sums rows: the flow into a group. The published Figure 3 fits the rows.",
            share_lines(results, "paper"), share_lines(results, "released"), "./reproduce figure3",
        ),
        one(
            "Target of the loss",
            "The token that the model would emit.",
            "The answer's letter without its word mark, a token that the model never emits.",
            target_lines(results, "emitted"), target_lines(results, "released"), "saliency.targets: [emitted, released] in the config",
        ),
        one(
            "Layers that a disruption reaches",
            "The paper disrupts layer l alone.",
            "The code edits one mask in place, so layer l and all above are disrupted.",
            disruption_lines(results, "single", "img2txt"), disruption_lines(results, "suffix", "img2txt"), "./reproduce figure5",
        ),
        one(
            "The random control",
            "Here: as many causal pairs as the disruption that it controls, seeded.",
            "The code draws random rows, unseeded, which cut about half as many pairs.",
            disruption_lines(results, "suffix", "random"), disruption_lines(results, "suffix", "random_unmatched"),
            "disruption.flows with random_unmatched in the config",
        ),
        one(
            "Label consistency",
            "The same answer before and after the disruption.",
            "The right letter occurs somewhere in the answer.",
            disruption_lines(results, "suffix", "img2txt", "label"), disruption_lines(results, "suffix", "img2txt", "label_released"),
            "./reproduce figure5",
        ),
        one(
            "Where attention is cut",
            "The paper sets it to zero, which leaves the rest as it is.",
            "The code blocks before the softmax, so that the rest grows.",
            block_lines(results, "post"), block_lines(results, "pre"), "disruption.blocks: [pre, post] in the config",
        ),
        one(
            "What counts as FLOPs",
            "Image tokens alone, with two feed-forward matrices: the only count that gives the printed TFLOPs.",
            "The decoders have three matrices, the prompt holds more tokens, and scoring costs too. No code for FLOPs was released.",
            flops_lines(results, ["paper"]), flops_lines(results, ["gated", "prompt", "measured"]), "./reproduce flops",
        ),
    ]  # fmt: skip


def one(
    title: str, paper: str, released: str, paper_lines: list[str], released_lines: list[str], way: str,
    extra: dict[str, Any] | None = None, between: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One divergence."""
    sides = [{"says": paper, "lines": paper_lines}, {"says": released, "lines": released_lines}]
    return {"title": title, "sides": sides, "way": way, "extra": extra, "between": between or []}


def differences(results: Results, first: str, second: str) -> list[str]:
    """Second minus first on the same samples, per model and column of the table."""
    frame = results.table("divergence")
    if frame is None:
        return []
    lines = []
    for model, task in frame[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None):
        found = results.compare(model, task, first, second)
        if found is not None:
            benchmark = benchmarks.get(task)
            edges = numbers.interval(*found.interval, benchmark.digits, sign=True)
            change = numbers.number(found.difference, benchmark.digits, sign=True)
            lines.append(
                f"{model}, {benchmark.title}: {change} [{edges}], {numbers.p_value(found.p_value, found.least)}, "
                f"{numbers.size(found.n, found.pictures)}"
            )
    return lines


def scored(results: Results, table: str, method: str) -> list[str]:
    """A method's cells of a table."""
    frame = results.table(table)
    if frame is None:
        return []
    lines = []
    for row in records_of(frame[(frame["method"] == method) & frame["ours"].notna()]):
        benchmark = benchmarks.get(row.benchmark)
        edges = numbers.interval(row.low, row.high, benchmark.digits)
        line = f"{row.model}, {row.title}, {benchmark.title}: {numbers.number(row.ours, benchmark.digits)} [{edges}]"
        if pd.notna(row.vs_vanilla):
            line += f"; against unpruned {numbers.number(row.vs_vanilla, benchmark.digits, sign=True)}, "
            line += numbers.p_value(row.p_value, row.least_p)
        lines.append(line)
    return lines


def quarters(maps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Where the tokens lie that each form of the deep criterion keeps."""
    rows = [
        [part["model"], method["title"], *(quarter["text"] + " %" for quarter in method["quarters"])]
        for part in maps
        for method in part["methods"]
        if method["title"].startswith("HiMAP")
    ]
    if not rows:
        return None
    caption = "Kept tokens over the four quarters of the image, from top to bottom"
    return {"caption": caption, "head": ["model", "method", "1st", "2nd", "3rd", "4th"], "rows": rows}


def flow_curves(results: Results, definition: str) -> list[tuple[str, pd.DataFrame]]:
    """Raw block sums per layer of one definition, trained weights."""
    frame = results.figure("figure4")
    if frame is None:
        return []
    own = frame[(frame["source"] == "ours") & (frame["variant"] == definition)]
    return [
        (f"{model}, {benchmarks.get(str(task)).title}", part.pivot_table(index="layer", columns="curve", values="raw"))
        for (model, task), part in own.groupby(["model", "benchmark"], sort=False)
    ]


def saliency_lines(results: Results, definition: str) -> list[str]:
    """Where each flow is largest, and their ratio in the middle layers."""
    lines = []
    for place, curve in flow_curves(results, definition):
        depth = len(curve)
        middle = curve[(curve.index >= MIDDLE[0] * depth) & (curve.index < MIDDLE[1] * depth)].sum()
        ratio = numbers.significant(middle["image_from_image"] / middle["instruction_from_image"])
        peaks = curve.idxmax()
        lines.append(
            f"{place}: S_vv largest at layer {peaks['image_from_image']}, S_vt at layer {peaks['instruction_from_image']}; "
            f"S_vv over S_vt in the middle layers {ratio}"
        )
    return lines


def share_lines(results: Results, definition: str) -> list[str]:
    """The sum of the image bars in percent of the instruction bars."""
    frame = results.figure("figure3")
    if frame is None:
        return []
    own = frame[(frame["source"] == "ours") & (frame["variant"] == definition)]
    lines = []
    for (model, task), part in own.groupby(["model", "benchmark"], sort=False):
        sums = part.groupby("curve")["raw"].sum()
        share = numbers.significant(100 * sums["image"] / sums["instruction"])
        lines.append(
            f"{model}, {benchmarks.get(str(task)).title}: image tokens have {share} % of the instruction tokens' saliency"
        )
    return lines


def trained_flows(results: Results, target: str | None = None) -> list[tuple[str, pd.DataFrame]]:
    """Equation 1 on the trained model, layer means per model and benchmark; the first target unless one is named."""
    found = []
    for model in results.facts["models"]:
        for task, facts in results.facts["benchmarks"].items():
            frame = results.saliency(model, task)
            if frame is None:
                continue
            chosen = (frame["weights"] == "trained") & (frame["definition"] == "paper")
            own = frame[chosen & (frame["target"] == (target or frame["target"].iloc[0]))]
            if len(own):
                columns = ["image_from_image", "instruction_from_image", "size_image"]
                means = own.groupby("layer")[columns].mean()
                found.append((f"{model}, {facts['title']} (n = {own['sample_id'].nunique()})", means))
    return found


def target_lines(results: Results, target: str) -> list[str]:
    """The layers of the largest flows for one target of the loss, by equation 1."""
    lines = []
    for place, means in trained_flows(results, target):
        total, peaks = means.sum(), means.idxmax()
        ratio = numbers.significant(total["image_from_image"] / total["instruction_from_image"])
        lines.append(
            f"{place}: S_vv largest at layer {peaks['image_from_image']}, S_vt at layer {peaks['instruction_from_image']}; "
            f"S_vv over S_vt, all layers {ratio}"
        )
    return lines


def scale_lines(results: Results, per_token: bool) -> list[str]:
    """The largest value of each flow, over the image tokens or as summed."""
    lines = []
    for place, means in trained_flows(results):
        flows = means[["image_from_image", "instruction_from_image"]]
        peaks = (flows.div(means["size_image"], axis=0) if per_token else flows).max()
        lines.append(
            f"{place}: largest S_vv {numbers.significant(peaks['image_from_image'])}, "
            f"largest S_vt {numbers.significant(peaks['instruction_from_image'])}"
        )
    return lines


def disruption_lines(results: Results, extent: str, flow: str, measure: str = "label") -> list[str]:
    """Consistency in the first and the last layers."""
    frame = results.figure("figure5")
    if frame is None:
        return []
    own = frame[
        (frame["source"] == "ours")
        & (frame["extent"] == extent)
        & (frame["flow"] == flow)
        & (frame["measure"] == measure)
    ]
    lines = []
    for (model, task), part in own[own["part"] != "layer"].groupby(["model", "benchmark"], sort=False):
        ends = {row.part: row for row in records_of(part)}
        shown = [
            f"{name} layers {numbers.number(ends[name].value, 2)} [{numbers.interval(ends[name].low, ends[name].high, 2)}]"
            for name in ("first", "last")
            if name in ends
        ]
        lines.append(
            f"{model}, {benchmarks.get(str(task)).title}: of the answers kept, {', '.join(shown)} (n = {int(part['n'].max())})"
        )
    return lines


def block_lines(results: Results, block: str) -> list[str]:
    """Consistency per way of cutting, from the sweep's own files, image to instruction, layer l alone."""
    lines = []
    for model in results.facts["models"]:
        for task, facts in results.facts["benchmarks"].items():
            whole = results.disruption(model, task)
            if whole is None:
                continue
            own = whole[(whole["block"] == block) & (whole["flow"] == "img2txt") & (whole["extent"] == "single")]
            if len(own):
                each: Any = own.groupby("sample_id")[["same_answer", "jaccard"]].mean()
                shown = [
                    f"{name} {numbers.number(each[key].mean(), 3)} [{numbers.interval(*mean_interval(each[key], top=1.0), 3)}]"
                    for name, key in (("of the answers kept", "same_answer"), ("top five tokens", "jaccard"))
                ]
                lines.append(f"{model}, {facts['title']}: {', '.join(shown)}, mean over layers (n = {len(each)})")
    return lines


def flops_lines(results: Results, conventions: list[str]) -> list[str]:
    """HiMAP's share of the unpruned FLOPs under some counts."""
    lines = []
    for model in results.facts["models"]:
        frame = results.flops(model, "qa", "himap")
        if frame is not None:
            ratios = frame.set_index("convention")["ratio"]
            lines += [
                f"{model}, {CONVENTIONS[key]}: {numbers.number(100 * ratios[key])} %"
                for key in conventions
                if key in ratios.index
            ]
    return lines
