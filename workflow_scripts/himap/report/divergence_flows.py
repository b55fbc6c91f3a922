"""What the sides of a divergence give in the analyses: saliency, modality shares, disruption, FLOPs. Each function returns lines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from himap import benchmarks, numbers
from himap.metrics.statistics import mean_interval
from himap.results import Results, records_of

# The counts of `himap.costs.formulas` in words, as the page shows them.
CONVENTIONS = {
    "paper": "image tokens, two feed-forward matrices",
    "gated": "image tokens, three matrices",
    "prompt": "whole prompt, operations",
    "measured": "counted on a run, scoring included",
}
MIDDLE = (7 / 32, 16 / 32)  # layers 7 to 15 of 32, as shares of the depth; the upper one excluded


def flow_curves(results: Results, definition: str) -> list[tuple[str, pd.DataFrame]]:
    """Return raw block sums per layer of one definition, trained weights."""
    frame = results.figure("figure4")
    if frame is None:
        return []
    flows = frame[(frame["source"] == "ours") & (frame["variant"] == definition)]
    return [
        # A frame per place: rows are layers, columns are flows such as image_from_image.
        (f"{model}, {benchmarks.get(str(task)).title}", part.pivot_table(index="layer", columns="curve", values="raw"))
        for (model, task), part in flows.groupby(["model", "benchmark"], sort=False)
    ]


def saliency_lines(results: Results, definition: str) -> list[str]:
    """Return where each flow is largest, and their ratio in the middle layers."""
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
    """Return the sum of the image bars in percent of the instruction bars."""
    frame = results.figure("figure3")
    if frame is None:
        return []
    shares = frame[(frame["source"] == "ours") & (frame["variant"] == definition)]
    lines = []
    for (model, task), part in shares.groupby(["model", "benchmark"], sort=False):
        sums = part.groupby("curve")["raw"].sum()
        share = numbers.significant(100 * sums["image"] / sums["instruction"])
        lines.append(
            f"{model}, {benchmarks.get(str(task)).title}: image tokens have {share} % of the instruction tokens' saliency"
        )
    return lines


def trained_flows(results: Results, target: str | None = None) -> list[tuple[str, pd.DataFrame]]:
    """Return equation 1 on the trained model, layer means per model and benchmark; the first target unless one is named."""
    flows = []
    for model in results.facts["models"]:
        for task, facts in results.facts["benchmarks"].items():
            frame = results.saliency(model, task)
            if frame is None:
                continue
            # The file also has the control (random weights) and the released code's definition.
            chosen = (frame["weights"] == "trained") & (frame["definition"] == "paper")
            rows = frame[chosen & (frame["target"] == (target or frame["target"].iloc[0]))]
            if len(rows):
                columns = ["image_from_image", "instruction_from_image", "size_image"]
                means = rows.groupby("layer")[columns].mean()
                flows.append((f"{model}, {facts['title']} (n = {rows['sample_id'].nunique()})", means))
    return flows


def target_lines(results: Results, target: str) -> list[str]:
    """Return the layers of the largest flows for one target of the loss, by equation 1."""
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
    """Return the largest value of each flow, over the image tokens or as summed."""
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
    """Return consistency in the first and the last layers."""
    frame = results.figure("figure5")
    if frame is None:
        return []
    bars = frame[
        (frame["source"] == "ours")
        & (frame["extent"] == extent)
        & (frame["flow"] == flow)
        & (frame["measure"] == measure)
    ]
    lines = []
    for (model, task), part in bars[bars["part"] != "layer"].groupby(["model", "benchmark"], sort=False):
        # Bars of single layers are left out above; the ends are means over the first and the last layers.
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
    """Return consistency per way of cutting, from the sweep's own files, image to instruction, layer l alone."""
    lines = []
    for model in results.facts["models"]:
        for task, facts in results.facts["benchmarks"].items():
            whole = results.disruption(model, task)
            if whole is None:
                continue
            cut = whole[(whole["block"] == block) & (whole["flow"] == "img2txt") & (whole["extent"] == "single")]
            if len(cut):
                # First each sample's mean over its layers: samples are independent, layers of one sample are not.
                each: Any = cut.groupby("sample_id")[["same_answer", "jaccard"]].mean()
                shown = [
                    f"{name} {numbers.number(each[key].mean(), 3)} [{numbers.interval(*mean_interval(each[key], top=1.0), 3)}]"
                    for name, key in (("of the answers kept", "same_answer"), ("top five tokens", "jaccard"))
                ]
                lines.append(f"{model}, {facts['title']}: {', '.join(shown)}, mean over layers (n = {len(each)})")
    return lines


def control_lines(results: Results, measure: str) -> list[str]:
    """Return how often the disruption and its matched control leave the answer, or its first token, as it was."""
    lines = []
    for model in results.facts["models"]:
        for task, facts in results.facts["benchmarks"].items():
            whole = results.disruption(model, task)
            if whole is None:
                continue
            # The config's first way of cutting and first extent, as in the figures.
            own = whole[(whole["block"] == whole["block"].iloc[0]) & (whole["extent"] == whole["extent"].iloc[0])]
            means = own.groupby("flow")[measure].mean()
            if {"img2txt", "random"} <= set(means.index):
                shares = f"image to instruction {numbers.number(means['img2txt'], 3)}, control {numbers.number(means['random'], 3)}"
                lines.append(
                    f"{model}, {facts['title']}: {shares}, mean over layers (n = {own['sample_id'].nunique()})"
                )
    return lines


def flops_lines(results: Results, conventions: list[str]) -> list[str]:
    """Return HiMAP's share of the unpruned FLOPs under some counts."""
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
