"""The page as text: complete, escaped, small, honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_run
import yaml
from himap import benchmarks, numbers
from himap.benchmarks.samples.source import hub_origin
from himap.decoder import bitmaps
from himap.decoder.bitmaps import to_bitmap
from himap.figures._page import line_chart, ticks
from himap.figures._panels import Curve, Curves, padded
from himap.files import write_json
from himap.report import gallery, kept_maps
from himap.report.divergences import divergences
from himap.report.figure_parts import figure_parts
from himap.report.page import render
from himap.report.provenance import provenance
from himap.report.table_parts import by_kind, table_part
from himap.results import Results
from himap.tables.builtin import load_all as builtin_tables
from himap.tables.records import different_costs
from himap.workflow.config.load import load
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.report_settings import DIVERGENCES
from himap.workflow.plan.settings import evaluation, style
from report_page import Rendered

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("verdicts", "tables", "figures", "cost", "gallery", "divergences", "provenance")


def test_has_every_section_table_and_figure(rendered: Rendered) -> None:
    html = rendered.html
    for name in (*SECTIONS, *rendered.facts["tables"], *rendered.facts["figures"], "positions"):
        assert f'id="{name}"' in html, name
    assert "Missing." not in html


def test_tables_and_benchmarks_come_in_the_papers_order(rendered: Rendered) -> None:
    places = [rendered.html.index(f'id="{name}"') for name in rendered.facts["tables"]]
    assert list(rendered.facts["tables"])[:4] == ["table1", "table2", "table3", "table4"]
    assert places == sorted(places)
    titles = re.findall(r'<h4 id="gallery-1-(\w+)"', rendered.html)
    assert titles == [name for name in small_run.TASKS if name in titles]
    assert len(titles) == len(small_run.TASKS)


def test_a_row_shows_the_cost_of_each_kind_of_task_where_they_differ() -> None:
    cells = (("pope", "qa", 1.0, 25.0), ("aokvqa", "qa", 1.0, 25.0), ("nocaps", "caption", 1.5, 37.5))
    frame = pd.DataFrame(cells, columns=["benchmark", "kind", "tflops", "ratio"])
    frame = frame.assign(paper_tflops=None, paper_ratio=None)
    shown = by_kind(different_costs(frame), "ratio", lambda value: f"{value} %")
    assert shown == {"text": "25.0 %", "value": 25.0, "also": ["captions 37.5 %"]}
    assert by_kind(different_costs(frame[:2]), "tflops", numbers.flops) == {"text": "1.00 T", "value": 1.0, "also": []}


def test_the_rule_hands_the_facts_on_in_their_order() -> None:
    rule = (Path(small_run.__file__).parents[2] / "rules" / "report.smk").read_text(encoding="utf-8")
    assert "settings=json.dumps(report_facts(plan), ensure_ascii=False)" in rule
    assert "sort_keys" not in rule


def test_is_small_and_needs_nothing_from_outside(rendered: Rendered) -> None:
    assert rendered.page.stat().st_size < 10e6
    outside = re.findall(r"""(?:src|href|action)=["'](?!data:|#)([^"']+)["']""", rendered.html)
    assert outside == []
    assert "url(" not in rendered.html
    assert not re.search(r"@import|fetch\(|XMLHttpRequest|https?://", rendered.html)
    assert '<table class="data sortable small"' not in rendered.html  # numbers of charts are text until they are opened


def test_model_output_and_questions_are_escaped(rendered: Rendered, tmp_path: Path) -> None:
    assert small_run.SCRIPT not in rendered.html
    assert small_run.BROKEN_IMAGE not in rendered.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rendered.html
    assert rendered.html.count("<script>") == 1


def test_names_from_the_config_and_from_files_are_escaped(rendered: Rendered, tmp_path: Path) -> None:
    facts = json.loads(json.dumps(rendered.facts))
    facts["tables"]["table1"] = facts["config"] = facts["models"]["mini"]["source"] = small_run.SCRIPT
    for method in facts["methods"].values():
        method["title"] = small_run.SCRIPT
    shutil.copytree(rendered.results, tmp_path / "run")
    for path in (tmp_path / "run" / "evaluation").rglob("*.provenance.json"):
        path.write_text(json.dumps({"device": small_run.SCRIPT, "versions": {small_run.SCRIPT: small_run.SCRIPT}}))
    manifest = tmp_path / "run" / "benchmarks" / "pope" / "manifest.json"
    manifest.write_text(
        json.dumps(json.loads(manifest.read_text()) | {"revision": small_run.SCRIPT, "sha256": small_run.SCRIPT})
    )
    html = render(facts, tmp_path / "run")
    assert small_run.SCRIPT not in html
    assert html.count("<script>") == 1


def test_the_table_of_time_and_memory_is_in_the_section_on_cost_with_its_downloads(rendered: Rendered) -> None:
    cost = rendered.html.split('<section id="cost"')[1].split("</section>")[0]
    table = cost.split('id="efficiency"')[1]
    for text in ("attention kernel", "of the ideal", "mini, ScienceQA", "tables/efficiency.csv"):
        assert text in table, text


def test_without_results_every_part_says_so(rendered: Rendered, tmp_path: Path) -> None:
    html = render(rendered.facts, tmp_path)
    for name in (*rendered.facts["tables"], *rendered.facts["figures"]):
        assert f"./reproduce {name}</code>" in html, name
    assert "evaluations are not there yet" in html
    assert "cannot be decided here" in html
    assert 'id="gallery"' in html


@pytest.mark.parametrize(
    "gone", ["saliency", "evaluation", "tables/table1.csv", "figures", "benchmarks", "flops", "timings", "latency"]
)
def test_any_part_may_be_missing(rendered: Rendered, tmp_path: Path, gone: str) -> None:
    def left_out(folder: str, names: list[str]) -> set[str]:
        here = Path(folder).relative_to(rendered.results)
        return {name for name in names if str(here / name) == gone}

    shutil.copytree(rendered.results, tmp_path / "run", ignore=left_out)
    assert not (tmp_path / "run" / gone).exists()
    html = render(rendered.facts, tmp_path / "run")
    assert all(f'id="{name}"' in html for name in SECTIONS)


def test_the_paper_scale_run_has_no_mini_banner(rendered: Rendered, tmp_path: Path) -> None:
    html = render(as_paper(rendered.facts), tmp_path)
    assert "embedded world" not in html.split("</header>")[0]
    assert "This is the embedded world" in rendered.html.split("</header>")[0]


def as_paper(facts: dict[str, Any]) -> dict[str, Any]:
    """The same facts as if the run were of one of the paper's models on its data."""
    facts = json.loads(json.dumps(facts))
    facts["models"]["mini"]["published"] = "LLaVA-7B"
    for one in facts["benchmarks"].values():
        one |= {"source": "hub", "comparable": True}
    return facts


@pytest.mark.parametrize(("layers", "alone"), [(12, 1), (32, 0)])
def test_published_curves_lie_behind_ours_and_alone_too_where_their_layers_are_not_ours(
    rendered: Rendered, tmp_path: Path, layers: int, alone: int
) -> None:
    frame = Results(rendered.results, rendered.facts).figure("figure4")
    assert frame is not None
    frame.loc[(frame["source"] == "ours") & (frame["layer"] == 11), "layer"] = layers - 1
    (tmp_path / "figures" / "data").mkdir(parents=True)
    frame.to_csv(tmp_path / "figures" / "data" / "figure4.csv", index=False)
    charts = figure_parts(Results(tmp_path, rendered.facts), ["figure4"])[0]["groups"][0]["charts"]
    kinds = [{one["kind"] for one in chart["series"]} for chart in charts]
    assert kinds.count({"paper"}) == alone
    assert kinds.count({"curve", "paper"}) == 1
    behind = charts[kinds.index({"curve", "paper"})]
    assert behind["title"].startswith("released code; thin: the paper's")
    assert ("same share of the depth" in behind["title"]) == (alone == 1)
    assert behind["series"][0]["kind"] == "paper"  # drawn first, so behind
    assert any("paper" in name for name in behind["head"]) == (alone == 0)
    ends = {one["kind"]: float(one["path"].rsplit("L", 1)[1].split()[0]) for one in behind["series"]}
    assert ends["curve"] == ends["paper"]


def test_figure_6_and_8_show_the_paper_only_where_it_says_something(rendered: Rendered) -> None:
    bias, times = figure_parts(Results(rendered.results, rendered.facts), ["figure6", "figure8"])
    assert [one["kind"] for one in bias["groups"][0]["charts"][0]["series"]].count("paper") == 1
    assert "LLaVA-13B, paper" not in bias["groups"][0]["charts"][0]["head"]
    assert "diamond" not in {one["kind"] for one in times["legend"]}  # no seconds of the paper beside the mini model's


def test_sizes_are_written_from_a_tables_own_number_types() -> None:
    n, pictures = pd.Series([18, 2]), pd.Series([1, 4])
    assert numbers.size(n[0], pictures[0]) == "n = 18 on 1 picture"
    assert numbers.plain_size(n[0], pictures[1]) == "18 (4 pictures)"
    assert numbers.size(n[1], pictures[1]) == "n = 2"


@pytest.mark.parametrize(
    ("value", "plain", "typeset"),
    [(-1.25, "-1.2", "−1.2"), (0.04, "+0.0", "0.0"), (None, "", "–"), (float("nan"), "", "–"), (3, "+3.0", "+3.0")],
)
def test_a_tables_files_are_plain_and_the_page_is_typeset(value: float | None, plain: str, typeset: str) -> None:
    assert (numbers.plain_number(value, sign=True), numbers.number(value, sign=True)) == (plain, typeset)


# ---- where paper and released code differ


def test_every_divergence_names_methods_that_its_table_runs() -> None:
    tables = builtin_tables()
    for entry in yaml.safe_load(DIVERGENCES.read_text(encoding="utf-8")):
        for part in (entry["paper"], entry["code"], entry.get("between", {})):
            options = part.get("with", {})
            named = set(options.get("methods", ()))
            assert named <= set(tables[options.get("table", "divergence")]["methods"]), entry["title"]
            assert all(f"`{name}`" in entry["here"] for name in named), entry["title"]


def test_every_divergence_has_both_results(rendered: Rendered, tmp_path: Path) -> None:
    found = divergences(Results(rendered.results, rendered.facts))
    assert len(found) >= 12
    for one in found:
        left, right = (side["lines"] for side in one["sides"])
        assert left, one["title"]
        assert right, one["title"]
        if one["title"] not in ("Label consistency",):
            assert left != right, one["title"]
    assert "Not run." not in rendered.html
    assert all(not side["lines"] for one in divergences(Results(tmp_path, rendered.facts)) for side in one["sides"])
    assert render(rendered.facts, tmp_path).count("Not run.") == 2 * len(found)


def test_methods_that_differ_are_compared_on_the_same_samples(rendered: Rendered) -> None:
    results = Results(rendered.results, rendered.facts)
    found = {one["title"]: one["between"] for one in divergences(results)}
    lines = found["Ranking with or without a cache"]
    assert len(lines) == 3  # NoCaps too: in an answer of one token nothing can be ranked anew
    against = results.compare("mini", "nocaps", "himap", "himap_released")
    assert against is not None
    assert f"NoCaps: {numbers.number(against.difference, 1, sign=True)} [" in lines[2]
    assert numbers.p_value(against.p_value) in lines[2]
    assert found["FastV's criterion"]


def test_the_default_run_makes_both_sides() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    plan = Plan(load(config))
    assert plan.config.saliency.targets == ["emitted", "released"]
    assert plan.config.saliency.definitions == ["paper", "released"]
    assert {"random", "random_unmatched"} <= set(plan.config.disruption.flows)
    assert plan.config.disruption.flows[0] == "img2txt"  # which the second way of cutting is run on
    assert set(plan.config.disruption.blocks) == {"pre", "post"}
    assert {"single", "suffix"} <= set(plan.config.disruption.extents)
    pairs = [("himap", "himap_released"), ("himap", "himap_printed"), ("fastv", "fastv_as_written")]
    cells = set(plan.table_cells("divergence"))
    for task in ("scienceqa", "aokvqa", "nocaps"):
        assert {("mini", task, name) for pair in pairs for name in pair} <= cells


@pytest.mark.parametrize(
    ("title", "task", "first", "second"),
    [
        ("Pictures that are not square: cut or padded", "scienceqa", "vanilla", "asked_otherwise"),
        ("Precision", "scienceqa", "in_float16", "in_bfloat16"),
        ("A-OKVQA's form", "aokvqa", "vanilla", "asked_otherwise"),
        ("POPE's questions", "pope", "vanilla", "asked_otherwise"),
    ],
)
def test_the_default_run_asks_contested_protocols_both_ways_and_the_page_shows_both(
    title: str, task: str, first: str, second: str, rendered: Rendered
) -> None:
    plan = Plan(load(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))
    cells = plan.table_cells("protocols")
    assert {("mini", task, first), ("mini", task, second)} <= set(cells)
    settings = [json.loads(evaluation(plan, "mini", task, method)) for method in (first, second)]
    assert settings[0] != settings[1]  # each is asked its own way
    (row,) = (one for one in divergences(Results(rendered.results, rendered.facts)) if one["title"] == title)
    assert all(any(benchmarks.get(task).title in line for line in side["lines"]) for side in row["sides"])
    assert any(benchmarks.get(task).title in line for line in row["between"])


def test_pope_has_images_enough_for_its_paired_test() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    images = config["benchmarks"]["pope"]["limit"] // 18  # of one image come 18 questions, and whole images are swapped
    assert 2 / 2**images < 0.01


def test_figures_of_the_mini_world_say_so_in_the_drawing() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert "not the paper's numbers" in json.loads(style(Plan(load(config)), "figure4"))["note"]
    config["benchmarks"] = {"scienceqa": {}}
    assert "note" not in json.loads(style(Plan(load(config)), "figure4"))


def test_a_cell_tells_interval_test_and_paper(rendered: Rendered) -> None:
    part = table_part(Results(rendered.results, rendered.facts), "table1")
    block = part["blocks"][0]
    himap = next(row for row in block["rows"] if row["title"] == "HiMAP")
    cell = himap["cells"][[column["task"] for column in block["columns"]].index("scienceqa")]
    note = block["footnotes"][cell["note"] - 1]
    score = json.loads((rendered.results / "evaluation/mini/scienceqa/himap/score.json").read_text())
    assert cell["ours"] == f"{score['headline']:.1f}"
    assert f"95 % interval {score['interval'][0]:.1f} to {score['interval'][1]:.1f}, n = {score['n']}" in note
    assert "McNemar exact" in note
    assert "paper 68.3, for reference only" in note
    assert block["scope"] == "mini"


def test_values_are_marked_better_or_worse_only_by_the_test(rendered: Rendered) -> None:
    import pandas as pd

    frame = pd.read_csv(rendered.results / "tables" / "table1.csv").set_index(["title", "benchmark"])
    block = table_part(Results(rendered.results, rendered.facts), "table1")["blocks"][0]
    for row in block["rows"]:
        for column, cell in zip(block["columns"], row["cells"], strict=True):
            record = frame.loc[(row["title"], column["task"])]
            sure = record["p_value"] < 0.05
            assert cell["sure"] == (("better" if record["vs_vanilla"] > 0 else "worse") if sure else None)


# ---- gallery


def test_bitmaps_are_read_as_they_are_written() -> None:
    kept = [0, 5, 17, 48]
    mask = bitmaps.unpacked([to_bitmap(kept, 49), to_bitmap([], 49)], 49)
    assert mask.shape == (2, 49)
    assert [index for index, bit in enumerate(mask[0]) if bit] == kept
    assert not mask[1].any()


def test_dropped_tokens_are_the_path_over_the_picture() -> None:
    import numpy as np

    assert gallery.dropped_path(np.array([[True, False, False], [True, True, True]])) == "M1 0h2v1h-2z"
    assert gallery.dropped_path(np.ones((2, 2), dtype=bool)) == ""


def test_samples_on_which_methods_disagree_come_first() -> None:
    def said(**answers: str) -> dict[str, dict[str, str]]:
        return {name: {"prediction": answer} for name, answer in answers.items()}

    answers = {
        "a": said(s1="x", s2="x", s3="x", s4="x"),
        "b": said(s1="x", s2="y", s3="y", s4="x"),
        "c": said(s1="x", s2="z", s3="y", s4="x"),
    }
    scores = {
        "a": {"s1": 1.0, "s2": 0.0, "s3": 0.0, "s4": 1.0},
        "b": {"s1": 1.0, "s2": 0.0, "s3": 0.0, "s4": 0.0},
        "c": {},
    }
    assert gallery.disagreeing(answers, scores) == ["s4", "s2", "s3", "s1"]


def test_only_the_rows_that_are_shown_are_read(rendered: Rendered) -> None:
    path = rendered.results / "benchmarks" / "pope" / "samples.parquet"
    from himap.benchmarks import read_samples

    wanted = [sample.sample_id for sample in read_samples(path)][3:5]
    assert sorted(gallery.read_rows(path, wanted)) == sorted(wanted)


def test_no_image_is_shown_twice(rendered: Rendered) -> None:
    for task in gallery.gallery(Results(rendered.results, rendered.facts))[0]["tasks"]:
        pictures = [sample["picture"] for sample in task["samples"]]
        assert len(pictures) == len(set(pictures)) <= gallery.SHOWN


def test_position_histogram_shows_the_bias_towards_the_top(rendered: Rendered) -> None:
    methods = {
        one["title"]: one for one in kept_maps.histograms(Results(rendered.results, rendered.facts))[0]["methods"]
    }
    quarters = [part["value"] for part in methods["HiMAP"]["quarters"]]
    assert sum(quarters) == pytest.approx(100)
    assert quarters[0] > 40 > 10 > quarters[3]
    assert all(20 < part["value"] < 30 for part in methods["FastV"]["quarters"])
    assert "Vanilla" not in methods


# ---- charts, provenance


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.04) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(0, 11, most=8, whole=True) == [0, 2, 4, 6, 8, 10]
    assert ticks(-0.45, 1.17) == [-0.4, 0.0, 0.4, 0.8] or all(-0.45 <= one <= 1.17 for one in ticks(-0.45, 1.17))
    assert padded([]) != padded([1.0])


def test_a_charts_table_holds_every_number_and_its_place() -> None:
    curves = [Curve("a", [(0, 0.1), (2, 0.3)]), Curve("b", [(0, 0.5)])]
    chart = line_chart(Curves(title="t", x_label="layer", y_label="y", curves=curves))
    assert chart["head"] == ["layer", "a", "b"]
    assert [row["cells"] for row in chart["rows"]] == [["0", "0.100", "0.500"], ["2", "0.300", "–"]]
    assert chart["rows"][0]["x"] < chart["rows"][1]["x"]
    assert "highest 0.300 at 2" in chart["summary"]


def test_times_are_summed_per_stage_with_gpu_hours(rendered: Rendered, tmp_path: Path) -> None:
    facts = json.loads(json.dumps(rendered.facts))
    facts["models"]["mini"]["gpus"] = 2
    rows = {row["stage"]: row for row in provenance(Results(rendered.results, facts))["times"]}
    assert rows["saliency"]["wall_value"] == pytest.approx(80)
    assert rows["saliency"]["gpu"] == f"{2 * 80 / 3600:.2f}"
    assert {"counting FLOPs", "latency"} <= set(rows)
    assert rows["all"]["jobs"] == sum(row["jobs"] for name, row in rows.items() if name != "all")


def test_provenance_names_devices_versions_and_what_is_missing(rendered: Rendered) -> None:
    found = provenance(Results(rendered.results, rendered.facts))
    assert found["made_by"]["torch"] == ["2.13.0+cpu"]
    assert found["made_by"]["device"] == ["cpu (x86_64)"]
    assert found["made_by"]["batch_size"] == ["16"]  # in half precision some answers depend on it
    assert found["missing"] == []
    assert found["models"][0]["hashes"][0]["sha256"] == "ab" * 32
    assert all(row["sha256"] for row in found["benchmarks"])


def test_provenance_names_the_repository_that_samples_come_from(rendered: Rendered, tmp_path: Path) -> None:
    facts = json.loads(json.dumps(rendered.facts))
    facts["benchmarks"] = {"pope": facts["benchmarks"]["pope"] | {"source": "hub"}}
    results = Results(tmp_path, facts)
    source = hub_origin(benchmarks.get("pope").source, "4db12766")  # as a download notes it
    write_json(results.paths.benchmark_manifest("pope"), {"source": source, "rows": 9})
    assert provenance(results)["benchmarks"][0]["source"] == "lmms-lab/POPE"


def test_the_script_makes_the_same_page_from_the_config(rendered: Rendered, tmp_path: Path) -> None:
    import render_report

    folder = rendered.results.parent
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(small_run.config(folder, folder / "model"), sort_keys=False))
    out = tmp_path / "page.html"
    render_report.main(["--configfile", str(config), "--out", str(out)])
    changing = r"Written \S+ \S+ UTC|\b[0-9a-f]{40}\b|\b[0-9a-f]{10}\b|with (uncommitted )?changes"  # the time, and what git says meanwhile
    same = [re.sub(changing, "", numbers) for numbers in (out.read_text(), rendered.html)]
    assert same[0] == same[1]
