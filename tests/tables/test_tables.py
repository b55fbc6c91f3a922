"""What a table's cells hold, and that its four forms say the same."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from himap.files import write_json, write_jsonl, write_parquet
from himap.paper.published import unlike
from himap.report.table_parts import cell_part
from himap.tables.forms import forms
from himap.tables.notes import notes
from himap.tables.records import records


def cell(frame: pd.DataFrame, method: str) -> pd.Series:
    """A method's record."""
    (row,) = [one for _, one in frame.iterrows() if one["method"] == method]
    return row


def test_a_record_holds_ours_the_papers_value_and_the_difference(settings: dict[str, Any], results: Path) -> None:
    row = cell(records(settings, results), "himap")
    assert (row["ours"], row["low"], row["high"], row["n"]) == (70.0, 62.0, 78.0, 2017)
    assert row["paper"] == 68.3
    assert row["difference"] == pytest.approx(1.7)
    assert row["ratio"] == 25.0
    assert (row["paper_tflops"], row["paper_ratio"]) == (0.73, 24)
    assert row["status"] == "compared"


def test_against_vanilla_the_same_samples_are_compared_pairwise(settings: dict[str, Any], results: Path) -> None:
    frame = records(settings, results)
    row = cell(frame, "himap")
    assert row["vs_vanilla"] == pytest.approx(-10.0)
    assert row["vs_vanilla_low"] < -10 < row["vs_vanilla_high"] < 0
    assert row["p_value"] == pytest.approx(2 / 2**10)  # McNemar: ten losses, no win
    assert pd.isna(cell(frame, "vanilla")["vs_vanilla"])


@pytest.mark.parametrize("change", ["model", "data"])
def test_where_model_or_data_are_not_the_papers_its_value_is_a_reference_without_difference(
    settings: dict[str, Any], results: Path, change: str
) -> None:
    if change == "model":
        settings["models"]["llava"]["published"] = None
    else:
        settings["benchmarks"]["scienceqa"]["source"] = "mini"
    frame = records(settings, results)
    row = cell(frame, "himap")
    assert row["paper"] == 68.3
    assert pd.isna(row["difference"])
    assert row["status"] == "reference only"
    assert all("stands as a reference" in text for ending, text in forms(frame, settings).items() if ending != "csv")


@pytest.mark.parametrize(
    ("task", "change", "n", "reason"),
    [
        ("scienceqa", {}, 2017, ""),
        ("scienceqa", {}, 200, "200 of the paper's 2,017 samples"),
        ("scienceqa", {"split": "validation"}, 2017, "validation here, test in the paper"),
        (
            "scienceqa",
            {"protocol": {"template": "{question}"}},
            2017,
            "protocol template: {question} here, None in the paper",
        ),
        ("vqav2", {}, 20000, "validation here, test-dev in the paper"),
        ("textvqa", {}, 5000, ""),
        ("textvqa", {"protocol": {"ocr": False}}, 5000, "protocol ocr: False here, True in the paper"),
        ("scienceqa", {"protocol": {"images": "pad"}}, 2017, "protocol images: pad here, crop in the paper"),
        ("aokvqa", {}, 1145, ""),
        ("aokvqa", {"protocol": {"protocol": "llava"}}, 1145, "protocol protocol: llava here, fastv in the paper"),
        ("nocaps", {}, 4500, "its prompt and number of pictures are not known"),
        ("flickr30k", {}, 31783, "Karpathy's 1,000"),
        ("mmvet", {}, 218, "which version of GPT-4 judged is not said"),
        ("chartqa", {}, 2500, "the paper's protocol is not known"),
    ],
)
def test_only_the_same_split_size_and_protocol_is_compared_with_the_paper(
    task: str, change: dict[str, Any], n: int, reason: str
) -> None:
    from himap.workflow.config.load import load
    from himap.workflow.plan.plan import Plan

    preset = yaml.safe_load((Path(__file__).parents[2] / "presets" / "paper.yaml").read_text())
    preset["benchmarks"][task] |= change
    why = unlike(task, Plan(load(preset)).asked(task), n)
    assert reason in why
    assert bool(reason) == bool(why)


MOVED = [  # K2 = 9 instead of 8
    {"layer": 2, "keep": 0.5, "criterion": "instruction_attention"},
    {"layer": 9, "keep": 0.125, "criterion": "image_attention"},
]


@pytest.mark.parametrize(
    ("change", "method", "reason"),
    [
        ({}, "himap", ""),
        ({"models": {"image_mode": "pad"}}, "vanilla", "protocol images: pad here, crop in the paper"),
        ({"models": {"template": "llava_v1"}}, "vanilla", "asked in the template llava_v1, and the paper names none"),
        ({"methods": {"stages": MOVED}}, "himap", "the config's stages"),
        ({"methods": {"stages": MOVED}}, "vanilla", ""),
    ],
)  # fmt: skip
def test_a_model_asked_another_way_or_pruned_by_other_stages_is_not_compared_with_the_paper(
    change: dict[str, Any], method: str, reason: str
) -> None:
    from himap.tables import records as written
    from himap.workflow.config.load import load
    from himap.workflow.plan import settings as told
    from himap.workflow.plan.plan import Plan

    preset = yaml.safe_load((Path(__file__).parents[2] / "presets" / "paper.yaml").read_text())
    preset["models"]["llava-1.5-7b"] |= change.get("models", {})
    preset["methods"]["himap"] |= change.get("methods", {})
    table = json.loads(told.table(Plan(load(preset)), "table1"))
    column = table["benchmarks"]["scienceqa"]
    for name, entry in table["models"].items():
        if entry["family"] == "llava" and (name == "llava-1.5-7b" or "methods" in change):
            why = written.reason(entry, "scienceqa", column, 2017, method)
            assert (reason in why, bool(reason)) == (True, bool(why)), name


def test_a_cell_that_is_not_compared_gives_the_reason_below_the_table(settings: dict[str, Any], results: Path) -> None:
    settings["benchmarks"]["scienceqa"]["asked"]["split"] = "validation"
    frame = records(settings, results)
    assert pd.isna(cell(frame, "himap")["difference"])
    line = "values are a reference only, as validation here, test in the paper"
    assert all(line in text for ending, text in forms(frame, settings).items() if ending != "csv")


def test_questions_and_pictures_are_both_counted(settings: dict[str, Any], results: Path) -> None:
    path = results / "evaluation/llava/scienceqa/himap/score.json"
    path.write_text(path.read_text().replace('"pictures": 2017', '"pictures": 60').replace('"n": 2017', '"n": 120'))
    frame = records(settings, results)
    assert (cell(frame, "himap")["n"], cell(frame, "himap")["pictures"]) == (120, 60)
    assert all("120 (60 pictures)" in text for ending, text in forms(frame, settings).items() if ending != "csv")


def test_the_papers_ratio_stands_beside_ours_where_it_prints_no_tflops(settings: dict[str, Any], results: Path) -> None:
    settings["name"] = "table4"
    made = forms(records(settings, results), settings)
    assert "25.0 % (paper 34 %)" in made["md"]
    assert "0.75 |" in made["md"]


def test_a_method_of_our_own_has_an_empty_column_and_not_an_unpublished_one(
    settings: dict[str, Any], results: Path
) -> None:
    frame = records(settings, results)
    frame["paper"] = None
    frame.loc[frame["method"] == "himap", "method"] = "random"
    settings["methods"] = [{"name": "random", "title": "Random"}]
    assert "not published" not in forms(frame, settings)["md"]


def test_a_test_of_few_pictures_gives_the_least_p_value_that_it_can(settings: dict[str, Any], results: Path) -> None:
    assert "p = 0.002 (least possible 0.002)" in forms(records(settings, results), settings)["md"]  # ten answers differ


def test_tflops_that_no_formula_explains_stand_beside_the_printed_ones(settings: dict[str, Any], results: Path) -> None:
    assert not any("do not give the printed" in text for text in printed(settings, results))
    settings["models"]["llava"]["published"] = "InternVL-7B"
    line = "llava, TFLOPs by the formula that do not give the printed ones: Vanilla 2.99 (printed 2.71; nearest setting: 524 image tokens)"
    assert all(line in text.replace("\\", "") for text in printed(settings, results))


def printed(settings: dict[str, Any], results: Path) -> list[str]:
    """The forms that people read, with the TFLOPs that the formula gives for LLaVA's 576 image tokens."""
    for method, flops in (("vanilla", 2.986e12), ("himap", 0.735e12)):
        path = results / "flops" / "llava" / "qa" / f"{method}.csv"
        pd.read_csv(path).assign(flops=flops).to_csv(path, index=False)
    return [text for ending, text in forms(records(settings, results), settings).items() if ending != "csv"]


def test_what_the_paper_does_not_give_says_so(settings: dict[str, Any], results: Path) -> None:
    settings["models"]["llava"]["published"] = "LLaVA-13B"
    settings["methods"] = [{"name": "vanilla", "title": "Vanilla"}]
    settings["name"], settings["benchmark_order"] = "table5", ["scienceqa"]
    frame = records(settings, results)
    assert cell(frame, "vanilla")["paper"] == 71.6  # from a main table, when the own one has no such cell
    frame["paper"] = None
    assert "not published" in forms(frame, settings)["md"]


def test_without_a_judge_the_answers_are_counted_and_the_cell_says_so(settings: dict[str, Any], results: Path) -> None:
    settings["models"]["llava"]["kinds"] = ["open"]
    settings["benchmarks"] = {
        "mmvet": {
            "source": "hub",
            "asked": settings["benchmarks"]["scienceqa"]["asked"],
            "kind": "open",
            "scored": False,
        }
    }
    settings["benchmark_order"] = ["mmvet"]
    frame = records(settings, results)
    assert cell(frame, "himap")["n"] == 7
    assert cell(frame, "himap")["status"] == "not judged"
    assert all("not judged" in text for text in forms(frame, settings).values())


def test_verdicts_that_could_not_be_read_are_counted_in_a_note(settings: dict[str, Any], results: Path) -> None:
    settings["models"]["llava"]["kinds"] = ["open"]
    asked = settings["benchmarks"]["scienceqa"]["asked"]
    settings["benchmarks"] = {"mmvet": {"source": "hub", "asked": asked, "kind": "open", "scored": True}}
    settings["benchmark_order"] = ["mmvet"]
    for method, unreadable in (("vanilla", 0.0), ("himap", 3.0)):
        folder = results / "evaluation" / "llava" / "mmvet" / method
        scores = [None if n < unreadable else n / 100 for n in range(100)]
        write_parquet(
            folder / "per_sample.parquet", pd.DataFrame({"sample_id": [str(n) for n in range(100)], "score": scores})
        )
        score = {"headline": 50.0, "interval": [40.0, 60.0], "n": 100 - int(unreadable), "pictures": 100}
        write_json(folder / "score.json", {**score, "scores": {"unreadable": unreadable, "verdicts": 100.0}})
    frame = records(settings, results)
    note = "Verdicts of the judge that could not be read are left out: MM-Vet, llava, HiMAP <50%>: 3 of 100."
    assert cell(frame, "himap")["vs_vanilla"] == 0  # on the 97 answers that both have
    assert note in notes(settings, frame)
    from_csv = pd.read_csv(io.StringIO(forms(frame, settings)["csv"]))
    assert note in notes(settings, from_csv)  # as the report reads it
    assert "3 of 100 verdicts of the judge" in cell_part(from_csv.iloc[1])["detail"]


def test_answers_that_hold_other_line_separators_count_once(settings: dict[str, Any], results: Path) -> None:
    settings["models"]["llava"]["kinds"] = ["open"]
    settings["benchmarks"] = {
        "mmvet": {
            "source": "hub",
            "asked": settings["benchmarks"]["scienceqa"]["asked"],
            "kind": "open",
            "scored": False,
        }
    }
    settings["benchmark_order"] = ["mmvet"]
    rows = [{"sample_id": str(n), "prediction": "one\u2028two\x85three\u2029four\x0cfive"} for n in range(5)]
    write_jsonl(results / "evaluation/llava/mmvet/himap/predictions.jsonl", rows)
    assert cell(records(settings, results), "himap")["n"] == 5


def test_the_four_forms_show_the_same_numbers(settings: dict[str, Any], results: Path) -> None:
    frame = records(settings, results)
    made = forms(frame, settings)
    for text in (made["md"], made["html"]):
        assert "70.0 [62.0, 78.0]" in text
        assert "68.3 (+1.7)" in text
        assert "p = 0.002" in text
    again = pd.read_csv(io.StringIO(made["csv"]))
    assert again.loc[1, "ours"] == 70.0
    assert r"HiMAP $<$50\%$>$ & 0.75 & 25.0 & 70.0$^{*}$ \\" in made["tex"]
    assert not re.search(r"62\.0|68\.3", made["tex"])
    tex = forms(frame, settings | {"latex_rows": ["interval", "paper"]})["tex"]
    assert r" &  &  & \scriptsize [62.0, 78.0] \\" in tex
    assert r"\scriptsize \quad paper & \scriptsize 0.73 & \scriptsize 24 & \scriptsize 68.3 (+1.7) \\" in tex


def test_where_a_schedule_differs_with_the_kind_of_task_each_cost_is_named(
    settings: dict[str, Any], results: Path
) -> None:
    settings["models"]["llava"]["kinds"] = ["qa", "open"]
    settings["benchmarks"]["mmvet"] = {
        "source": "hub",
        "asked": settings["benchmarks"]["scienceqa"]["asked"],
        "kind": "open",
        "scored": False,
    }
    settings["benchmark_order"] = ["scienceqa", "mmvet"]
    assert all("(questions)" not in text for text in forms(records(settings, results), settings).values())
    path = results / "flops" / "llava" / "open" / "himap.csv"
    pd.read_csv(path).assign(flops=1.5e12, ratio=0.5).to_csv(path, index=False)
    made = forms(records(settings, results), settings)
    assert "25.0 % (questions, paper 24 %); 50.0 % (open answers, paper 34 %)" in made["md"]
    assert "0.75 (questions, paper 0.73); 1.50 (open answers)" in made["html"]
    assert "HiMAP $<$50\\%$>$ & 0.75 / 1.50 & 25.0 / 50.0 &" in made["tex"]
    assert r"Cost and share: questions / open answers.\par" in made["tex"]


def test_values_from_another_of_the_papers_tables_say_so(settings: dict[str, Any], results: Path) -> None:
    line = "The paper's values of Vanilla, HiMAP <50%> are from its Table 1."
    assert line not in forms(records(settings, results), settings)["md"]
    settings["name"] = "ablation_stages"
    assert line in forms(records(settings, results), settings)["md"]


def test_text_is_escaped_in_each_form(settings: dict[str, Any], results: Path) -> None:
    made = forms(records(settings, results), settings)
    assert "HiMAP &lt;50%&gt;" in made["html"]
    assert "<50%>" not in made["html"]
    assert r"HiMAP $<$50\%$>$" in made["tex"]
    assert r"a test \& more" in made["tex"]


@pytest.mark.parametrize("extra", [[], ["interval"], ["interval", "paper"]])
def test_latex_is_a_table_that_a_paper_can_take_in(
    settings: dict[str, Any], results: Path, tmp_path: Path, extra: list[str]
) -> None:
    settings["title"] = r"Odd ~ signs ^ here: \input{x} 50 % − α"
    text = forms(records(settings, results), settings | {"latex_rows": extra})["tex"]
    assert faults_of(text) == []
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{@{}lrrr@{}}"):
        assert word in text
    program = shutil.which("tectonic") or shutil.which("pdflatex")
    if program:  # the parser above stands alone where no TeX is installed
        document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + text + "\\end{document}\n"
        (tmp_path / "paper.tex").write_text(document)
        options = [] if "tectonic" in program else ["-interaction=nonstopmode", "-halt-on-error"]
        done = subprocess.run([program, *options, "paper.tex"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


def faults_of(text: str) -> list[str]:
    """Return what a TeX program would stop at: open groups, unknown commands and signs, rows of another width."""
    known = (
        "begin|end|centering|caption|label|toprule|midrule|bottomrule|multicolumn|textit|footnotesize|scriptsize|quad|par|smallskip"
        "|raggedright|textasciitilde|textasciicircum|textbackslash"
    )
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    faults = [f"unknown command {name}" for name in re.findall(r"\\([a-zA-Z]+)", body) if not re.fullmatch(known, name)]
    faults += [f"unknown sign {sign!r}" for sign in sorted(set(body) - set(map(chr, range(32, 127))) - {"\n"})]
    bare = re.sub(r"\\[\\&%_#${}]", "", body)
    faults += ["a group is open"] if bare.count("{") != bare.count("}") or bare.count("$") % 2 else []
    faults += [f"bare {sign}" for sign in re.findall(r"[%#_~]", bare)]
    faults += ["a power outside of mathematics"] if "^" in re.sub(r"\$[^$]*\$", "", bare) else []
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", body)
    stack: list[str] = []
    for what, name in opened:
        if what == "begin":
            stack.append(name)
        elif not stack or stack.pop() != name:
            faults.append(f"{name} is not open")
    faults += [f"{name} is not closed" for name in stack]
    columns = len(re.search(r"begin\{tabular\}\{@\{\}(\w+)@\{\}\}", body)[1])  # type: ignore[index]
    for line in (line for line in body.splitlines() if line.endswith(r"\\")):
        spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
        width = 1 + spanned + line.replace(r"\&", "").count("&")
        faults += [f"{width} columns in: {line}"] if width != columns else []
    return faults


def test_html_needs_nothing_else(settings: dict[str, Any], results: Path) -> None:
    page = forms(records(settings, results), settings)["html"]
    assert "http" not in page
    assert "src=" not in page
    assert page.count("<th scope=") >= 3
