"""The table of methods at equal budgets: its further columns from stored answers, printed values, sentences, and its config."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from himap.benchmarks.samples.files import schema
from himap.decoder.bitmaps import to_bitmap
from himap.files import write_json, write_jsonl, write_parquet, write_text
from himap.paper.rivals import is_disputed, printed, published
from himap.tables.forms import forms
from himap.tables.notes import notes
from himap.tables.records import records
from himap.tables.rival_texts import sentences
from himap.tables.rivals import with_measures
from himap.workflow.config.load import load
from himap.workflow.plan import settings as plan_settings
from himap.workflow.plan import targets
from himap.workflow.plan.plan import Plan
from himap.yaml_files import ConfigError
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GRID, SAMPLES = (4, 4), 10
# which of the ten questions each method answers right, how many answers are the unpruned ones, and which tokens it keeps
RUNS: dict[str, tuple[list[int], int, list[int] | None]] = {
    "vanilla": ([0, 1, 2, 3, 4, 5, 6, 7], 10, None),
    "downsample_1of4": ([0, 1, 2, 3], 5, None),
    "random_tokens_1of4": ([0, 1, 4], 6, [0, 5, 10, 15]),  # a diagonal
    "divprune_1of4": ([0, 1, 2, 4, 5, 6], 8, [4, 5, 6, 7]),  # the second row
}


@pytest.fixture
def rivals(settings: dict[str, Any], tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A table of four methods on ten questions about pictures twice as wide as high, and the results that it is made from."""
    settings |= {
        "name": "rivals",
        "methods": [{"name": name, "title": f"{name.partition('_')[0].title()} (1/4 of the tokens)"} for name in RUNS],
        "budgets": {
            "rows": {name: {"of": name.removesuffix("_1of4"), "budget": "1/4"} for name in RUNS if name != "vanilla"},
            "tokens": {"llava": {"qa": {name: 4.0 for name in RUNS if name != "vanilla"}}},
            "grids": {"llava": list(GRID)},
            "padded": {"llava": ["scienceqa"]},
        },
    }
    for name, (right, same, kept) in RUNS.items():
        folder = tmp_path / "evaluation/llava/scienceqa" / name
        ids, scores = [str(n) for n in range(SAMPLES)], [float(n in right) for n in range(SAMPLES)]
        write_parquet(folder / "per_sample.parquet", pd.DataFrame({"sample_id": ids, "score": scores}))
        score = {
            "headline": 10.0 * len(right),
            "n": SAMPLES,
            "pictures": SAMPLES,
            "interval": [0.0, 100.0],
            "scores": {},
        }
        write_json(folder / "score.json", score)
        answers = [
            {
                "sample_id": str(n),
                "prediction": "A" if n < same else "B",
                "image_tokens": 16,
                "kept": [] if kept is None else [to_bitmap(range(16), 16), to_bitmap(kept, 16)],
            }
            for n in range(SAMPLES)
        ]
        write_jsonl(folder / "predictions.jsonl", answers)
        costs = [
            {"method": name, "convention": kind, "flops": 1e12, "ratio": 0.25}
            for kind in ("paper", "prompt", "measured")
        ]
        write_text(tmp_path / "flops/llava/qa" / f"{name}.csv", pd.DataFrame(costs).to_csv(index=False))
    write_samples(tmp_path / "benchmarks/scienceqa/samples.parquet")
    return settings, tmp_path


def write_samples(path: Path, about: dict[str, list[int]] | None = None) -> None:
    """Ten samples whose pictures are padded above and below: of four rows of cells, the first and the last are padding."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    Image.new("RGB", (80, 40)).save(buffer, "PNG")
    rows = [
        {
            "sample_id": str(n),
            "question": "",
            "options": [],
            "references": ["A"],
            "images": [buffer.getvalue()],
            "metadata": json.dumps({"evidence": (about or {}).get(str(n), [])}),
        }
        for n in range(SAMPLES)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema("scienceqa")), path)


def measured(rivals: tuple[dict[str, Any], Path]) -> pd.DataFrame:
    settings, results = rivals
    return with_measures(records(settings, results), settings, results)


def test_answers_say_how_loyal_a_method_is_where_it_fails_and_where_it_looks(
    rivals: tuple[dict[str, Any], Path],
) -> None:
    frame = measured(rivals).set_index("method")
    divprune, random, vanilla = (frame.loc[name] for name in ("divprune_1of4", "random_tokens_1of4", "vanilla"))
    assert (divprune["same_answers"], random["same_answers"], vanilla["same_answers"]) == (80, 60, 100)
    assert divprune["left"] == pytest.approx(75)  # 60 of 80
    assert (divprune["mean_tokens"], vanilla["mean_tokens"]) == (4, 16)
    # the smaller image fails on 4 to 9; of these DivPrune has 4, 5, 6 right and random tokens 4
    assert (divprune["hard"], divprune["hard_n"]) == (50, 6)
    assert random["hard"] == pytest.approx(100 / 6)
    assert (divprune["padding"], random["padding"], random["padding_all"]) == (0, 50, 50)
    assert (divprune["top_to_bottom"], divprune["left_to_right"]) == ("0/100/0/0", "25/25/25/25")
    assert random["top_to_bottom"] == random["left_to_right"] == "25/25/25/25"
    assert pd.isna(frame.loc["downsample_1of4", "padding"])


def test_a_method_is_told_which_share_of_the_evidence_its_stages_keep(rivals: tuple[dict[str, Any], Path]) -> None:
    settings, results = rivals
    settings["budgets"]["grids"]["llava"] = [12, 12]
    kept = [list(range(72)), [0, 1, 100]]  # what stage one and two leave of the embedded world's 144 cells
    path = results / "evaluation/llava/scienceqa/divprune_1of4/predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [{**row, "image_tokens": 144, "kept": [to_bitmap(stage, 144) for stage in kept]} for row in rows])
    about = {
        "0": [0, 50],
        "1": [1, 2, 3, 143],
        "2": [],
    }  # of the third the whole picture counts; of the others nothing is known
    write_samples(results / "benchmarks/scienceqa/samples.parquet", about)
    divprune = measured(rivals).set_index("method").loc["divprune_1of4"]
    assert divprune["evidence_n"] == 2
    assert divprune["evidence_stages"] == "88/38"  # (2/2 + 3/4) / 2, then (1/2 + 1/4) / 2
    assert divprune["evidence"] == pytest.approx(37.5)
    assert "88 / 38 %" in forms(measured(rivals), settings)["md"]


def test_evidence_and_places_are_found_behind_a_class_token(rivals: tuple[dict[str, Any], Path]) -> None:
    """One tile of Llama 3.2 Vision is a class token, which shows no place, and the cells."""
    settings, results = rivals
    settings["budgets"]["grids"]["llava"] = [12, 12]
    path = results / "evaluation/llava/scienceqa/divprune_1of4/predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    tile = [[1, 0, 0.0, 0.0, 1.0, 1.0, 1], [12, 12]]
    kept = to_bitmap([0, *range(1, 13)], 145)  # the class token and the cells of the first row
    write_jsonl(path, [{**row, "image_tokens": 145, "layouts": [tile], "kept": [kept]} for row in rows])
    write_samples(results / "benchmarks/scienceqa/samples.parquet", {"0": [0, 11, 12, 143]})
    divprune = measured(rivals).set_index("method").loc["divprune_1of4"]
    assert divprune["evidence"] == 50  # cells 0 and 11, which are tokens 1 and 12
    assert (divprune["top_to_bottom"], divprune["left_to_right"]) == ("100/0/0/0", "25/25/25/25")


def test_three_sentences_say_what_the_table_shows(rivals: tuple[dict[str, Any], Path]) -> None:
    settings, _ = rivals
    frame = measured(rivals)
    (text,) = sentences(frame)
    # the report's notes are made from the CSV alone
    assert text in notes({"name": "rivals"}, pd.read_csv(io.StringIO(forms(frame, settings)["csv"])))
    assert text.startswith("llava: At 1/4 of the image tokens, Divprune keeps 75.0 % of the unpruned scores")
    assert "1 of them keep more than Downsample (50.0 %)" in text
    assert (
        "On the 6 samples that a smaller image of the same budget gets wrong, Divprune scores 50.0 and random tokens 16.7"
        in text
    )
    assert "0 to 50 % of what is kept is padding, which is 50 % of all image tokens" in text
    assert text.count(". ") == 2


def test_all_forms_have_the_further_columns_and_the_csv_all_of_them(rivals: tuple[dict[str, Any], Path]) -> None:
    settings, _ = rivals
    made = forms(measured(rivals), settings)
    lines = made["md"].split("\n")
    header = next(line for line in lines if line.startswith("| method"))
    row = next(line for line in lines if line.startswith("| Divprune"))
    cells = dict(zip(*([cell.strip() for cell in line.split("|")] for line in (header, row)), strict=True))
    assert cells["mean tokens"] == "4.0"
    assert cells["of unpruned"] == "75.0 %"
    assert cells["ScienceQA same answers"] == "80 %"
    assert cells["ScienceQA hard samples"] == "50.0 (n 6)"
    for form in ("tex", "html"):
        assert all(text in made[form] for text in ("hard samples", "mean tokens", "50.0 (n 6)")), form
    frame = pd.read_csv(io.StringIO(made["csv"]))
    assert {"same_answers", "padding", "top_to_bottom", "printed", "disputed"} <= set(frame.columns)


# ---- printed values


def test_every_printed_row_names_its_source_and_its_kind_and_no_value_is_there_twice() -> None:
    whole = published()
    rows = whole["rows"]
    assert {row["source"] for row in rows} == set(whole["sources"])
    assert {row["tokens"] for row in rows} == {576, 192, 128, 64}
    keys = [(row["source"], row["method"], row["tokens"], row["kind"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert all(
        0 < value <= (2100 if name.startswith("mme") else 100) for row in rows for name, value in row["scores"].items()
    )


def test_a_methods_own_paper_comes_first_and_far_apart_values_are_disputed() -> None:
    visionzip = printed("visionzip", 1 / 3, "gqa")
    assert (visionzip[0].value, visionzip[0].source, visionzip[0].kind) == (59.3, "VisionZip", "own")
    assert not is_disputed(visionzip, "gqa")
    fastv = printed("fastv", 1 / 3, "vqav2")
    assert {67.1, 74.7} <= {value.value for value in fastv}
    assert is_disputed(fastv, "vqav2")
    assert printed("fastv", 1 / 4, "vqav2") == []
    assert not is_disputed([], "vqav2")


def test_a_printed_value_is_shown_with_its_source_and_its_dispute(rivals: tuple[dict[str, Any], Path]) -> None:
    settings, results = rivals
    settings = json.loads(json.dumps(settings).replace('"1/4"', '"1/3"'))
    text = forms(with_measures(records(settings, results), settings, results), settings)["md"]
    assert "69.5 (VisionZip)" in text  # the unpruned model
    assert "69 (RESTORE)" in text or "68.66 (MMTok)" in text


# ---- the config


def config(change: Callable[[dict[str, Any]], None] = lambda raw: None) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "grid": {"benchmarks": []},
        "models": {"mini": {"path": "models/mini"}},
        "benchmarks": {"scienceqa": {"source": "mini", "limit": 5}},
        "tables": {
            "rivals": {"benchmarks": ["scienceqa"], "budgets": ["1/3", 16], "methods": ["vanilla", "divprune", "vtw"]}
        },
    }
    change(raw)
    return raw


def test_a_table_with_budgets_has_each_method_at_each_budget() -> None:
    plan = Plan(load(config()))
    names = ["vanilla", "divprune_1of3", "vtw_1of3", "divprune_16", "vtw_16"]
    assert plan.config.tables["rivals"].methods == names
    facts = json.loads(plan_settings.table(plan, "rivals"))["budgets"]
    assert facts["rows"]["divprune_1of3"] == {"of": "divprune", "budget": "1/3"}
    assert facts["tokens"]["mini"]["qa"] == {"divprune_1of3": 48, "vtw_1of3": 48, "divprune_16": 16, "vtw_16": 12}
    assert plan.method("mini", "scienceqa", "divprune_16").to_json()["positions"] == "renumber"
    inputs = targets.table_inputs(plan, "rivals")
    assert plan.paths.predictions("mini", "scienceqa", "vtw_16") in inputs
    assert plan.paths.samples("scienceqa") in inputs


def test_without_columns_the_built_in_table_adds_no_method() -> None:
    plan = Plan(load(config(lambda raw: raw.pop("tables"))))
    assert "rivals" not in plan.tables()
    assert not any("1of" in name for name in plan.config.methods)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": ["a third"]}, ["a third"]),
        ({"budgets": ["1/3", 0]}, ["tables.rivals.budgets[1]", "0"]),
        ({"budgets": [500]}, ["tokens_of: 500", "144"]),
        ({"methods": ["vanilla", "divprun"]}, ["divprun", "'divprune'"]),
        ({"budgets": []}, ["tables.rivals.budgets"]),
    ],
)
def test_a_wrong_budget_or_method_is_named(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config(lambda raw: raw["tables"]["rivals"].update(deepcopy(change))))
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_method_that_looks_at_a_tower_without_class_token_is_refused_before_anything_runs() -> None:
    raw = yaml.safe_load((ROOT / "presets/rivals.yaml").read_text())
    raw["models"]["llava-1.5-7b"] |= {"family": "qwen_vl", "published": None}
    raw["tables"]["rivals"]["methods"] = ["vanilla", "fastervlm", "divprune"]
    with pytest.raises(ConfigError) as caught:
        load(raw)
    assert "class token of the vision tower" in str(caught.value)
    assert "divprune" not in str(caught.value)


def test_values_of_vizwiz_are_those_of_the_validation_split_alone() -> None:
    assert [value.value for value in printed("cdpruner", 1 / 9, "vizwiz_val")] == [57.0, 58.0]
    assert [value.value for value in printed("vanilla", 1.0, "vizwiz_val")] == [54.4, 55.6]
    assert printed("dart", 1 / 9, "vizwiz_val") == []  # its paper prints test-dev


def test_the_preset_solves_every_method_for_192_128_and_64_tokens() -> None:
    plan = Plan(load(yaml.safe_load((ROOT / "presets/rivals.yaml").read_text())))
    assert list(plan.tables()) == ["rivals"]
    tokens = json.loads(plan_settings.table(plan, "rivals"))["budgets"]["tokens"]["llava-1.5-7b"]["qa"]
    for share, wanted in {"1of3": 192, "2of9": 128, "1of9": 64}.items():
        means = {name: mean for name, mean in tokens.items() if name.endswith(share)}
        assert len(means) == 17
        assert np.median(list(means.values())) == wanted
        assert all(abs(mean - wanted) < 1 for name, mean in means.items() if not name.startswith(("vtw", "downsample")))
