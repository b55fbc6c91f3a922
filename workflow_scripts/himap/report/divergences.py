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
    return [*code_divergences(results, maps), *protocol_divergences(results)]


def code_divergences(results: Results, maps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return where the released code computes something else than the paper says, or the paper leaves a choice."""
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
            "The random control of generated tokens",
            "Over the whole answer. The control takes all image tokens from a generated token, as only that cuts as many pairs.",
            "The first token alone, before any token is generated, so that no such pair has to be matched.",
            control_lines(results, "same_answer"), control_lines(results, "same_first_token"), "./reproduce figure5",
            names=("Whole answer", "First token"),
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
            "R2 of the deep module alone",
            "75 % of what is left is dropped. Without the shallow module all tokens are left, so 25 % stay.",
            "As many tokens stay as after both modules, 12.5 % in the paper's schedule. Neither paper nor code says which was run.",
            scored(results, "table9", "deep_only_relative"), scored(results, "table9", "deep_only"), "./reproduce table9",
            between=differences(results, "deep_only_relative", "deep_only", "table9"), names=("R2 of all", "As many as HiMAP leaves"),
        ),
        one(
            "What counts as FLOPs",
            "Image tokens alone, with two feed-forward matrices: the only count that gives the printed TFLOPs.",
            "The decoders have three matrices, the prompt holds more tokens, and scoring costs too. No code for FLOPs was released.",
            flops_lines(results, ["paper"]), flops_lines(results, ["gated", "prompt", "measured"]), "./reproduce flops",
        ),
    ]  # fmt: skip


def protocol_divergences(results: Results) -> list[dict[str, Any]]:
    """Return where a benchmark can be asked in two ways that move its score, each with its result on the same samples."""
    way = "./reproduce protocols"
    found = [
        one(
            "Pictures that are not square: cut or padded",
            "HiMAP's release, and LLaVA's and InternVL's scripts of 2023 for ScienceQA, MM-Vet and LLaVA-Bench, cut the sides off.",
            "LLaVA's paper and all its other scripts pad to a square."
            + (" The pictures of the embedded world are square, so that both are the same there." if is_mini(results) else ""),
            asked_lines(results, "images", "crop"), asked_lines(results, "images", "pad"), way,
            between=asked_between(results, "images", "crop"), names=("Cut", "Padded"),
        ),
        one(
            "Precision",
            "LLaVA and InternVL are published, and were evaluated, in float16.",
            "In bfloat16, which rounds eight times as coarsely: a mean error of a logit of 0.015 instead of 0.0017.",
            precision_lines(results, "float16"), precision_lines(results, "bfloat16"), way,
            between=precision_between(results), names=("float16", "bfloat16"),
        ),
        one(
            "A-OKVQA's form",
            "FastV's wording, options on one line, one token: the paper's scores of LLaVA lie on those that FastV reports.",
            "LLaVA's multiple-choice form, a lettered option a line.",
            asked_lines(results, "protocol", "fastv"), asked_lines(results, "protocol", "llava"), way,
            between=asked_between(results, "protocol", "fastv"), names=("FastV's", "LLaVA's"),
        ),
        one(
            "POPE's questions",
            "As LLaVA had them: 2,910 random questions instead of 3,000, and the typo \"imange\" after \"an\". The F1 of these "
            "questions is named too where more were asked.",
            "As they are today: three times 3,000, without the typo.",
            asked_lines(results, "version", "llava"), asked_lines(results, "version", "hub"), way,
            between=asked_between(results, "version", "llava"), names=("Of 2023", "Today's"),
        ),
    ]  # fmt: skip
    flickr = results.facts["benchmarks"].get("flickr30k")
    if flickr and flickr["comparable"]:
        found.append(
            one(
                "Flickr30k's pictures",
                "Karpathy's 1,000, as most papers on captions take them (Qwen-VL-Chat: 81.0).",
                "All 31,783, as lmms-eval takes them (LLaVA-v1.5-7B: 74.9). CIDEr depends on that number, so the two may not be "
                "compared.",
                asked_lines(results, "corpus", "karpathy"), asked_lines(results, "corpus", "all"),
                "benchmarks.flickr30k.protocol.corpus in a config with an output folder of its own", names=("Karpathy's", "All"),
            )
        )  # fmt: skip
    return found


def is_mini(results: Results) -> bool:
    """Return whether a benchmark is drawn by the embedded world."""
    return any(facts["source"] == "mini" for facts in results.facts["benchmarks"].values())


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
                line += f"; of LLaVA's questions {numbers.number(score['scores']['as_llava_f1'], benchmark.digits)}"
            lines.append(line)
    return lines


def asked_between(results: Results, option: str, value: str) -> list[str]:
    """Return the second value of a protocol option minus the first, on the same samples."""
    lines = []
    for task, first in asked_methods(results, option, value).items():
        second = "asked_otherwise" if first == "vanilla" else "vanilla"
        lines += differences(results, first, second, "protocols", [task])
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
        lines += scored(results, "protocols", method, model)
    return lines


def precision_between(results: Results) -> list[str]:
    """Return bfloat16 minus float16 on the same samples."""
    lines = []
    for model in results.facts["models"]:
        lines += differences(results, *precision_methods(results, model), "protocols", models=[model])
    return lines


def one(
    title: str, paper: str, released: str, paper_lines: list[str], released_lines: list[str], way: str,
    extra: dict[str, Any] | None = None, between: list[str] | None = None, names: tuple[str, str] = ("Paper", "Released code"),
) -> dict[str, Any]:  # fmt: skip
    """Return one divergence: two sides with what each says and its results, and the way to those that are missing."""
    sides = [
        {"name": names[0], "says": paper, "lines": paper_lines},
        {"name": names[1], "says": released, "lines": released_lines},
    ]
    return {"title": title, "sides": sides, "way": way, "extra": extra, "between": between or []}


def differences(
    results: Results, first: str, second: str, table: str = "divergence",
    tasks: list[str] | None = None, models: list[str] | None = None,
) -> list[str]:  # fmt: skip
    """Return second minus first on the same samples, per model and column of a table."""
    frame = results.table(table)
    if frame is None:
        return []
    lines = []
    for model, task in frame[["model", "benchmark"]].drop_duplicates().itertuples(index=False, name=None):
        if (tasks is not None and task not in tasks) or (models is not None and model not in models):
            continue
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


def scored(results: Results, table: str, method: str, model: str | None = None) -> list[str]:
    """Return a method's cells of a table, of one model or of all."""
    frame = results.table(table)
    if frame is None:
        return []
    frame = frame if model is None else frame[frame["model"] == model]
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
