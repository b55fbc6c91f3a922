"""What a table of methods at equal budgets shows beside any other: harder measures than a score, all from stored answers.

* mean tokens: image tokens that enter a layer, in the mean of all layers that look at them; what is left of the unpruned score, in percent.
* same answers: how often the answer is the unpruned model's, word by word (its loyalty).
* hard samples: the mean score on the samples that a smaller image of the same budget gets wrong. What a smaller image
  answers right needs no choice of tokens.
* evidence: the share of the image tokens that a question is about which the method keeps, stage by stage. Only the embedded
  world knows which these are.
* padding: the share of what is kept that is padding and no picture; where in the picture the kept tokens are, from top to
  bottom and from left to right.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from himap import benchmarks
from himap.benchmarks.samples.files import read_jsonl
from himap.decoder.bitmaps import unpacked
from himap.decoder.layout import Layout, layout_of
from himap.metrics.evidence import recall
from himap.paper.rivals import Printed, is_disputed, printed, published
from himap.paths import Paths

SMALLER, RIGHT = "downsample", 0.5  # a score from which on an answer counts as right
BANDS = 4  # into which the picture is cut from top to bottom, and from left to right
COLUMNS = (
    "of", "budget", "mean_tokens", "left", "left_mean", "same_answers", "hard", "hard_n", "padding", "padding_all",
    "top_to_bottom", "left_to_right", "evidence", "evidence_stages", "evidence_n", "printed", "disputed",
)  # fmt: skip


def with_measures(frame: pd.DataFrame, settings: dict[str, Any], results: str | Path) -> pd.DataFrame:
    """Return a table's records with the further columns of a table with budgets."""
    paths, facts = Paths(results), settings["budgets"]
    rows = []
    for record in frame.to_dict("records"):
        row = {name: record[name] for name in ("model", "benchmark", "method", "kind")}
        # Empty for the unpruned model, which has no budget and whose layers see every token of the grid.
        known = facts["rows"].get(row["method"], {})
        row |= {"of": known.get("of"), "budget": known.get("budget")}
        row["mean_tokens"] = facts["tokens"][row["model"]][row["kind"]].get(
            row["method"], np.prod(facts["grids"][row["model"]])
        )
        row |= measures(paths, facts, row)
        row |= published_of(row)
        rows.append(row)
    more = pd.DataFrame(rows).reindex(columns=["model", "benchmark", "method", *COLUMNS])
    frame = frame.merge(more, on=["model", "benchmark", "method"])
    # In percent of the unpruned score on the same benchmark, so that benchmarks of different scales can be averaged.
    unpruned = frame[frame["method"] == "vanilla"][["model", "benchmark", "ours"]].rename(columns={"ours": "whole"})
    frame = frame.drop(columns="left").merge(unpruned, on=["model", "benchmark"], how="left")
    frame["left"] = 100 * frame["ours"].astype(float) / frame.pop("whole").astype(float)
    frame["left_mean"] = frame.groupby(["model", "method"])["left"].transform("mean")
    return frame


def measures(paths: Paths, facts: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return what the stored answers of one cell say."""
    model, task, method = row["model"], row["benchmark"], row["method"]
    answers = _answers(paths.predictions(model, task, method))
    unpruned = _answers(paths.predictions(model, task, "vanilla"))
    same = [answers[name]["prediction"] == unpruned[name]["prediction"] for name in answers if name in unpruned]
    columns: dict[str, Any] = {"same_answers": 100 * float(np.mean(same)) if same else None}
    columns |= on_hard_samples(paths, facts, row)
    kept = [answer for answer in answers.values() if answer["kept"]]  # without stages there is no choice to describe
    if kept:
        padding = _padding(paths.samples(task), tuple(facts["grids"][model])) if task in facts["padded"][model] else {}
        columns |= places(kept, tuple(facts["grids"][model]), padding)
        columns |= of_evidence(kept, _evidence(paths.samples(task)), tuple(facts["grids"][model]))
    return columns


def of_evidence(answers: list[dict[str, Any]], evidence: dict[str, list[int]], grid: tuple[int, int]) -> dict[str, Any]:
    """Return the mean share of the evidence that each stage leaves, and the last one's; nothing where none is known."""
    shares = []
    for answer in answers:
        # [stages, image tokens]
        masks = unpacked(answer["kept"], answer["image_tokens"])
        layout = layout_of(answer, grid)
        stages = [recall(mask, evidence.get(answer["sample_id"], []), layout) for mask in masks]
        if None not in stages:  # None: no evidence is known of this sample
            shares.append(stages)
    # Samples with different numbers of stages have no mean stage by stage.
    if not shares or len({len(stages) for stages in shares}) > 1:
        return {}
    means = 100 * np.mean(np.array(shares, dtype=float), axis=0)
    return {
        "evidence": means[-1],
        "evidence_stages": "/".join(f"{mean:.0f}" for mean in means),
        "evidence_n": len(shares),
    }


def on_hard_samples(paths: Paths, facts: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return the mean score on the samples that the smaller image of the same budget gets wrong, and how many they are."""
    smaller = [
        name for name, known in facts["rows"].items() if (known["of"], known["budget"]) == (SMALLER, row["budget"])
    ]
    files = [Path(paths.scores(row["model"], row["benchmark"], name)[1]) for name in [*smaller, row["method"]]]
    if not smaller or not all(file.is_file() for file in files):
        return {}
    by_smaller, by_method = (
        pd.read_parquet(file, columns=["sample_id", "score"]).set_index("sample_id")["score"] for file in files
    )
    # NaN: a judge's unreadable verdict.
    hard = by_method[by_method.index.isin(by_smaller[by_smaller < RIGHT].index)].dropna()
    return {"hard": 100 * float(hard.mean()) if len(hard) else None, "hard_n": len(hard)}


def places(answers: list[dict[str, Any]], grid: tuple[int, int], padding: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return where the tokens are that the last stage kept, over all answers whose pictures have a whole grid each."""
    counts, in_padding, of_all = np.zeros(grid), [], []  # counts: how often each cell was kept
    for answer in answers:
        mask = with_places(unpacked([answer["kept"][-1]], answer["image_tokens"])[0], answer)
        # A model may cut a picture into tiles of another shape; such an answer has no place on this grid.
        if len(mask) % counts.size:
            continue
        counts += mask.reshape(-1, *grid).sum(axis=0)  # several pictures lie one after another
        share = padding.get(answer["sample_id"])
        if share is not None and len(share) == len(mask):
            in_padding.append(share[mask].mean() if mask.any() else 0.0)
            of_all.append(share.mean())
    if not counts.sum():
        return {}
    # `array_split` also cuts a grid whose side is no multiple of BANDS.
    bands = [[100 * part.sum() / counts.sum() for part in np.array_split(counts, BANDS, axis=axis)] for axis in (0, 1)]
    texts = ["/".join(f"{share:.0f}" for share in shares) for shares in bands]
    columns: dict[str, Any] = dict(zip(("top_to_bottom", "left_to_right"), texts, strict=True))
    if in_padding:
        columns |= {"padding": 100 * float(np.mean(in_padding)), "padding_all": 100 * float(np.mean(of_all))}
    return columns


def with_places(mask: np.ndarray, answer: dict[str, Any]) -> np.ndarray:
    """Return the part of a mask [n] that is of tokens which show a place; a class token shows none."""
    layouts = [Layout.from_json(layout) for layout in answer.get("layouts", [])]
    shown = [cell is not None for layout in layouts for part in layout.parts for cell in part.cells()]
    return mask[shown] if len(shown) == len(mask) else mask


def published_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what papers print for a cell, each value with its source, and whether they agree."""
    values = printed_of(row)
    texts = [f"{value.value:g} ({value.source})" for value in values]
    return {"printed": "; ".join(texts) or None, "disputed": is_disputed(values, row["benchmark"])}


def printed_of(row: dict[str, Any]) -> list[Printed]:
    """Return the printed values of a cell: of LLaVA-1.5-7B at the same share of its image tokens."""
    if row["method"] == "vanilla":
        return printed("vanilla", 1.0, row["benchmark"])
    budget = row["budget"]
    if budget is None:
        return []
    # A budget may be a count; printed values are looked up by the share of LLaVA-1.5's image tokens.
    share = fraction(budget) if fraction(budget) <= 1 else fraction(budget) / published()["tokens"]
    return printed(str(row["of"]), float(share), row["benchmark"])


def fraction(budget: object) -> Fraction:
    """Return a budget as the config or a CSV gives it: "1/3", 192, or 192.0 where the column has gaps."""
    return Fraction(str(budget))


# Read once for all rows of the table: the unpruned answers are compared with every method's.
@cache
def _answers(path: str) -> dict[str, dict[str, Any]]:
    """Return the rows of an evaluation's answers by sample."""
    return {row["sample_id"]: row for _, row in read_jsonl(path)}


@cache
def _padding(path: str, grid: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return per sample the share of padding in each of its image tokens."""
    import io

    from PIL import Image

    from himap.models.images import padded_share

    return {
        sample.sample_id: np.concatenate([
            padded_share(Image.open(io.BytesIO(data)).size, grid).ravel() for data in sample.images
        ])
        for sample in benchmarks.read_samples(path, ["images"])
        if sample.images
    }  # fmt: skip


@cache
def _evidence(path: str) -> dict[str, list[int]]:
    """Return per sample the cells that its question is about, as far as the data say."""
    return {
        sample.sample_id: sample.metadata.get("evidence", []) for sample in benchmarks.read_samples(path, ["metadata"])
    }
