"""Where the paper and its released code differ: the facts of report/divergences.yaml, with the results of both sides beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import yaml

from himap import benchmarks, numbers
from himap.metrics.statistics import mean_interval
from himap.report.kept_maps import histograms
from himap.results import Results, records_of
from himap.workflow.plan.report_settings import DIVERGENCES

CONVENTIONS = {
    "paper": "image tokens, two feed-forward matrices",
    "gated": "image tokens, three matrices",
    "prompt": "whole prompt, operations",
    "measured": "counted on a run, scoring included",
}
MIDDLE = (0.22, 0.5)  # layers 7 to 15 of 32, as shares of the depth


def divergences(results: Results, maps: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return each divergence as two columns of results; an empty column says what would fill it."""
    maps = histograms(results) if maps is None else maps
    entries = yaml.safe_load(DIVERGENCES.read_text(encoding="utf-8"))
    return [divergence(results, maps, entry) for entry in entries if applies(results, entry)]


def applies(results: Results, entry: dict[str, Any]) -> bool:
    """Return whether an entry is about this run: all are, but those that need a benchmark's published data."""
    needed = entry.get("published_data_of")
    return needed is None or results.facts["benchmarks"].get(needed, {}).get("comparable", False)


def divergence(results: Results, maps: list[dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    """Return one divergence: what each side says and gives, and how the two compare."""
    names = entry.get("names", ("Paper", "Released code"))
    return {
        "title": entry["title"],
        "sides": [side(results, name, entry[key]) for name, key in zip(names, ("paper", "code"), strict=True)],
        "here": entry["here"],
        "way": entry["show"],
        "extra": quarters(maps) if entry.get("extra") == "quarters" else None,
        "between": lines_of(results, entry["between"]) if "between" in entry else [],
    }


def side(results: Results, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return one side of a divergence."""
    says = [entry["says"], entry["in_mini"]] if "in_mini" in entry and is_mini(results) else [entry["says"]]
    return {"name": name, "says": " ".join(says), "lines": lines_of(results, entry)}


def lines_of(results: Results, entry: dict[str, Any]) -> list[str]:
    """Return the lines of the function that an entry names."""
    return RESULTS[entry["result"]](results, **entry.get("with", {}))


def is_mini(results: Results) -> bool:
    """Return whether a benchmark is drawn by the embedded world."""
    return any(facts["source"] == "mini" for facts in results.facts["benchmarks"].values())


def difference_lines(
    results: Results,
    methods: list[str],
    table: str = "divergence",
    tasks: list[str] | None = None,
    models: list[str] | None = None,
) -> list[str]:
    """Return the second method minus the first on the same samples, per model and column of a table."""
    frame = results.table(table)
    if frame is None:
        return []
    first, second = methods
    lines = []
    for model, task in frame[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None):
        if (tasks is not None and task not in tasks) or (models is not None and model not in models):
            continue
        against = results.compare(model, task, first, second)
        if against is not None:
            benchmark = benchmarks.get(task)
            edges = numbers.interval(*against.interval, benchmark.digits, sign=True)
            change = numbers.number(against.difference, benchmark.digits, sign=True)
            lines.append(
                f"{model}, {benchmark.title}: {change} [{edges}], {numbers.p_value(against.p_value, against.least)}, "
                f"{numbers.size(against.n, against.pictures)}"
            )
    return lines


def scored_lines(
    results: Results, methods: list[str], table: str = "divergence", model: str | None = None
) -> list[str]:
    """Return the methods' cells of a table, of one model or of all, one method after the other."""
    frame = results.table(table)
    if frame is None:
        return []
    lines = []
    scored = frame[frame["ours"].notna() & (True if model is None else frame["model"] == model)]
    for row in (row for method in methods for row in records_of(scored[scored["method"] == method])):
        benchmark = benchmarks.get(row.benchmark)
        edges = numbers.interval(row.low, row.high, benchmark.digits)
        line = f"{row.model}, {row.title}, {benchmark.title}: {numbers.number(row.ours, benchmark.digits)} [{edges}]"
        if pd.notna(row.vs_vanilla):
            line += f"; against unpruned {numbers.number(row.vs_vanilla, benchmark.digits, sign=True)}, "
            line += numbers.p_value(row.p_value, row.least_p)
        lines.append(line)
    return lines


def asked_methods(results: Results, option: str, value: str) -> dict[str, str]:
    """Return, per benchmark whose contested option this is, the run of the unpruned model in which it had this value."""
    return {
        task: "vanilla" if facts["asked"][option] == value else "asked_otherwise"
        for task, facts in results.facts["benchmarks"].items()
        if (benchmarks.get(task).contested or "corpus") == option and option in facts["asked"]
    }


def asked_lines(results: Results, option: str, value: str) -> list[str]:
    """Return the unpruned model's scores with a protocol option at one value."""
    lines = []
    for model in results.facts["models"]:
        for task, method in asked_methods(results, option, value).items():
            score = results.score(model, task, method)
            if score is None:
                continue
            benchmark = benchmarks.get(task)
            headline = numbers.number(score["headline"], benchmark.digits)
            low, high = score["interval"]
            edges = numbers.interval(low, high, benchmark.digits)
            line = f"{model}, {benchmark.title}: {headline} [{edges}], {numbers.size(score['n'], score['pictures'])}"
            if value == "llava" and "as_llava_f1" in score["scores"]:
                # The other version has other questions too, so on the same samples only the typo differs; this adds the questions.
                line += f"; of LLaVA's questions {numbers.number(score['scores']['as_llava_f1'], benchmark.digits)}"
            lines.append(line)
    return lines


def asked_difference_lines(results: Results, option: str, value: str) -> list[str]:
    """Return the second value of a protocol option minus the first, on the same samples."""
    lines = []
    for task, first in asked_methods(results, option, value).items():
        # Which side the plain run is on depends on the config: the presets ask differently from the defaults.
        second = "asked_otherwise" if first == "vanilla" else "vanilla"
        lines += difference_lines(results, [first, second], "protocols", tasks=[task])
    return lines


def precision_methods(results: Results, model: str) -> tuple[str, str]:
    """Return the runs of the unpruned model in float16 and in bfloat16; the model's own precision needs no second run."""
    own = results.facts["models"][model]["dtype"]
    first, second = ("vanilla" if own == dtype else f"in_{dtype}" for dtype in ("float16", "bfloat16"))
    return first, second


def precision_lines(results: Results, dtype: str) -> list[str]:
    """Return the unpruned model's scores in one precision."""
    lines = []
    for model in results.facts["models"]:
        method = precision_methods(results, model)[dtype == "bfloat16"]
        lines += scored_lines(results, [method], "protocols", model)
    return lines


def precision_difference_lines(results: Results) -> list[str]:
    """Return bfloat16 minus float16 on the same samples."""
    lines = []
    for model in results.facts["models"]:
        lines += difference_lines(results, [*precision_methods(results, model)], "protocols", models=[model])
    return lines


def quarters(maps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return where the tokens lie that each form of the deep criterion keeps."""
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
    """Return raw block sums per layer of one definition, trained weights."""
    frame = results.figure("figure4")
    if frame is None:
        return []
    flows = frame[(frame["source"] == "ours") & (frame["variant"] == definition)]
    return [
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


RESULTS: dict[str, Callable[..., list[str]]] = {
    "scored": scored_lines,
    "difference": difference_lines,
    "asked": asked_lines,
    "asked difference": asked_difference_lines,
    "precision": precision_lines,
    "precision difference": precision_difference_lines,
    "saliency": saliency_lines,
    "scale": scale_lines,
    "shares": share_lines,
    "target": target_lines,
    "disruption": disruption_lines,
    "control": control_lines,
    "block": block_lines,
    "flops": flops_lines,
}
