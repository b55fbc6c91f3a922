"""The numbers behind each figure, and that each is drawn in three forms, the same twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import draw_figure
import numpy as np
import pandas as pd
import pytest
from himap import figure_data
from himap.files import write_parquet, write_text

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
    frame = figure_data.figure3(settings, str(tmp_path))
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
    frame = figure_data.figure4(settings, str(tmp_path))
    assert only(frame, source="ours", variant="paper", curve="instruction_from_image", layer=3)["raw"].item() == 213 / 4
    assert only(frame, source="ours", variant="released", curve="image_from_image", layer=3)["raw"].item() == 2 * 113
    theirs = only(frame, source="paper", curve="image_from_image")
    assert theirs["value"].iloc[10] == 1.0  # the published curve peaks at layer 10
    assert len(theirs) == 32


def test_consistency_is_averaged_over_the_first_and_the_last_layers(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    frame = figure_data.figure5(settings, str(tmp_path))
    label = only(frame, source="ours", measure="label", flow="img2txt")
    assert only(label, part="first")["value"].item() == 0.5
    assert only(label, part="last")["value"].item() == 1.0
    assert only(frame, source="ours", measure="score", flow="img2txt", part="first")["value"].item() == 0.75
    assert only(frame, source="ours", part="layer")["floor"].unique() == [0.75]  # three of four answers are A
    assert only(frame, source="paper", measure="label", flow="img2txt", part="first")["value"].item() == 0.346


def test_blocks_of_another_run_are_not_mixed_in(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    stray = tmp_path / "disruption/llava/scienceqa/layers-0-3.parquet"
    other = pd.read_parquet(stray.parent / "layers-0-1.parquet").assign(clean_answer="Z")
    write_parquet(stray.with_name("layers-0-0.parquet"), other)
    write_parquet(stray, other)
    ours = only(figure_data.figure5(settings, str(tmp_path)), source="ours")
    assert only(ours, part="first", measure="label", flow="img2txt")["n"].item() == 4
    assert ours["floor"].unique() == [0.75]
    settings["layers"] = [0]
    frame = figure_data.figure5(settings, str(tmp_path))
    assert set(only(frame, source="ours", part="layer")["layer"]) == {0}


def test_the_bias_ratio_is_undefined_where_an_error_is_zero(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_disruption(tmp_path)
    frame = figure_data.figure6(settings, str(tmp_path))
    ours = only(frame, source="ours", measure="label")
    assert set(ours["depth"]) == {LAYERS}
    assert ours["layer"].tolist() == [0, 1]
    assert ours["value"].tolist() == pytest.approx([math.log(0.25 / 0.5)] * 2)


def test_a_published_curve_lies_over_the_same_share_of_the_depth() -> None:
    from himap.plots import behind
    from matplotlib.figure import Figure

    theirs = pd.DataFrame({"layer": [0, 20, 36], "value": [0.0, 1.0, 2.0], "depth": 41})
    ours = pd.DataFrame({"layer": [0, 2], "value": [0.0, 1.0], "depth": 11})  # undefined in the layers above
    ax = Figure().subplots()
    behind(ax, theirs, ours, "black", of="depth")
    assert ax.lines[0].get_xdata() == pytest.approx([0, 5, 9])


def test_tokens_fall_from_the_stage_on(settings: dict[str, Any]) -> None:
    stages = {"qa": {"himap": [{"layer": 1, "keep": 0.5}, {"layer": 3, "keep": 3}]}}
    settings["models"]["llava"] |= {"image_tokens": 16, "stages": stages}
    frame = figure_data.figure7({**settings, "methods": {"himap": "HiMAP"}, "order": ["himap"]}, "")
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
        }
        for method, ideal, base in (("vanilla", 1.0, 1.0), ("himap", 4.0, 0.5))
        for sample, extra in (("a", 0.0), ("b", 1.0))
        for turn, seconds in enumerate((base + extra, base + extra, 100.0))
    ]
    write_text(tmp_path / "latency/llava/scienceqa.csv", pd.DataFrame(rows).to_csv(index=False))
    frame = figure_data.figure8(
        {**settings, "methods": {"vanilla": "Vanilla", "himap": "HiMAP"}, "order": ["vanilla", "himap"]}, str(tmp_path)
    )
    assert only(frame, method="himap")["seconds"].item() == 1.0
    assert only(frame, method="himap")["ideal"].item() == pytest.approx(1.5 / 4)
    assert only(frame, method="himap")["paper"].item() == 0.117


def test_each_model_has_its_own_rows_in_figure_5_and_its_own_paper_values(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    from himap import plots
    from himap.drawing import Look

    write_disruption(tmp_path)
    shutil.copytree(tmp_path / "disruption/llava", tmp_path / "disruption/larger")
    settings["models"]["larger"] = {"published": "LLaVA-13B", "layers": LAYERS}
    settings["blocks"]["larger"] = settings["blocks"]["llava"]
    frame = figure_data.figure5(settings, str(tmp_path))
    frame.loc[frame["model"] == "larger", "value"] *= 0.5
    axes = plots.figure5(frame, Look()).axes
    titles = [ax.get_title().split(":")[0] for ax in axes if ax.get_title()]
    assert titles == ["larger", "larger", "llava", "llava"]
    heights = [[bar.get_height() for bar in ax.patches] for ax in axes if ax.patches]
    assert heights[0] == pytest.approx([height / 2 for height in heights[2]])


def frontier_frame() -> pd.DataFrame:
    """Three schedules, one beaten."""
    return pd.DataFrame(
        {
            "model": "m",
            "benchmark": "b",
            "ratio": [0.2, 0.4, 0.5],
            "score": [60.0, 70.0, 65.0],
            "n": 9,
            "frontier": [True, True, False],
        }
    )


def ablation_frame() -> pd.DataFrame:
    """Two ablations on two benchmarks."""
    rows = [
        {"table": "ablation_stages", "model": "m", "method": m, "title": m, "benchmark": b, "ratio": 25, "vs_vanilla": v, "vs_vanilla_low": v - 1, "vs_vanilla_high": v + 1}
        for m, v in (("one", -2.0), ("two", 1.0))
        for b in ("pope", "mme")
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "figure", ["figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "frontier", "ablations"]
)
def test_each_figure_is_drawn_in_three_forms_and_the_same_twice(
    tmp_path: Path, settings: dict[str, Any], figure: str
) -> None:
    write_saliency(tmp_path)
    write_disruption(tmp_path)
    settings["models"]["llava"] |= {
        "image_tokens": 16,
        "stages": {"qa": {"vanilla": [], "himap": [{"layer": 1, "keep": 0.5}]}},
    }
    settings["order"] = ["vanilla", "himap"]
    settings["methods"] = {"vanilla": "Vanilla", "himap": "HiMAP"}
    rows = [
        {"sample_id": "a", "method": m, "seconds_total": 1.0, "ideal_speedup": 2.0, "device": "cpu"}
        for m in settings["methods"]
    ]
    write_text(tmp_path / "latency/llava/scienceqa.csv", pd.DataFrame(rows).to_csv(index=False))
    made = {"frontier": frontier_frame, "ablations": ablation_frame}.get(figure)
    frame = made() if made else getattr(figure_data, figure)(settings, str(tmp_path))
    frame.to_csv(tmp_path / "data.csv", index=False)
    for name in ("one", "two"):
        style = {"dpi": 60, "note": "not the paper's numbers"}
        words = ["--figure", figure, "--data", str(tmp_path / "data.csv"), "--style", json.dumps(style)]
        draw_figure.main([*words, "--out", str(tmp_path / name)])
    for ending, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
        assert one.startswith(start)
        assert one == two
    assert b"not the paper's numbers" in (tmp_path / "one.svg").read_bytes()


def test_a_point_is_on_the_frontier_if_none_is_better_at_no_more_cost() -> None:
    from himap.costs.formulas import on_frontier

    assert on_frontier([1.0, 2.0, 3.0, 3.0], [5.0, 4.0, 6.0, 6.0]) == [True, False, True, True]
    assert on_frontier(list(np.ones(2)), [1.0, 2.0]) == [False, True]
