"""A run of presets/paper.yaml without any model: made-up answers in which HiMAP clearly wins, or clearly loses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from himap import benchmarks, figures
from himap.costs import formulas
from himap.files import write_json, write_parquet, write_text
from himap.metrics.statistics import interval
from himap.paper.published import table_value
from himap.tables.forms import as_csv
from himap.tables.records import records
from himap.workflow.config.load import load
from himap.workflow.plan import settings as told
from himap.workflow.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"scienceqa": 2017, "textvqa": 5000}  # compared with the paper, so as many as it has; the others 600
WINS = {"vanilla": 0.6, "fastv": 0.5, "himap": 0.7, "shallow_only": 0.7, "shallow_image": 0.4, "instruction_twice": 0.5,
        "himap_aggressive": 0.4}  # fmt: skip
LOSES = {"vanilla": 0.7, "fastv": 0.6, "himap": 0.4, "shallow_only": 0.4, "shallow_image": 0.7, "instruction_twice": 0.6,
         "himap_aggressive": 0.8}  # fmt: skip


def plan_of(folder: Path) -> Plan:
    """The preset with a judge, its results in a folder of the test."""
    preset = yaml.safe_load((ROOT / "presets" / "paper.yaml").read_text(encoding="utf-8"))
    judge = {"base_url": "https://judge.example/v1"}
    return Plan(load(preset | {"output": str(folder / "results"), "judge": judge}))


def cells(plan: Plan) -> list[tuple[str, str, str]]:
    """The planned cells that some claim is about."""
    names = ("table1", "table2", "table3", "table4", "table8")
    return sorted({cell for name in names for cell in plan.table_cells(name) if cell[2] in WINS})


def build(folder: Path, himap_wins: bool) -> Plan:
    """Write everything that the claims are decided by."""
    plan = plan_of(folder)
    for model, task, method in cells(plan):
        write_scores(plan, model, task, method, himap_wins)
    for model in plan.config.models:
        write_analyses(plan, model, himap_wins)
        for kind in plan.kinds(model):
            write_costs(plan, model, kind)
    settings = json.loads(told.figure(plan, "figure5"))
    frame = figures.get("figure5").numbers(settings, plan.out)
    write_text(f"{plan.out}/figures/data/figure5.csv", frame.to_csv(index=False))
    write_tables(plan)
    return plan


def write_tables(plan: Plan) -> None:
    """Tables 1 to 3, where all that they show is there, as the workflow makes them."""
    for name in ("table1", "table2", "table3"):
        settings = json.loads(told.table(plan, name))
        settings["methods"] = [one for one in settings["methods"] if one["name"] in WINS]
        shown = [cell for cell in plan.table_cells(name) if cell[2] in WINS]
        path = Path(f"{plan.out}/tables/{name}.csv")
        path.unlink(missing_ok=True)
        if all(Path(file).is_file() for cell in shown for file in plan.cell_files(*cell)):
            write_text(path, as_csv(records(settings, plan.out)))


def share_right(plan: Plan, model: str, task: str, method: str, himap_wins: bool) -> float:
    """The share of right answers: the paper's own where it is compared and HiMAP wins as it says."""
    theirs = table_value("table1", plan.model(model).published, method, task) if task in SIZES else None
    if himap_wins and theirs is not None:
        return theirs / 100
    return (WINS if himap_wins else LOSES)[method]


def write_scores(plan: Plan, model: str, task: str, method: str, himap_wins: bool) -> None:
    """One evaluation's two files; a sample that is easy for one method is easy for all."""
    benchmark, n = benchmarks.get(task), SIZES.get(task, 600)
    luck = (np.random.default_rng(benchmarks.names().index(task)).permutation(n) + 0.5) / n
    right = (luck < share_right(plan, model, task, method, himap_wins)).astype(float)
    ids = np.arange(n)
    frame = pd.DataFrame({"sample_id": ids.astype(str), "picture": ids.astype(str), "score": right})
    frame["image"] = [str(at // {"pope": 6, "mme": 2}.get(task, 1)) for at in ids]
    if task == "pope":
        frame["category"] = np.resize(["random", "popular", "adversarial"], n)
        frame["truth"] = np.resize(["yes", "yes", "yes", "no", "no", "no"], n)
        frame["said"] = np.where(right > 0, frame["truth"], np.where(frame["truth"] == "yes", "no", "yes"))
    if task == "mme":
        frame["category"] = np.where(ids < n // 2, "count", "code_reasoning")
    if task == "llavabench":
        frame["score_1"], frame["reference_1"] = 1 + 9 * right, 8.0
    estimate = benchmark.headline(frame)
    folder = Path(plan.paths.scores(model, task, method)[0]).parent
    write_parquet(folder / "per_sample.parquet", frame)
    score = {"metric": benchmark.metric, "headline": estimate.point(), "interval": list(interval(estimate))}
    judged = {"unreadable": 0, "verdicts": n} if benchmark.judged else {}
    write_json(folder / "score.json", score | {"n": n, "pictures": estimate.pictures, "scores": judged})


def write_costs(plan: Plan, model: str, kind: str) -> None:
    """Costs by formula."""
    dims = plan.dims(model)
    for name in plan.costed_methods(model, kind):
        stages, rows = plan.method(model, plan.example_of(kind), name).stages, []
        for convention in formulas.CONVENTIONS:
            value = formulas.flops(dims, stages, convention, n_text=54)
            full = formulas.flops(dims, [], convention, n_text=54)
            rows.append({"method": name, "convention": convention, "flops": value, "ratio": value / full})
        write_text(plan.paths.flops(model, kind, name), pd.DataFrame(rows).to_csv(index=False))


def write_analyses(plan: Plan, model: str, himap_wins: bool) -> None:
    """Saliency, disruption and latency as the paper has them, or the other way round."""
    layers, random = plan.dims(model).layers, np.random.default_rng(1)
    for task in plan.config.saliency.benchmarks:
        write_parquet(f"{plan.out}/saliency/{model}/{task}/saliency.parquet", flows(layers, himap_wins))
    for task, block in itertools.product(plan.config.disruption.benchmarks, plan.layer_blocks(model)):
        first, last = map(int, block.split("-"))
        rows = pd.DataFrame(cuts(range(first, last + 1), layers, himap_wins, random))
        write_parquet(f"{plan.out}/disruption/{model}/{task}/layers-{block}.parquet", rows)
    seconds = {"vanilla": 3.0, "fastv": 2.0, "himap": 1.0}
    if not himap_wins:
        seconds = dict(zip(seconds, reversed(seconds.values()), strict=True))
    rows = pd.DataFrame(
        {
            "sample_id": sample,
            "method": method,
            "batch_size": 1,
            "kernel": "flash",
            "seconds_total": value * random.uniform(0.9, 1.1),
        }
        for sample in range(30)
        for method, value in seconds.items()
    )
    for task in plan.config.latency.benchmarks:
        write_text(f"{plan.out}/latency/{model}/{task}.csv", rows.to_csv(index=False))


def flows(layers: int, himap_wins: bool) -> pd.DataFrame:
    """Flow to the instruction in the first third and among image tokens after it, or the other way round."""
    rows = []
    for sample, layer in itertools.product(range(30), range(layers)):
        to_instruction = (layer < layers / 6) == himap_wins
        sums = {"instruction_from_image": 1.0 + to_instruction, "image_from_image": 2.0 - to_instruction}
        place = {
            "sample_id": str(sample),
            "layer": layer,
            "definition": "paper",
            "weights": "trained",
            "target": "emitted",
        }
        rows.append(place | sums)
    return pd.DataFrame(rows)


def cuts(span: range, layers: int, himap_wins: bool, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Cuts from image to instruction that break answers early, and from image to image late, or the other way round."""
    for sample, layer in itertools.product(range(60), span):
        early = (layer < layers / 6) == himap_wins
        shares = {"img2txt": 0.7 if early else 0.02, "img2img": 0.3 if early else 0.2}
        for flow, share in shares.items():
            same = bool(random.random() >= share)
            yield {
                "sample_id": str(sample), "layer": layer, "flow": flow, "extent": "single", "block": "pre",
                "same_answer": same, "reference_in_answer": same, "jaccard": float(same), "clean_answer": "A",
            }  # fmt: skip
