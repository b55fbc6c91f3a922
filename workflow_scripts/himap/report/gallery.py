"""Samples with the image tokens that each method kept, chosen by a rule; and where in the image the kept tokens lie.

A picture is embedded once per sample. What a stage dropped is one dark path over it, so a method costs a few hundred bytes.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from himap import numbers
from himap.decoder.bitmaps import unpacked
from himap.decoder.layout import Layout, layout_of
from himap.metrics.evidence import evidence_kept
from himap.models.images import pad_to_square
from himap.results import ANSWERS, Results, methods_of, scope

SIDE = 288  # pixels of an embedded picture
SHOWN = 3  # samples per benchmark
STAGES = 3  # stages shown of a method that has more
# CLIP's mean color times 255, with which LLaVA pads.
PADDING = (122, 116, 104)
MOST = 144  # samples on the whole page, so that a run of many models stays small enough to be sent


def shown(facts: dict[str, Any]) -> int:
    """Return how many samples each benchmark shows: fewer where there are many models."""
    return max(1, min(SHOWN, MOST // max(1, len(facts["models"]) * len(facts["benchmarks"]))))


def rule(facts: dict[str, Any]) -> str:
    """Return by which rule samples are chosen."""
    most = "1 sample" if shown(facts) == 1 else f"{shown(facts)} samples with different images"
    return (
        f"Per benchmark at most {most}: first those on which the scores of the methods of Table 1 differ most, then those with most "
        f"different answers, then by their order in the file (of a large set, the first {ANSWERS} answers)."
    )


def gallery(results: Results) -> list[dict[str, Any]]:
    """Return per model its benchmarks with the chosen samples."""
    models = []
    for model in results.facts["models"]:
        tasks = [task_part(results, model, task) for task in results.facts["benchmarks"]]
        shown = [task for task in tasks if task]
        models.append({"model": model, "scope": scope(results.facts, model), "tasks": shown})
    return models


def task_part(results: Results, model: str, task: str) -> dict[str, Any] | None:
    """Return the chosen samples of one benchmark with every method's answer."""
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    scores: dict[str, dict[str, float]] = {}
    for method in methods_of(results, model, task):
        rows = results.predictions(model, task, method)
        if rows is not None:
            answers[method] = {row["sample_id"]: row for row in rows}
            scores[method] = scores_of(results, model, task, method)
    main = [method for method in results.facts["main_methods"] if method in answers]
    samples = Path(results.paths.samples(task))
    if not main or not samples.is_file():
        return None
    # Only the first table's methods choose; the others are shown beside them.
    ranked = disagreeing({m: answers[m] for m in main}, scores)
    # More candidates than places, since several questions are often about one picture and a picture is shown once.
    chosen = with_different_images(read_rows(samples, ranked[: 8 * SHOWN]), ranked)[: shown(results.facts)]
    facts = results.facts["models"][model]
    return {
        "task": task,
        "title": results.facts["benchmarks"][task]["title"],
        "samples": [sample_part(results, facts, task, row, answers, scores, main) for row in chosen],
    }


def scores_of(results: Results, model: str, task: str, method: str) -> dict[str, float]:
    """Return each sample's score, where there is one."""
    frame = results.per_sample(model, task, method)
    if frame is None or "score" not in frame:
        return {}
    return {
        str(name): float(value)
        for name, value in zip(frame["sample_id"], frame["score"], strict=True)
        # A judged answer without a readable verdict is NaN.
        if value == value
    }


def disagreeing(answers: dict[str, dict[str, dict[str, Any]]], scores: dict[str, dict[str, float]]) -> list[str]:
    """Return sample ids in the order of the rule."""
    order = list(next(iter(answers.values())))

    def rank(name: str) -> tuple[float, int]:
        values = [scores[method][name] for method in answers if name in scores[method]]
        # Answers that differ only in spaces around them do not count as different.
        different = {rows[name]["prediction"].strip() for rows in answers.values() if name in rows}
        return (-(max(values) - min(values)) if values else 0.0, -len(different))

    return sorted(order, key=rank)  # stable: the file's order decides last


def read_rows(path: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return some rows of a samples file; only the row groups that hold them are read with their images."""
    file, wanted = pq.ParquetFile(path), set(names)
    columns = ["sample_id", "question", "options", "references", "images", "metadata"]
    samples: dict[str, dict[str, Any]] = {}
    for number in range(file.num_row_groups):
        ids = file.read_row_group(number, columns=["sample_id"])["sample_id"].to_pylist()
        # Ids of a row group are small; its images are only read if a wanted row is in it.
        places = [place for place, name in enumerate(ids) if name in wanted]
        if places:
            rows = file.read_row_group(number, columns=columns).take(places).to_pylist()
            samples |= {row["sample_id"]: row for row in rows}
        if len(samples) == len(wanted):
            break
    return samples


def with_different_images(rows: dict[str, dict[str, Any]], ranked: list[str]) -> list[dict[str, Any]]:
    """Return the first few rows in order, no image twice."""
    chosen, seen = [], set()
    for name in ranked:
        row = rows.get(name)
        # By its bytes: data sets repeat a picture for each question about it.
        if row and row["images"] and row["images"][0] not in seen:
            seen.add(row["images"][0])
            chosen.append(row)
    return chosen[:SHOWN]


def sample_part(
    results: Results, facts: dict[str, Any], task: str, row: dict[str, Any],
    answers: dict[str, dict[str, dict[str, Any]]], scores: dict[str, dict[str, float]], main: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Return one sample: picture, question, references, and each method's tiles, answer and score."""
    name, methods = row["sample_id"], []
    evidence = json.loads(row["metadata"]).get("evidence", [])
    # The largest grid that some method saw: a method with a smaller image is drawn smaller on the same picture.
    full = max((layout_of(rows[name], facts["grid"]) for rows in answers.values() if name in rows), key=index)
    grid = full.grid
    for method, rows in answers.items():
        if name in rows:
            answer = rows[name]
            methods.append(
                {
                    "title": results.facts["methods"][method]["title"],
                    "main": method in main,
                    "answer": answer["prediction"].strip(),
                    "score": numbers.significant(scores[method][name], 3) if name in scores[method] else None,
                    "tiles": tiles(answer, layout_of(answer, facts["grid"]), full, evidence),
                }
            )
    return {
        "id": f"{task}-{name}",
        "name": name,
        "question": row["question"] or "(describe the image)",
        "options": list(row["options"] or []),
        "references": list(dict.fromkeys(row["references"] or [])),
        "picture": picture(row["images"][0], facts["image_modes"][task], grid),
        "grid": grid,
        "images": len(row["images"]),
        "main": [one for one in methods if one["main"]],
        "others": [one for one in methods if not one["main"]],
    }


def picture(data: bytes, mode: str | None, grid: tuple[int, int]) -> str:
    """Return the image as the model sees it, in the proportions of its grid of tokens, as a data address."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    # A grid of 24 x 24 gives a square, one of 20 x 27 a picture of these proportions.
    height, width = (round(SIDE * side / max(grid)) for side in grid)
    resized = fitted(image, mode).resize((width, height), Image.Resampling.BICUBIC)
    packed = io.BytesIO()
    resized.save(packed, "WEBP", quality=78, method=4)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def fitted(image: Image.Image, mode: str | None) -> Image.Image:
    """Return the image as it becomes a square: padded, cut to its center, or as it is where the model stretches it."""
    if mode is None:
        return image
    if mode == "pad":
        return pad_to_square(image, PADDING)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def tiles(answer: dict[str, Any], layout: Layout, full: Layout, evidence: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return what is drawn over the picture: after each stage (some of them where there are many), or the whole.

    Dark is what no token shows that is left: tiles and a view of the whole may show the same place.
    """
    total = index(layout)
    # No stage: the unpruned model, or a smaller image, which is drawn at its scale.
    if not answer["kept"]:
        smaller = total < index(full)
        note = f"{answer['image_tokens']}, smaller image" if smaller else f"all {answer['image_tokens']}"
        return [{"dropped": "", "note": note, "scale": round((total / index(full)) ** 0.5, 3) if smaller else 1}]
    many = len(answer["kept"])
    # A method that prunes at every layer has dozens of stages: first, middle and last show the course.
    shown = range(many) if many <= STAGES else sorted({0, many // 2, many - 1})
    layers = []
    for stage in shown:
        kept = unpacked([answer["kept"][stage]], total)[0]
        name = f"stage {stage + 1}" if many <= STAGES else f"{stage + 1} of {many}"
        about = evidence_kept(kept, evidence, layout)
        seen = "" if about is None else f", {about} of {len(evidence)} asked about"
        layers.append(
            {
                "dropped": dropped_path(layout.shown(kept, full.grid)),
                "note": f"{name}: {int(kept.sum())}{seen}",
                "scale": 1,
            }
        )
    return layers


def dropped_path(mask: np.ndarray) -> str:
    """Return the cells that are not kept as one path, run by run."""
    pieces = []
    for number, row in enumerate(mask):
        # Runs instead of cells: a path of 500 squares per method would be most of the page.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], ~row, [False]]).astype(np.int8)))
        # One closed rectangle per run, in cells: from column a, one row high, to column b.
        pieces += [f"M{a} {number}h{b - a}v1h-{b - a}z" for a, b in edges.reshape(-1, 2)]
    return "".join(pieces)
