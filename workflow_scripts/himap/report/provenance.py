"""What a run was made from and what it took: revisions, checksums, versions, time per stage."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from himap import numbers
from himap.project import ROOT
from himap.results import Results, all_models

STAGES = {
    "models": "fetching models", "benchmarks": "preparing benchmarks", "saliency": "saliency", "disruption": "disruption",
    "evaluation": "evaluation", "flops": "counting FLOPs", "latency": "latency", "random-weights": "random weights", "grid": "grid",
    "questions": "open questions", "train-mini": "training the mini model",
}  # fmt: skip


def provenance(results: Results) -> dict[str, Any]:
    """Return what a run was made from and what it took, each part empty where nothing is known."""
    return {
        "code": code_revision(),
        "models": model_rows(results),
        "verified": verified(results),
        "benchmarks": benchmark_rows(results),
        "made_by": sidecar_rows(results),
        "times": time_rows(results),
        "config": results.facts["config"],
        "config_hash": results.facts["config_hash"],
        "missing": missing(results),
    }


def what_ran(results: Results, made_from: dict[str, Any]) -> list[dict[str, str]]:
    """Return the run in a few facts: models, benchmarks, methods, samples, device, date and commit."""
    facts, code = results.facts, made_from["code"]
    models, methods = list(facts["models"]), {method for *_, method in facts["evaluated"]}
    # None while a benchmark is not prepared yet.
    sizes = [row["rows"] for row in made_from["benchmarks"] if row["rows"] is not None]
    layers = ", ".join(sorted({f"{facts['models'][name]['layers']} layers" for name in models}))
    samples = f"{min(sizes)} to {max(sizes)} samples each" if sizes else "no samples yet"
    dates = last_results(results)
    commit = (code["commit"] or "")[:10] or "not from a git checkout"
    return [
        {"name": "Model" if len(models) == 1 else "Models", "text": numbers.listed(models, 3), "more": layers},
        {"name": "Benchmarks", "text": str(len(facts["benchmarks"])), "more": samples},
        {"name": "Methods", "text": str(len(methods)), "more": f"{len(facts['evaluated'])} evaluations"},
        {"name": "Device", "text": ", ".join(made_from["made_by"].get("device", ["none yet"])), "more": ""},
        {"name": "Last result", "text": dates, "more": ""},
        {"name": "Commit", "text": commit, "more": "with changes" if code["changed"] else ""},
    ]


def last_results(results: Results) -> str:
    """Return the day on which the newest result was written."""
    times = [(results.folder / f"{name}.provenance.json").stat().st_mtime for name in results.sidecars]
    return datetime.datetime.fromtimestamp(max(times), datetime.UTC).strftime("%Y-%m-%d") if times else "none yet"


def code_revision() -> dict[str, Any]:
    """Return the commit of the code, and whether files were changed since; nothing outside a git checkout."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            # Untracked files are mostly configs and results of one's own; they do not change what the code does.
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": False}
    return {"commit": head, "changed": bool(changed.strip())}


def model_rows(results: Results) -> list[dict[str, Any]]:
    """Return origin and weights of each model."""
    rows = []
    for name, facts in all_models(results.facts).items():
        manifest = results.json(results.paths.manifest(name)) or {}
        weights = [file for file in manifest.get("files", []) if file["name"].endswith((".safetensors", ".bin"))]
        rows.append(
            {
                "name": name,
                "source": facts["source"],
                "published": facts["published"],
                "dtype": facts["dtype"],
                "size": sum(file["bytes"] for file in weights) / 1e6 if weights else None,
                "hashes": [{"name": file["name"], "sha256": file["sha256"]} for file in weights],
            }
        )
    return rows


def verified(results: Results) -> list[dict[str, Any]]:
    """Return the comparisons with the original implementation that have been made, as the table says them."""
    comparisons = []
    for name in results.facts["models"]:
        frame = results.csv(results.paths.verification(name))
        if frame is not None:
            asked, answered = (
                results.json(results.paths.verification(name, f"{entry}.json")) or {} for entry in ("ours", "original")
            )
            made = [str(entry.get("made_with", "unknown")) for entry in (asked, answered)]
            # The last row counts the others and has no answers.
            rows = frame.fillna("").astype(str).to_numpy().tolist()
            comparisons.append(
                {
                    "model": name,
                    "head": [entry.replace("_", " ") for entry in frame.columns],
                    "rows": rows,
                    "made": made,
                }
            )
    return comparisons


def benchmark_rows(results: Results) -> list[dict[str, Any]]:
    """Return origin, subset and checksum of each benchmark."""
    rows = []
    for name, facts in results.facts["benchmarks"].items():
        manifest = results.json(results.paths.benchmark_manifest(name)) or {}
        subset = manifest.get("subset") or {}
        # Shown as `rows of whole` only where a limit left some out.
        whole = subset.get("n_total")
        rows.append(
            {
                "title": facts["title"],
                "source": "embedded world" if facts["source"] == "mini" else origin(manifest, facts),
                "rows": manifest.get("rows"),
                "of": whole if whole != manifest.get("rows") else None,
                "seed": subset.get("seed"),
                "revision": manifest.get("revision"),
                "licence": "drawn by this project" if facts["source"] == "mini" else manifest.get("licence"),
                "sha256": manifest.get("sha256"),
            }
        )
    return rows


def origin(manifest: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return the hub id or the path of a benchmark's source."""
    source = manifest.get("source") or {}
    return str(source.get("hub_id") or source.get("path") or facts["source"])


def sidecar_rows(results: Results) -> dict[str, list[str]]:
    """Return the devices, versions, precisions and batch sizes that the results name."""
    values_of: dict[str, set[str]] = {}
    for sidecar in results.sidecars.values():
        # A report's own sidecar names neither device nor versions.
        if "device" in sidecar:
            values_of.setdefault("device", set()).add(str(sidecar["device"]))
        for name, version in sidecar.get("versions", {}).items():
            values_of.setdefault(name, set()).add(str(version))
        for key in ("dtype", "attention", "batch_size", "seed"):
            if key in sidecar.get("settings", {}):
                values_of.setdefault(key, set()).add(str(sidecar["settings"][key]))
    return {key: sorted(values) for key, values in values_of.items()}


def time_rows(results: Results) -> list[dict[str, Any]]:
    """Return jobs, wall time and GPU hours per stage, from Snakemake's benchmark files."""
    jobs = []
    # timings/<stage>/<model>/<benchmark>/….tsv, one line for each repetition that Snakemake measured.
    for path in sorted((results.folder / "timings").rglob("*.tsv")):
        parts = path.relative_to(results.folder / "timings").with_suffix("").parts
        # Snakemake writes "-" for what it could not measure, which would turn the column into texts.
        frame = pd.read_csv(path, sep="\t", na_values=["-"])
        gpus = (
            # The second part is a model except below models/, where nothing runs on a GPU.
            all_models(results.facts).get(parts[1], {}).get("gpus", 0) if len(parts) > 1 and parts[0] != "models" else 0
        )
        jobs += [{"stage": parts[0], "seconds": row["s"], "gpu": gpus * row["s"]} for _, row in frame.iterrows()]
    if not jobs:
        return []
    stages = pd.DataFrame(jobs).groupby("stage")
    rows = []
    # In the order of the workflow; a stage of a name unknown here comes last.
    for stage in sorted(stages.groups, key=lambda name: (list(STAGES).index(name) if name in STAGES else 99, name)):
        part = stages.get_group(stage)
        rows.append(time_row(STAGES.get(str(stage), str(stage)), part))
    return [*rows, time_row("all", pd.DataFrame(jobs))]


def time_row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    """Return one line of the table of times."""
    return {
        "stage": name,
        "jobs": len(part),
        "wall": numbers.duration(part["seconds"].sum()),
        "wall_value": float(part["seconds"].sum()),
        "gpu": numbers.number(part["gpu"].sum() / 3600, 2),
        "gpu_value": float(part["gpu"].sum()),
    }


def missing(results: Results) -> list[str]:
    """Return evaluations that the config asks for and that are not there yet."""
    names = [
        f"{model} / {task} / {method}"
        for model, task, method in results.facts["evaluated"]
        if not Path(results.paths.predictions(model, task, method)).is_file()
    ]
    return names
