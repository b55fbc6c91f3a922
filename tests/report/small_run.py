"""A small results folder of the shape that a run leaves: real samples of the embedded world, seeded numbers instead of a model.

Scores, tables and figure data go through the project's own code, so that the page reads what the workflow writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import download_benchmark
import draw_figure
import make_mini_benchmarks
import numpy as np
import pandas as pd
from himap import benchmarks, figures
from himap.benchmarks._scoring import summed_up
from himap.costs import formulas
from himap.decoder.bitmaps import to_bitmap
from himap.experiments.grid import Grid
from himap.files import write_json, write_jsonl, write_parquet, write_text
from himap.pruning.stage import Schedule
from himap.tables import efficiency
from himap.tables.forms import forms
from himap.tables.records import records
from himap.workflow.config.load import load
from himap.workflow.plan import settings as told
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.targets import figures as drawn

SCRIPT = "<script>alert(1)</script>"
BROKEN_IMAGE = '<img src="x" onerror="alert(2)">'
LAYERS, GRID, SAMPLES = 12, 12, 16
TASKS = ("vqav2", "pope", "mme", "scienceqa", "aokvqa", "nocaps", "mmvet")
RIGHT = {"vanilla": 0.78, "fastv": 0.7, "himap": 0.76, "random": 0.5, "shallow_image": 0.45}
WRONG = ("a red circle", "two", "yes", "B", "no", "C", "seven", "D")
VERSIONS = {"python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.23.0"}


def build(folder: Path) -> Plan:
    """Write everything and return the plan that describes it."""
    model = folder / "model"
    write_json(model / "config.json", model_config())
    plan = Plan(load(config(folder, model)))
    random = np.random.default_rng(0)
    for task in TASKS:
        prepare(plan, folder, task)
    for _, task, method in plan.evaluations():
        evaluate(plan, task, method, random)
    for kind in plan.kinds("mini"):
        write_flops(plan, kind)
    for task in ("scienceqa", "aokvqa"):
        write_saliency(plan, task, random)
        write_disruption(plan, task, random)
    for task in ("scienceqa", "nocaps"):
        write_latency(plan, task, random)
    write_grid(plan, random)
    write_json(
        Path(plan.paths.manifest("mini")),
        {"directory": str(model), "files": [{"name": "model.safetensors", "bytes": 7408312, "sha256": "ab" * 32}]},
    )
    for name in plan.tables():
        settings = json.loads(told.table(plan, name))
        for ending, text in forms(records(settings, plan.out), settings).items():
            write_text(f"{plan.out}/tables/{name}.{ending}", text)
    frame = efficiency.records(json.loads(told.efficiency(plan)), plan.out)
    for ending, text in efficiency.forms(frame, told.EFFICIENCY_TITLE).items():
        write_text(f"{plan.out}/tables/efficiency.{ending}", text)
    for name in drawn(plan):
        frame = figures.get(name).numbers(json.loads(told.figure(plan, name)), plan.out)
        write_text(f"{plan.out}/figures/data/{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    words = [
        "--figure",
        "figure7",
        "--data",
        f"{plan.out}/figures/data/figure7.csv",
        "--out",
        f"{plan.out}/figures/figure7",
    ]
    draw_figure.main(
        [*words, "--style", told.style(plan, "figure7")]
    )  # a drawing to be packed into the page, of the quick ones
    return plan


def model_config() -> dict[str, Any]:
    """Sizes like those of the embedded model."""
    return {
        "model_type": "llava",
        "text_config": {
            "num_hidden_layers": LAYERS, "hidden_size": 160, "num_attention_heads": 5, "head_dim": 32,
            "intermediate_size": 320, "vocab_size": 815,
        },
        "vision_config": {"image_size": 96, "patch_size": 8},
    }  # fmt: skip


def config(folder: Path, model: Path) -> dict[str, Any]:
    """A config with some of everything."""
    himap = [
        {"layer": 2, "keep": 0.5, "criterion": "instruction_attention"},
        {"layer": 5, "keep": 0.125, "criterion": "image_attention"},
    ]
    return {
        "output": str(folder / "results"),
        "models": {"mini": {"path": str(model)}},
        "benchmarks": {task: {"source": "mini", "limit": SAMPLES} for task in TASKS},
        "methods": {
            "vanilla": {"title": "Vanilla", "stages": []},
            "fastv": {"title": "FastV", "stages": [{"layer": 2, "keep": 0.5, "criterion": "last_token_attention"}]},
            "himap": {"title": "HiMAP", "stages": himap},
            "himap_aggressive": {"title": "HiMAP, aggressive", "stages": [himap[0], {**himap[1], "keep": 0.0625}]},
        },
        "tables": {"divergence": {"benchmarks": ["scienceqa", "aokvqa", "nocaps"]}},
        "saliency": {"targets": ["emitted", "released"]},
        "disruption": {
            "layers_per_job": LAYERS, "edge": 3, "flows": ["img2txt", "img2img", "random", "random_unmatched"], "blocks": ["pre", "post"],
        },
        "grid": {"k1": [1, 2], "r1": [0.5, 0.25], "k2": [4, 6], "r2": [0.25, 0.125]},
    }  # fmt: skip


def prepare(plan: Plan, folder: Path, task: str) -> None:
    """Samples and manifest as the workflow makes them."""
    raw = folder / "mini-world" / f"{task}.parquet"
    make_mini_benchmarks.main(["--benchmark", task, "--limit", str(SAMPLES), "--out", str(raw)])
    samples = Path(plan.paths.samples(task))
    paths = ["--out", str(samples), "--manifest", str(samples.with_name("manifest.json"))]
    download_benchmark.main(["--benchmark", task, "--from-path", str(raw), *paths])


def evaluate(plan: Plan, task: str, method: str, random: np.random.Generator) -> None:
    """Predictions with the tokens kept, scores, sidecar and timing of one evaluation."""
    benchmark = benchmarks.get(task)
    samples = list(benchmarks.read_samples(plan.paths.samples(task)))
    resolved = plan.method("mini", task, method)
    luck = np.random.default_rng(benchmarks.names().index(task)).random(len(samples))  # the same for all methods
    rows, correct = [], []
    for number, sample in enumerate(samples):
        correct.append(0.7 * luck[number] + 0.3 * random.random() < RIGHT.get(method, 0.6))
        wrong = str(random.choice([one for one in WRONG if one.lower() != sample.references[0].lower()]))
        answer = sample.references[0] if correct[-1] else wrong
        if task == "vqav2" and number == 0 and method != "vanilla":
            answer = f"{SCRIPT} {BROKEN_IMAGE} {method}"
        rows.append(prediction(sample.sample_id, answer, resolved, random))
    folder = Path(plan.paths.predictions("mini", task, method)).parent
    write_jsonl(folder / "predictions.jsonl", rows)
    write_json(folder / "predictions.jsonl.provenance.json", sidecar(resolved))
    write_timing(plan, f"evaluation/mini/{task}/{method}/predictions.tsv", 3.5, 310.0)
    if benchmark.judged:
        return
    if task == "nocaps":  # the caption metric needs a tokenizer of its own; its numbers are not what is tested here
        marks = [1.1 * right + 0.3 * random.random() for right in correct]
        frame = pd.DataFrame({"sample_id": [sample.sample_id for sample in samples], "score": marks})
        scores = summed_up(benchmark, frame, [], 0)
    else:
        scores = benchmarks.score(benchmark, samples, {row["sample_id"]: row["prediction"] for row in rows})
    write_json(folder / "score.json", scores.as_json())
    write_parquet(folder / "per_sample.parquet", scores.per_sample)


def prediction(name: str, answer: str, method: Schedule, random: np.random.Generator) -> dict[str, Any]:
    """One line of predictions: tokens kept at random, those of image attention near the top."""
    total = GRID * GRID if method.image_grid is None else int(np.prod(method.image_grid))
    kept, left = [], np.arange(total)
    for stage in method.stages:
        weight = np.exp(-left / 40.0) if stage.criterion == "image_attention" else np.ones(len(left))
        count = min(len(left), formulas.keep_count(stage.keep, total))
        left = np.sort(random.choice(left, count, replace=False, p=weight / weight.sum()))
        kept.append(to_bitmap(left.tolist(), total))
    return {
        "sample_id": name, "prediction": answer, "prompt_tokens": total + 54, "image_tokens": total, "generated_tokens": 3, "kept": kept,
    }  # fmt: skip


def sidecar(method: Schedule | None = None) -> dict[str, Any]:
    """Provenance as the scripts write it."""
    settings = {"dtype": "float32", "attention": "sdpa", "batch_size": 16, "seed": 0} | (
        {"method": method.to_json()} if method else {}
    )
    model = {"name": "mini", "source": "models/mini", "revision": None}
    return {
        "script": "evaluate_method.py",
        "model": model,
        "settings": settings,
        "device": "cpu (x86_64)",
        "versions": VERSIONS,
    }


def write_timing(plan: Plan, name: str, seconds: float, memory: float) -> None:
    """One of Snakemake's benchmark files."""
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    row = f"{seconds}\t0:00:03\t{memory}\t1967.06\t178.91\t208.15\t0.00\t0.01\t95.12\t3.06"
    write_text(f"{plan.out}/timings/{name}", f"{head}\n{row}\n")


def write_flops(plan: Plan, kind: str) -> None:
    """Costs of all methods of a kind of task."""
    dims = plan.dims("mini")
    for name in plan.costed_methods("mini", kind):
        method, rows = plan.method("mini", plan.example_of(kind), name), []
        tokens = GRID * GRID if method.image_grid is None else int(np.prod(method.image_grid))
        for convention in (*formulas.CONVENTIONS, "measured"):
            formula = "prompt" if convention == "measured" else convention
            value = formulas.flops(dims, method.stages, formula, n_image=tokens, n_text=54)
            full = formulas.flops(dims, [], formula, n_text=54)
            rows.append({"method": name, "convention": convention, "flops": value, "ratio": value / full})
        write_text(plan.paths.flops("mini", kind, name), pd.DataFrame(rows).to_csv(index=False))
        write_timing(plan, f"flops/mini/{kind}/{name}.tsv", 4.0, 400.0)


def write_saliency(plan: Plan, task: str, random: np.random.Generator) -> None:
    """Flows with a shallow peak to the instruction and a peak among image tokens in the middle."""
    rows = []
    groups, sizes = ("system", "image", "instruction"), (20, 144, 34)
    for weights, target in (("trained", "emitted"), ("trained", "released"), ("random", "emitted")):
        for sample in range(SAMPLES):
            for definition in ("paper", "released"):
                for layer in range(LAYERS):
                    shape = {
                        "image_from_image": np.exp(-((layer - 4) ** 2) / 3), "instruction_from_image": np.exp(-layer / 0.8) + 0.05,
                        "instruction_from_instruction": 2 * np.exp(-((layer - 5) ** 2) / 9),
                    }  # fmt: skip
                    sums = {
                        f"{query}_from_{source}": float((shape.get(f"{query}_from_{source}", 0.2) if weights == "trained" else 0.3) * random.random())
                        for query in groups
                        for source in groups
                    }  # fmt: skip
                    place = {
                        "sample_id": str(sample),
                        "layer": layer,
                        "definition": definition,
                        "weights": weights,
                        "target": target,
                    }
                    rows.append(place | {f"size_{name}": size for name, size in zip(groups, sizes, strict=True)} | sums)
    write_parquet(f"{plan.out}/saliency/mini/{task}/saliency.parquet", pd.DataFrame(rows))
    write_json(f"{plan.out}/saliency/mini/{task}/saliency.parquet.provenance.json", sidecar())
    write_timing(plan, f"saliency/mini/{task}.tsv", 40.0, 420.0)


def write_disruption(plan: Plan, task: str, random: np.random.Generator) -> None:
    """Early cuts that break answers, late ones that hardly do."""
    rows = []
    for sample in range(SAMPLES):
        for layer in range(LAYERS):
            for flow, block in [*((flow, "pre") for flow in plan.config.disruption.flows), ("img2txt", "post")]:
                for extent in plan.config.disruption.extents:
                    keeps = min(1.0, {"img2txt": 0.3, "img2img": 0.75}.get(flow, 0.7) + 0.09 * layer)
                    same = bool(random.random() < keeps)
                    rows.append(
                        {
                            "sample_id": str(sample), "layer": layer, "flow": flow, "extent": extent, "block": block, "answer": "A" if same else "B",
                            "clean_answer": "A", "reference": "A", "same_answer": same, "same_first_token": keeps > 0.5, "reference_in_answer": same, "jaccard": 0.5 + 0.5 * same,
                        }
                    )  # fmt: skip
    path = f"{plan.out}/disruption/mini/{task}/layers-0-{LAYERS - 1}.parquet"
    write_parquet(path, pd.DataFrame(rows))
    write_json(f"{path}.provenance.json", sidecar())
    write_timing(plan, f"disruption/mini/{task}/layers-0-{LAYERS - 1}.tsv", 61.0, 400.0)


def write_latency(plan: Plan, task: str, random: np.random.Generator) -> None:
    """Three methods in turns."""
    seconds = {"vanilla": 0.05, "fastv": 0.041, "himap": 0.033}
    ideal = {"vanilla": 1.0, "fastv": 1.5, "himap": 2.1}
    rows = [
        {
            "sample_id": str(sample), "method": method, "round": number, "batch_size": size,
            "seconds_total": seconds[method] * random.normal(1, 0.05) * size, "seconds_vision": 0.002 * size,
            "seconds_prefill": 0.6 * seconds[method] * size, "seconds_scoring": 0.0 if method == "vanilla" else 0.001,
            "seconds_answer": 0.4 * seconds[method], "steps": 2, "image_tokens": 144.0, "text_tokens": 20.0,
            "tokens_per_layer": 144 / ideal[method], "ideal_speedup": ideal[method], "cache_mb": 2.5 * size,
            "kernel": "flash", "peak_mb": 30.0 * size, "tflops_formula": 0.001, "tflops_counted": 0.0011, "device": "cpu",
        }
        for size, samples in ((1, range(8)), (8, range(1)))
        for number in range(3)
        for sample in samples
        for method in plan.config.latency.methods
    ]  # fmt: skip
    write_text(f"{plan.out}/latency/mini/{task}.csv", pd.DataFrame(rows).to_csv(index=False))
    write_json(f"{plan.out}/latency/mini/{task}.csv.provenance.json", sidecar())
    write_timing(plan, f"latency/mini/{task}.tsv", 9.0, 400.0)


def write_grid(plan: Plan, random: np.random.Generator) -> None:
    """Scores of every schedule of the grid, in all and of each sample; captions lose twice what questions lose."""
    part, dims = plan.config.grid, plan.dims("mini")
    points = Grid(part.k1, part.r1, part.k2, part.r2).schedules(dims).values()
    for task, loss in (("vqav2", 20), ("nocaps", 40)):
        rows, single = [], []
        for (k1, r1), (k2, r2) in points:
            stages = [formulas.Drop(k1, r1), formulas.Drop(k2, r2)]
            sizes = {"tflops": formulas.flops(dims, stages) / 1e12, "ratio": formulas.ratio(dims, stages)}
            schedule = {"k1": k1, "r1": r1, "k2": k2, "r2": r2}
            scores = 80 - loss * (1 - sizes["ratio"]) + 6 * random.random(SAMPLES)
            edges = {"low": scores.mean() - 9, "high": scores.mean() + 8}
            rows.append({**schedule, **sizes, "score": scores.mean(), **edges, "n": SAMPLES})
            single += [
                {"sample_id": str(n), "picture": str(n), "score": score, **schedule} for n, score in enumerate(scores)
            ]
        frame = pd.DataFrame(rows)
        frame["frontier"] = formulas.on_frontier(frame["ratio"].tolist(), frame["score"].tolist())
        write_text(plan.paths.grid("mini", task), frame.to_csv(index=False))
        write_text(plan.paths.grid("mini", task, "samples.csv"), pd.DataFrame(single).to_csv(index=False))
