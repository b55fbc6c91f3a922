"""The numbers behind each figure, its panels, and that the drawings and the page show the same of them."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import draw_figure
import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
import pytest
from himap import figures
from himap.figures._base import Style
from himap.figures._labels import look
from himap.figures._matplotlib import wrapped
from himap.figures._panels import Dots
from himap.files import write_parquet, write_text
from himap.paper.published import figure_values

ROOT = Path(__file__).resolve().parents[2]
LAYERS = 4
GROUPS = ("system", "image", "instruction")
MODELS = {"llava": {"published": "LLaVA-7B", "layers": LAYERS}}


def write_saliency(results: Path) -> None:
    """Two samples; flow from key group to query group is 100 x query + 10 x key + layer, doubled in the released definition."""
    rows = []
    for sample in ("a", "b"):
        for definition, factor in (("paper", 1), ("released", 2)):
            for layer in range(LAYERS):
                sizes = {"size_system": 2, "size_image": 4, "size_instruction": 5}
                flows = {
                    f"{query}_from_{key}": factor * (100 * q + 10 * k + layer)
                    for q, query in enumerate(GROUPS)
                    for k, key in enumerate(GROUPS)
                }
                names = {
                    "sample_id": sample,
                    "layer": layer,
                    "definition": definition,
                    "weights": "trained",
                    "target": "emitted",
                }
                rows.append({**names, **sizes, **flows})
    write_parquet(results / "saliency/llava/scienceqa/saliency.parquet", pd.DataFrame(rows))


def write_disruption(results: Path) -> None:
    """Cutting image to instruction spoils two of four answers below layer 2, image to image one of four everywhere."""
    rows = []
    for layer in range(LAYERS):
        for flow in ("img2txt", "img2img", "random"):
            for sample in range(4):
                spoilt = {"img2txt": sample < 2 and layer < 2, "img2img": sample < 1, "random": False}[flow]
                rows.append(
                    {
                        "sample_id": str(sample),
                        "layer": layer,
                        "flow": flow,
                        "extent": "single",
                        "block": "pre",
                        "answer": "B" if spoilt else "A",
                        "clean_answer": "A" if sample else "C",
                        "reference": "A",
                        "same_answer": not spoilt,
                        "reference_in_answer": not spoilt,
                        "jaccard": 0.5 if spoilt else 1.0,
                    }
                )
    frame = pd.DataFrame(rows)
    for first in (0, 2):
        block = frame[frame["layer"].between(first, first + 1)]
        write_parquet(results / f"disruption/llava/scienceqa/layers-{first}-{first + 1}.parquet", block)


@pytest.fixture
def settings() -> dict[str, Any]:
    """What the plan tells a figure."""
    return {
        "models": {"llava": dict(MODELS["llava"])},
        "benchmarks": ["scienceqa"],
        "layers": None,
        "blocks": {"llava": ["layers-0-1.parquet", "layers-2-3.parquet"]},
        "edge": 2,
    }


def only(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def test_shares_are_columns_in_the_papers_definition_and_rows_in_the_released_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_saliency(tmp_path)
    frame = figures.get("figure3").numbers(settings, str(tmp_path))
    paper = only(frame, source="ours", variant="paper", curve="image", layer=1)["raw"].item()
    assert paper == pytest.approx((11 + 111 + 211) / 4)  # out of the image, per image token
    released = only(frame, source="ours", variant="released", curve="image", layer=1)["raw"].item()
    assert released == pytest.approx(2 * (101 + 111 + 121) / 4)  # into the image
    values = only(frame, source="ours", variant="paper")["value"]
    assert (values.min(), values.max()) == (0.0, 1.0)  # one min-max per panel


def test_flow_blocks_are_per_image_token_in_the_papers_definition_alone(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_saliency(tmp_path)
    frame = figures.get("figure4").numbers(settings, str(tmp_path))
    assert only(frame, source="ours", variant="paper", curve="instruction_from_image", layer=3)["raw"].item() == 213 / 4
    assert only(frame, source="ours", variant="released", curve="image_from_image", layer=3)["raw"].item() == 2 * 113
    theirs = only(frame, source="paper", curve="image_from_image")
    assert theirs["value"].iloc[10] == 1.0  # the published curve peaks at layer 10
    assert len(theirs) == 32


def test_consistency_is_averaged_over_the_first_and_the_last_layers(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    frame = figures.get("figure5").numbers(settings, str(tmp_path))
    label = only(frame, source="ours", measure="label", flow="img2txt")
    assert only(label, part="first")["value"].item() == 0.5
    assert only(label, part="last")["value"].item() == 1.0
    assert only(frame, source="ours", measure="score", flow="img2txt", part="first")["value"].item() == 0.75
    assert only(frame, source="ours", part="layer")["floor"].unique() == [0.75]  # three of four answers are A
    assert only(frame, source="paper", measure="label", flow="img2txt", part="first")["value"].item() == 0.346


def test_whiskers_of_few_samples_are_as_wide_as_few_samples_make_them(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    frame = figures.get("figure5").numbers(settings, str(tmp_path))
    sure = only(frame, source="ours", measure="label", flow="img2txt", part="last")  # four of four answers are kept
    assert (sure["low"].item(), sure["high"].item()) == (
        pytest.approx(0.283, abs=0.001),
        1.0,
    )  # t = 3.18; the normal: 0.51
    seconds = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
    timed = {
        "sample_id": range(10),
        "method": "vanilla",
        "seconds_total": seconds,
        "ideal_speedup": 1.0,
        "device": "cpu",
        "batch_size": 1,
        "kernel": "flash",
    }
    write_text(tmp_path / "latency/llava/scienceqa.csv", pd.DataFrame(timed).to_csv(index=False))
    told = {**settings, "methods": {"vanilla": "Vanilla"}, "order": ["vanilla"]}
    row = figures.get("figure8").numbers(told, str(tmp_path))
    assert row["high"].item() - 1.45 == pytest.approx(2.262 * np.std(seconds, ddof=1) / 10**0.5, rel=1e-3)  # not 1.96


def test_blocks_of_another_run_are_not_mixed_in(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    stray = tmp_path / "disruption/llava/scienceqa/layers-0-3.parquet"
    other = pd.read_parquet(stray.parent / "layers-0-1.parquet").assign(clean_answer="Z")
    write_parquet(stray.with_name("layers-0-0.parquet"), other)
    write_parquet(stray, other)
    ours = only(figures.get("figure5").numbers(settings, str(tmp_path)), source="ours")
    assert only(ours, part="first", measure="label", flow="img2txt")["n"].item() == 4
    assert ours["floor"].unique() == [0.75]
    settings["layers"] = [0]
    frame = figures.get("figure5").numbers(settings, str(tmp_path))
    assert set(only(frame, source="ours", part="layer")["layer"]) == {0}


def test_the_bias_ratio_is_undefined_where_an_error_is_zero(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    frame = figures.get("figure6").numbers(settings, str(tmp_path))
    ours = only(frame, source="ours", measure="label")
    assert set(ours["depth"]) == {LAYERS}
    assert ours["layer"].tolist() == [0, 1]
    assert ours["value"].tolist() == pytest.approx([math.log(0.25 / 0.5)] * 2)


def test_a_published_curve_lies_over_the_same_share_of_the_depth() -> None:
    ours = {"model": "m", "extent": "single", "measure": "label", "source": "ours", "depth": 11}
    theirs = {"model": "m", "source": "paper", "depth": 41}
    rows = [{**ours, "layer": 0, "value": 0.0}, {**ours, "layer": 2, "value": 1.0}]  # undefined in the layers above
    rows += [{**theirs, "layer": layer, "value": 1.0} for layer in (0, 20, 36)]
    behind, alone = figures.get("figure6").panels(pd.DataFrame(rows))
    assert [x for x, _ in behind.curves[0].points] == pytest.approx([0, 5, 9])
    assert not behind.curves[0].listed  # its places are none of our layers
    assert [x for x, _ in alone.curves[0].points] == [0, 20, 36]


def test_tokens_fall_from_the_stage_on(settings: dict[str, Any]) -> None:
    stages = {"qa": {"himap": [{"layer": 1, "keep": 0.5}, {"layer": 3, "keep": 3}]}}
    told = {
        "methods": {"himap": "HiMAP"},
        "order": ["himap"],
        "schedules": {"llava": {"image_tokens": 16, "stages": stages}},
    }
    frame = figures.get("figure7").numbers({**settings, **told}, "")
    assert frame["tokens"].tolist() == [16, 8, 8, 3]


def test_latency_is_the_mean_of_each_samples_median(tmp_path: Path, settings: dict[str, Any]) -> None:
    rows = [
        {
            "sample_id": sample,
            "method": method,
            "round": turn,
            "seconds_total": seconds,
            "ideal_speedup": ideal,
            "device": "cpu",
            "batch_size": 1,
            "kernel": "flash",
        }
        for method, ideal, base in (("vanilla", 1.0, 1.0), ("himap", 4.0, 0.5))
        for sample, extra in (("a", 0.0), ("b", 1.0))
        for turn, seconds in enumerate((base + extra, base + extra, 100.0))
    ]
    write_text(tmp_path / "latency/llava/scienceqa.csv", pd.DataFrame(rows).to_csv(index=False))
    frame = figures.get("figure8").numbers(
        {**settings, "methods": {"vanilla": "Vanilla", "himap": "HiMAP"}, "order": ["vanilla", "himap"]}, str(tmp_path)
    )
    assert only(frame, method="himap")["seconds"].item() == 1.0
    assert only(frame, method="himap")["ideal"].item() == pytest.approx(1.5 / 4)
    assert only(frame, method="himap")["paper"].item() == 0.117


def test_each_model_has_its_own_group_in_figure_5_and_its_own_paper_values(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_disruption(tmp_path)
    shutil.copytree(tmp_path / "disruption/llava", tmp_path / "disruption/larger")
    settings["models"]["larger"] = {"published": "LLaVA-13B", "layers": LAYERS}
    settings["blocks"]["larger"] = settings["blocks"]["llava"]
    frame = figures.get("figure5").numbers(settings, str(tmp_path))
    halved = (frame["model"] == "larger") & (frame["source"] == "ours")
    frame.loc[halved, ["value", "low", "high"]] *= 0.5
    panels = [panel for panel in figures.get("figure5").panels(frame) if isinstance(panel, Dots)]
    assert [panel.model for panel in panels] == ["larger", "llava"]
    larger, llava = ([dot.value for dot in panel.dots] for panel in panels)
    assert llava == pytest.approx([2 * value for value in larger])
    papers = [
        {dot.label: dot.paper for dot in panel.dots}["first layers, image to instruction cut (n = 4)"]
        for panel in panels
    ]
    assert papers == [figure_values("figure5", name)["label"]["img2txt_first"] for name in ("LLaVA-13B", "LLaVA-7B")]


def frontier_frame() -> pd.DataFrame:
    """Three schedules, one beaten."""
    return pd.DataFrame(
        {
            "model": "m",
            "benchmark": "pope",
            "ratio": [0.2, 0.4, 0.5],
            "score": [60.0, 70.0, 65.0],
            "low": [50.0, 60.0, 55.0],
            "high": [70.0, 80.0, 75.0],
            **{"k1": 1, "r1": 0.5, "k2": 4, "r2": 0.25},
            "n": 9,
            "frontier": [True, True, False],
        }
    )


def ablation_frame() -> pd.DataFrame:
    """Two ablations on two benchmarks."""
    rows = [
        {"table": "ablation_stages", "model": "m", "method": m, "title": m, "benchmark": b, "ratio": 25, "vs_vanilla": v, "vs_vanilla_low": v - 1, "vs_vanilla_high": v + 1, "p_value": 0.2, "n": 9}
        for m, v in (("one", -2.0), ("two", 1.0))
        for b in ("pope", "mme")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def write_blocking(results: Path) -> None:
    """Write two pairs over two layers: the instruction of the other picture decides from layer 1 on, the image before it."""
    rows = [
        {"sample_id": sample, "layer": layer, "layers": 2, "edit": edit, "donor": donor}
        | {"same": int(layer != decides), "follows": int(layer == decides)}
        for sample in "ab"
        for layer in (0, 1)
        for donor, edits in {
            "other answer": {"instruction": 1, "image": 0},
            "same answer": {"instruction": 2, "image": 2},
        }.items()
        for edit, decides in edits.items()
    ]
    rows += [
        {
            "sample_id": sample,
            "layer": layer,
            "layers": 2,
            "edit": edit,
            "donor": "",
            "same": int(layer == right),
            "follows": 0,
        }
        for sample in "ab"
        for layer in (0, 1)
        for edit, right in {"late": 0, "early": 1}.items()
    ]
    write_text(results / "questions/llava/scienceqa/blocking.csv", pd.DataFrame(rows).to_csv(index=False))


def write_oq4(results: Path) -> None:
    """Write five pictures a kind: early pruning loses one of the counts and a word, later pruning of equal cost a word alone."""
    lost = {("count", "shallow"): 1, ("word", "shallow"): 1, ("word", "deep"): 1}
    rows = [
        {
            "sample_id": f"{kind}{n}",
            "picture": f"{kind}{n}",
            "kind": kind,
            "module": module,
            "dose": dose,
            "ratio": ratio,
        }
        | {"kept": 144 * dose, "image_tokens": 144, "score": float(n >= lost.get((kind, module), 0)), "answer": "a"}
        | ({} if module == "unpruned" else {"recall": 1.0, "recall_shuffled": dose})
        for kind in ("color", "count", "word", "position")
        for module, dose, ratio in (
            ("unpruned", 1.0, 1.0),
            ("shallow", 0.5, 0.6),
            ("deep", 0.5, 0.6),
            ("shallow", 0.25, 0.4),
        )
        for n in range(5)
    ]
    write_text(results / "questions/llava/scienceqa/oq4.csv", pd.DataFrame(rows).to_csv(index=False))


def write_oq1(results: Path) -> None:
    """Write four answers of a model of four layers: all stay without the second half, one without the first, none without any."""
    kept = {("suffix", 0): 0, ("suffix", 2): 4, ("prefix", 2): 1, ("single", 1): 3}
    common = {"layers": 4, "beside": 1, "kind": "word"}
    rows: list[dict[str, Any]] = [
        {**common, "part": "cut", "sample_id": str(n), "flow": flow, "extent": extent, "layer": layer}
        | {"same": int(n < stay) if flow == "img2alltxt" else 1, "overlap": 0.5}
        for flow in ("img2alltxt", "spared")
        for (extent, layer), stay in kept.items()
        for n in range(4)
    ]
    rows += [
        {**common, "part": "saliency", "sample_id": str(n), "flow": "s_vt", "layer": layer, "share": share, "sum": 2.0}
        for layer, share in ((1, 0.75), (3, 0.25))
        for n in range(4)
    ]
    rows += [  # three answers stay under HiMAP's stages, none under random ones
        {**common, "part": "pruned", "sample_id": str(n), "flow": flow, "extent": "1/4 2/3", "layer": 1, "cost": 0.5, "same": int(n < stay)}
        for flow, stay in (("himap", 3), ("random", 0))
        for n in range(4)
    ]  # fmt: skip
    write_text(results / "questions/llava/scienceqa/oq1.csv", pd.DataFrame(rows).to_csv(index=False))


def write_oq2(results: Path) -> None:
    """Write eight samples of two kinds: dear ones need all tokens, and a rule that knows them is right where HiMAP is not."""
    rows = [
        {"sample_id": str(sample), "kind": "count" if sample < 4 else "word", "policy": policy, "cost": cost}
        | {"score": score, "same": score, "by_evidence": 1 + sample % 2, "by_image_entropy": sample / 8}
        for sample in range(8)
        for policy, cost, score in (
            ("unpruned", 1.0, 1),
            ("himap", 0.5, 1 - sample % 2),
            ("mass", 0.5 + 0.1 * (sample % 2), 1),
        )
    ]
    write_text(results / "questions/llava/scienceqa/oq2.csv", pd.DataFrame(rows).to_csv(index=False))


def write_grid(results: Path) -> None:
    """Write four samples unpruned and under two schedules: an earlier deep stage loses an answer."""
    schedules = [(0, 1.0, 0, 1.0), (1, 0.5, 2, 0.25), (1, 0.5, 3, 0.25)]
    grid = pd.DataFrame(schedules, columns=["k1", "r1", "k2", "r2"])
    write_text(results / "grid/llava/scienceqa/scores.csv", grid.assign(ratio=[1.0, 0.4, 0.5]).to_csv(index=False))
    samples = pd.DataFrame({"sample_id": list("abcd"), "picture": list("abcd"), "score": [1.0, 1.0, 1.0, 0.0]})
    samples = samples.merge(grid, how="cross")
    samples.loc[(samples["k2"] == 2) & (samples["sample_id"] == "a"), "score"] = 0.0
    write_text(results / "grid/llava/scienceqa/samples.csv", samples.to_csv(index=False))


def write_importance(results: Path) -> None:
    """Write two samples at one layer: attention finds what matters, a random order does not."""
    rows = [
        {"sample_id": sample, "kind": "word", "stage": 0, "layer": 2, "layers": 4, "criterion": criterion}
        | {
            "agreement": value + number / 50,
            "influence": value + number / 40,
            "precision": value,
            "recall": value,
            "recall_shuffled": 0.5,
            "regret": 1 - value,
        }
        for number, sample in enumerate("ab")
        for criterion, value in (("instruction_attention", 0.9), ("random", 0.4 + number / 10))
    ]
    write_text(results / "questions/llava/scienceqa/importance.csv", pd.DataFrame(rows).to_csv(index=False))


def write_oq3(results: Path) -> None:
    """Write four samples: the tower's output loses an answer of HiMAP's; kept tokens tell half of the features, nothing of the content."""
    arms = (
        ("unpruned", "", 1.0, 1.0, 0), ("stages", "himap", 0.0, 0.5, 0), ("tower", "random", 0.0, 0.5, 1), ("tower", "random", 0.25, 0.3, 2),
    )  # fmt: skip
    rows: list[dict[str, Any]] = [
        {
            "part": "arm",
            "sample_id": str(n),
            "kind": "word",
            "where": where,
            "criterion": criterion,
            "dose": dose,
            "cost": cost,
        }
        | {"score": float(n >= lost), "same": int(n >= lost), "answer": "a"}
        for where, criterion, dose, cost, lost in arms
        for n in range(4)
    ]
    rows += [
        {
            "part": "left",
            "sample_id": str(n),
            "where": where,
            "criterion": criterion,
            "control": control,
            "same": int(n > 0),
        }
        | {
            "error": (1 + control) * (0.5 + (n - 2) / 10) if n else 9.0,
            "spread": 1.0,
            "cells": 4,
            "told": 2 - 2 * control,
            "own": 4,
        }
        for n in range(4)
        for where in ("tower", "input")
        for criterion in ("stage 0", "stage 1", "random")
        for control in (0, 1)
    ]
    rows += [
        {
            "part": "gradient",
            "sample_id": str(n),
            "where": where,
            "tokens": 16,
            "effective": 4.0 + n,
            "top": 0.5,
            "agreement": 0.9,
        }
        for n in range(2)
        for where in ("tower", "input")
    ]
    write_text(results / "questions/llava/scienceqa/oq3.csv", pd.DataFrame(rows).to_csv(index=False))


def write_attack(results: Path) -> None:
    """Write four samples: weights cost HiMAP half of them, an attack one of the three that the unpruned model keeps."""
    rows: list[dict[str, Any]] = [
        {
            "part": "weighted",
            "sample_id": str(n),
            "kind": "word",
            "method": method,
            "weight": weight,
            "answer": "a",
            "recall": 1.0,
        }
        | {"score": float(not (method == "himap" and weight > 1 and n < 2))}
        for method in ("himap", "random")
        for weight in (1, 8)
        for n in range(4)
    ]
    rows += [
        {
            "part": "attack",
            "sample_id": str(n),
            "kind": "word",
            "method": method,
            "picture": picture,
            "answer": "a",
            "score": 1.0,
        }
        | {"stays": int(picture != "attacked" or n > 0), "clean_same": 1, "recall": 0.5}
        | {"same": int(picture != "attacked" or n > 1 or method == "random")}
        for picture in ("clean", "attacked", "noise")
        for method in ("unpruned", "himap", "random")
        for n in range(4)
    ]
    write_text(results / "questions/llava/scienceqa/attack.csv", pd.DataFrame(rows).to_csv(index=False))


def frame_of(figure: str, settings: dict[str, Any], results: Path) -> pd.DataFrame:
    """Return a figure's numbers from made-up results, as its CSV gives them."""
    write_saliency(results)
    write_disruption(results)
    methods = {"vanilla": "Vanilla", "himap": "HiMAP"}
    stages = {"qa": {"vanilla": [], "himap": [{"layer": 1, "keep": 0.5}]}}
    settings |= {
        "order": list(methods),
        "methods": methods,
        "schedules": {"llava": {"image_tokens": 16, "stages": stages}},
    }
    rows = [
        {
            "sample_id": sample,
            "method": name,
            "seconds_total": 1.0 + number,
            "ideal_speedup": 2.0,
            "device": "cpu",
            "batch_size": 1,
            "kernel": "flash",
        }
        for name in methods
        for number, sample in enumerate("ab")
    ]
    write_text(results / "latency/llava/scienceqa.csv", pd.DataFrame(rows).to_csv(index=False))
    settings |= {"cells": [["llava", "scienceqa"]], "kinds": {"scienceqa": "qa"}}
    write_blocking(results)
    write_oq4(results)
    write_oq1(results)
    write_oq2(results)
    write_oq3(results)
    write_attack(results)
    write_importance(results)
    write_grid(results)
    made = {"frontier": frontier_frame, "ablations": ablation_frame}.get(figure)
    frame = made() if made else figures.get(figure).numbers(settings, str(results))
    frame.to_csv(results / "data.csv", index=False)
    return pd.read_csv(results / "data.csv")


@pytest.mark.slow
@pytest.mark.parametrize("figure", figures.names())
def test_each_figure_is_drawn_in_three_forms_and_the_same_twice(
    tmp_path: Path, settings: dict[str, Any], figure: str
) -> None:
    frame_of(figure, settings, tmp_path)
    for name in ("one", "two"):
        style = {"dpi": 60, "note": "not the paper's numbers"}
        words = ["--figure", figure, "--data", str(tmp_path / "data.csv"), "--style", json.dumps(style)]
        draw_figure.main([*words, "--out", str(tmp_path / name)])
    for ending, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
        assert one.startswith(start)
        assert one == two
    assert b"not the paper's numbers" in (tmp_path / "one.svg").read_bytes()


@pytest.mark.parametrize("figure", figures.names())
def test_drawing_and_page_show_the_same_panels_words_colors_dashes_and_ranges(
    tmp_path: Path, settings: dict[str, Any], figure: str
) -> None:
    from himap.figures import _matplotlib, _page

    panels = figures.get(figure).panels(frame_of(figure, settings, tmp_path))
    charts = [chart for group in _page.page_groups(panels) for chart in group["charts"]]
    with _matplotlib.styled(Style()):
        drawing = _matplotlib.drawing(panels, Style())
        axes = [ax for ax in drawing.axes if ax.get_title()]
        drawn = [[mcolors.to_hex(line.get_color()) for line in ax.lines] for ax in axes]
    colors = dict(re.findall(r"--c(\d+): (#\w+);", _page.style_sheet().partition("@media")[0]))
    assert [ax.get_title().replace("\n", " ") for ax in axes] == [chart["title"] for chart in charts]
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == [
        key["label"] for key in _page.page_legend(panels)
    ]
    for ax, chart, used in zip(axes, charts, drawn, strict=True):
        assert (ax.get_xlabel(), ax.get_ylabel()) == (chart["x_label"], chart["y_label"])
        assert chart["rows"], "an empty chart"
        curves = used[len(chart["lines"]) :]
        assert [colors[str(series["slot"] % len(colors))] for series in chart["series"]] == curves[
            : len(chart["series"])
        ]
        # the page draws a scatter's points from left to right, so their order may differ
        assert sorted(text.get_text() for text in ax.texts if text.get_text()) == sorted(
            mark["label"] for mark in (*chart.get("dots", []), *chart.get("points", [])) if mark["label"]
        )


def test_what_early_pruning_costs_beyond_recognition_is_a_difference_of_two_differences(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    frame = frame_of("oq4", settings, tmp_path)
    gaps = frame[frame["measure"] == "interaction"].set_index("of")
    # of five counts, early pruning loses one and later pruning none; recognition loses nothing under either
    assert gaps.loc["counting", "value"] == pytest.approx(0.2)
    assert gaps.loc["counting", "low"] == 0  # five pictures cannot tell one loss from none
    assert gaps.loc["reading", "value"] == gaps.loc["localization", "value"] == 0
    ability = frame[(frame["measure"] == "left by ability") & (frame["module"] == "shallow") & (frame["dose"] == 0.5)]
    assert ability.set_index("of")["value"].to_dict() == {
        "recognition": 1, "counting": 0.8, "reading": 0.8, "localization": 1
    }  # fmt: skip
    control = frame[(frame["measure"] == "recall_shuffled") & (frame["dose"] == 0.5)]
    assert control["value"].tolist() == [0.5, 0.5]


def test_a_set_that_asks_for_no_recognition_counts_with_the_one_that_does() -> None:
    from himap.figures.oq4 import joined

    rows = [("a", "kinds", "recognition"), ("a", "where", "localization"), ("b", "where", "localization")]
    frame = pd.DataFrame(rows, columns=["model", "benchmark", "ability"]).assign(picture="1.png")
    result = joined(frame)
    assert result["benchmark"].tolist() == ["kinds", "kinds", "where"]  # model b has nothing to compare with
    assert result["picture"].tolist() == ["kinds/1.png", "where/1.png", "where/1.png"]


def test_halves_of_the_depth_are_compared_answer_by_answer_and_a_cut_of_all_layers_ends_both_curves(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    frame = frame_of("oq1", settings, tmp_path)
    same = frame[(frame["measure"] == "same") & (frame["flow"] == "img2alltxt")]
    ends = {extent: dict(part[["depth", "value"]].to_numpy().tolist()) for extent, part in same.groupby("extent")}
    assert ends == {"suffix": {0.0: 0.0, 0.5: 1.0}, "prefix": {0.5: 0.25, 1.0: 0.0}, "single": {0.25: 0.75}}
    gap = frame[frame["measure"] == "second half less first"].iloc[0]
    assert (gap["value"], gap["n"], gap["p"]) == (75, 4, 0.25)  # three answers lost and none won: McNemar
    assert frame[frame["measure"] == "share"].set_index("depth")["value"].to_dict() == {0.25: 0.75, 0.75: 0.25}
    carried = frame[frame["measure"] == "himap less random"].iloc[0]
    assert (carried["extent"], carried["value"], carried["n"], carried["p"]) == ("1/4 2/3", 75, 4, 0.25)
    cuts, _, saliency, transfer = figures.get("oq1").panels(frame)
    assert "cross-attention" in cuts.title
    assert saliency.title.endswith("no S_vv in the decoder")
    labels = {dot.label: dot.value for dot in transfer.dots}
    assert labels == {"HiMAP at 1/4, 2/3: 50 % of FLOPs": 0.75, "random tokens at 1/4, 2/3: 50 % of FLOPs": 0}


def test_what_kept_tokens_tell_counts_tokens_dropped_without_a_change_of_the_answer_alone(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    frame = frame_of("oq3", settings, tmp_path).set_index(["part", "name", "where", "control"]).sort_index()
    told = frame.loc[("features", "himap", "tower")]
    assert told["value"].to_dict() == {
        0: pytest.approx(0.5),
        1: pytest.approx(0),
    }  # the first sample's errors of 9 are left out
    assert set(told["n"]) == {3}
    assert frame.loc[("content", "himap", "tower"), "value"].to_dict() == {0: 0.5, 1: 0}
    assert frame.loc[("difference", "random", "tower"), "value"].tolist() == [-25]
    assert frame.loc[("effective", "gradient", "tower"), "value"].tolist() == [pytest.approx(4.5 / 16)]


def test_an_attack_succeeds_where_only_the_pruned_answer_is_lost(tmp_path: Path, settings: dict[str, Any]) -> None:
    frame = frame_of("attack", settings, tmp_path)
    success = frame[frame["measure"] == "success"].set_index(["method", "picture"])["value"]
    assert success["himap", "attacked"] == 0.25  # of the two answers lost, the unpruned model lost one as well
    assert success["himap", "noise"] == success["random", "attacked"] == 0
    changes = frame[frame["measure"] == "change"].set_index("method")["value"]
    assert changes.to_dict() == {"himap": -50, "random": 0}


@pytest.mark.parametrize(("figure", "column"), [("attack", "method"), ("oq3", "name"), ("importance", "criterion")])
def test_a_figure_calls_methods_and_criteria_by_their_titles(
    tmp_path: Path, settings: dict[str, Any], figure: str, column: str
) -> None:
    frame = frame_of(figure, settings, tmp_path).replace({column: {"random": "fastervlm"}})
    shown = str(figures.get(figure).panels(frame))
    assert "FasterVLM" in shown
    assert "fastervlm" not in shown


def test_a_title_breaks_before_the_number_of_samples_and_not_within_it() -> None:
    assert wrapped("a picture with the same answer, n = 19", 36) == "a picture with the same answer,\nn = 19"


def test_no_two_curves_differ_by_color_alone() -> None:
    looks = [look(number) for number in range(24)]
    assert len({(one.dashes, one.marker) for one in looks[:7]}) == 7
    assert len({(one.color, one.dashes, one.marker) for one in looks}) == 24
    from himap.figures._page import style_sheet

    rules = dict(re.findall(r"\.s(\d+) \{ stroke: [^;]+; stroke-dasharray: ([^;]+);", style_sheet()))
    assert rules["0"] == "none"
    assert rules["1"] == "7 3"  # twice the widths that matplotlib is given, since a curve on the page is 2 wide


def test_reading_the_config_and_planning_the_figures_imports_no_heavy_package() -> None:
    code = (
        "import sys, yaml; from himap.workflow.config.load import load; from himap.workflow.plan.plan import Plan;"
        "from himap.workflow.plan import settings, targets; plan = Plan(load(yaml.safe_load(open('config.yaml'))));"
        "[(targets.figure_inputs(plan, name), settings.figure(plan, name), settings.style(plan, name))"
        " for name in targets.figures(plan)];"
        "print(sorted({'matplotlib', 'numpy', 'pandas', 'torch', 'himap.figures.figure3'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": "workflow_scripts"}
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True, capture_output=True)
    assert said.stdout.strip() == "['himap.figures.figure3']", said.stdout + said.stderr


def test_the_config_lays_a_style_over_the_one_that_the_figures_file_asks_for() -> None:
    from himap.workflow.config.schema import Figures

    style = Figures(frontier={"height": 4}).frontier
    assert (style.width, style.height) == (figures.get("frontier").style.width, 4)


def test_a_point_is_on_the_frontier_if_none_is_better_at_no_more_cost() -> None:
    from himap.costs.formulas import on_frontier

    assert on_frontier([1.0, 2.0, 3.0, 3.0], [5.0, 4.0, 6.0, 6.0]) == [True, False, True, True]
    assert on_frontier(list(np.ones(2)), [1.0, 2.0]) == [False, True]


def test_ablations_come_by_their_effect_the_largest_loss_first() -> None:
    frame = ablation_frame().assign(vs_vanilla=[1.0, -3.0, -2.0, 4.0])
    panels = figures.get("ablations").panels(frame)
    assert [[dot.value for dot in panel.dots] for panel in panels] == [[-2.0, 1.0], [-3.0, 4.0]]


def test_no_axes_are_drawn_around_nothing() -> None:
    from himap.figures import _matplotlib, _page
    from himap.figures._panels import Curve, Curves

    full = Curves(title="full", x_label="layer", curves=[Curve("a", [(0, 1.0)]), Curve("undefined", [])])
    panels = [full, Curves(title="empty", x_label="layer", curves=[Curve("b", [])])]
    drawing = _matplotlib.drawing(panels, Style())
    assert [ax.get_title() for ax in drawing.axes if ax.axison] == ["full"]
    assert [chart["title"] for group in _page.page_groups(panels) for chart in group["charts"]] == ["full"]
    assert [key["label"] for key in _page.page_legend(panels)] == ["a"]
