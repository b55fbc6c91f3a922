"""Which jobs an edit makes stale: exactly those that use what was edited."""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from small_project import Project

pytestmark = pytest.mark.slow
ABOVE = {"tables/table1", "report.html"}  # made from every score


def answers(benchmark: str, method: str) -> set[str]:
    """The files of one evaluation."""
    folder = f"evaluation/mini/{benchmark}/{method}"
    return {f"{folder}/{name}" for name in ("predictions.jsonl", "score.json", "per_sample.parquet")}


def scores(benchmark: str, method: str) -> set[str]:
    """The scores of one evaluation."""
    return {name for name in answers(benchmark, method) if not name.endswith(".jsonl")}


def test_neither_how_jobs_run_nor_comments_times_or_a_fresh_copy_make_anything_stale(
    project: Project, tmp_path: Path
) -> None:
    """All of it in one project: what any of these made stale would be to be done."""

    def change(config: dict[str, Any]) -> None:
        config["models"]["mini"]["memory_gb"] = 5
        config["execution"] = {"batch_size": 3, "threads": 2, "runtime_minutes": 7}

    project.configure(change)
    for path in ("himap/decoder/loop.py", "himap/metrics/vqa.py", "evaluate_method.py", "himap/figures/figure6.py"):
        project.edit(
            f"workflow_scripts/{path}", lambda text: text.replace('"""', '"""Reworded. ', 1) + "\n# a remark\n"
        )
    for path in project.folder.rglob("*"):
        if path.is_file() and not {"results", ".snakemake"} & set(path.relative_to(project.folder).parts):
            path.touch()
    told = project.call("-n")
    assert "Nothing to be done" in told.stdout, told.stdout
    # Every job counts as done, also those whose temporary file Snakemake has deleted.
    assert re.search(r"\] (\d+)/\1 jobs$", project.call("status").stdout.strip())
    # Nor does a start look for them with a Snakemake of its own, which would double the time of a run with nothing to do.
    logs = project.folder / ".snakemake/log"
    before = len(list(logs.iterdir()))
    project.call()
    assert len(list(logs.iterdir())) == before + 1
    shutil.copytree(project.folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    (tmp_path / "elsewhere" / "reproduce").chmod(0o755)
    assert Project(tmp_path / "elsewhere").stale() == set()


def test_an_edit_of_the_deep_stage_reaches_what_is_made_with_it_and_nothing_else(project: Project) -> None:
    def change(config: dict[str, Any]) -> None:
        config["methods"]["himap"]["stages"][1]["keep"] = 0.25

    project.configure(change)
    expected = {"figures/data/figure7.csv", "figures/figure7", *ABOVE}
    for method in ("himap", "random"):  # `random` is himap's stages with another criterion
        expected |= {f"flops/mini/qa/{method}.csv"} | answers("vqav2", method) | answers("scienceqa", method)
    assert project.stale() == expected


def test_a_swapped_pair_of_values_is_noticed(project: Project) -> None:
    def change(config: dict[str, Any]) -> None:
        first, second = config["methods"]["himap"]["stages"]
        first["criterion"], second["criterion"] = second["criterion"], first["criterion"]

    project.configure(change)
    stale = project.stale()
    assert answers("vqav2", "himap") <= stale
    assert not any(fnmatch(file, "evaluation/*/random/*") or fnmatch(file, "evaluation/*/fastv/*") for file in stale)


def test_a_new_benchmark_runs_only_itself(project: Project) -> None:
    project.configure(lambda config: config["benchmarks"].update(aokvqa={"source": "mini", "limit": 5}))
    stale = project.stale()
    new = {file for file in stale if "aokvqa" in file}
    assert stale - new == ABOVE
    assert {"benchmarks/aokvqa/samples.parquet", "evaluation/mini/aokvqa/himap/score.json"} <= new


def test_a_new_method_measures_only_itself(project: Project) -> None:
    project.configure(lambda config: config["tables"]["table1"]["methods"].append("downsample"))
    new = {"flops/mini/qa/downsample.csv", *answers("vqav2", "downsample"), *answers("scienceqa", "downsample")}
    assert project.stale() == new | ABOVE


def test_shards_give_the_same_answers_and_no_part_of_another_cut_is_used(project: Project) -> None:
    predictions = project.folder / "results/evaluation/mini/vqav2/himap/predictions.jsonl"
    whole, methods = predictions.read_bytes(), ("vanilla", "fastv", "himap", "random")

    def cut(shards: int) -> None:
        project.configure(lambda config: config["benchmarks"]["vqav2"].update(shards=shards))

    def parts(shards: int) -> set[str]:
        names = [f"shard-{shard}-of-{shards}.jsonl" for shard in range(shards)] if shards > 1 else []
        return {f"evaluation/mini/vqav2/{method}/{name}" for method in methods for name in names}

    everything = set().union(*(answers("vqav2", method) for method in methods))
    cut(2)
    assert project.stale() == everything | parts(2) | ABOVE
    done = project.call(str(predictions.relative_to(project.folder)))
    assert done.returncode == 0, done.stdout[-3000:]
    assert predictions.read_bytes() == whole
    cut(3)
    assert project.stale() == everything | parts(3) | ABOVE
    cut(1)
    assert answers("vqav2", "himap") <= project.stale()  # its merged answers, by one job again


def test_a_new_kind_of_task_in_a_second_table_leaves_the_first_table_alone(project: Project) -> None:
    def change(config: dict[str, Any]) -> None:
        config["benchmarks"]["nocaps"] = {"source": "mini", "limit": 3}
        config["tables"]["table2"] = {"methods": ["vanilla", "himap"]}

    project.configure(change)
    stale = project.stale()
    new = {file for file in stale if "nocaps" in file}
    figure7 = {"figures/data/figure7.csv", "figures/figure7"}  # it has a panel for each kind
    flops = {f"flops/mini/caption/{method}.csv" for method in ("vanilla", "himap")}
    assert stale - new == {"tables/table2", "report.html", *flops, *figure7}
    assert answers("nocaps", "himap") <= new


def test_a_benchmark_more_under_disruption_reaches_its_figures_alone(project: Project) -> None:
    project.configure(lambda config: config["disruption"].update(benchmarks=["scienceqa", "vqav2"]))
    figures = {f"figures/{name}" for name in ("data/figure5.csv", "data/figure6.csv", "figure5", "figure6")}
    assert project.stale() == {"disruption/mini/vqav2/layers-0-1.parquet", "report.html", *figures}


def test_a_changed_scorer_reaches_its_scores_and_what_is_above(project: Project) -> None:
    project.edit("workflow_scripts/himap/metrics/vqa.py", lambda text: text + "\nCHANGED = True\n")
    expected = set(ABOVE)
    for method in ("vanilla", "fastv", "himap", "random"):
        expected |= scores("vqav2", method)
    assert project.stale() == expected


def test_a_changed_score_in_a_benchmarks_own_file_does_not_ask_the_model_again(project: Project) -> None:
    project.edit(
        "workflow_scripts/himap/benchmarks/vqav2.py",
        lambda text: text.replace(
            "def headline(frame: Any) -> Any:\n", "def headline(frame: Any) -> Any:\n    frame = frame.copy()\n"
        ),
    )
    stale = project.stale()
    assert scores("vqav2", "himap") <= stale
    assert not any(file.endswith(".jsonl") or file.startswith("benchmarks/") for file in stale)


def test_a_changed_benchmark_of_the_embedded_world_is_drawn_again_and_no_other(project: Project) -> None:
    project.edit("workflow_scripts/himap/mini/benchmarks/vqav2.py", lambda text: text + "\nCHANGED = True\n")
    stale = project.stale()
    assert "mini-world/vqav2.parquet" in stale
    assert {"benchmarks/vqav2/samples.parquet"} | answers("vqav2", "himap") <= stale
    assert not any("scienceqa" in file for file in stale)


def test_a_changed_prompt_asks_that_benchmark_again(project: Project) -> None:
    project.edit(
        "workflow_scripts/himap/benchmarks/vqav2.py",
        lambda text: text.replace("question_then(SHORT_ANSWER)", "question_then(SHORT_ANSWER, ' ')"),
    )
    stale = project.stale()
    assert answers("vqav2", "himap") <= stale
    assert not any("scienceqa" in file or file.startswith("benchmarks/") for file in stale)


def test_a_changed_criterion_reaches_the_methods_that_use_it(project: Project) -> None:
    project.edit("workflow_scripts/himap/pruning/criteria/blind.py", lambda text: text + "\nCHANGED = True\n")
    stale = project.stale()
    assert answers("vqav2", "random") <= stale
    assert not any(fnmatch(file, "evaluation/*/himap/*") for file in stale)


def test_a_changed_model_family_reaches_all_that_asks_a_model(project: Project) -> None:
    project.edit("workflow_scripts/himap/models/families/llava.py", lambda text: text + "\nCHANGED = True\n")
    stale = project.stale()
    assert answers("vqav2", "vanilla") | answers("scienceqa", "himap") <= stale
    assert {"flops/mini/qa/himap.csv", "saliency/mini/scienceqa/saliency.parquet"} <= stale
    assert not any(file.startswith("benchmarks") for file in stale)


def test_the_style_of_a_plot_redraws_that_figure(project: Project) -> None:
    project.configure(lambda config: config.update(figures={"figure4": {"width": 9}}))
    assert project.stale() == {"figures/figure4", "report.html"}


def test_how_a_figure_is_drawn_redraws_that_figure_alone(project: Project) -> None:
    project.edit("workflow_scripts/himap/figures/figure6.py", lambda text: text.replace("Line(at=0.0)", "Line(at=0.5)"))
    assert project.stale() == {"figures/figure6", "report.html"}


def test_how_a_figures_numbers_are_computed_makes_that_figure_alone_anew(project: Project) -> None:
    project.edit(
        "workflow_scripts/himap/figures/figure6.py", lambda text: text.replace("bias = 1 - frame", "bias = 1.0 - frame")
    )
    assert project.stale() == {"figures/data/figure6.csv", "figures/figure6", "report.html"}


def test_a_figures_caption_reaches_the_page_alone(project: Project) -> None:
    project.edit("workflow_scripts/himap/figures/figure6.py", lambda text: text.replace("Below zero", "Under zero"))
    assert project.stale() == {"report.html"}


def test_more_layers_compute_only_the_new_ones(project: Project) -> None:
    project.configure(lambda config: config["disruption"].update(layers=[0, 1, 4]))
    stale = project.stale()
    assert {file for file in stale if file.startswith("disruption")} == {"disruption/mini/scienceqa/layers-4-5.parquet"}
    assert not any(file.startswith(("evaluation", "saliency")) for file in stale)


def test_a_seed_reaches_what_draws_with_it(project: Project) -> None:
    project.configure(lambda config: config.update(seed=1))
    stale = project.stale()
    evaluated = {file.split("/")[3] for file in stale if file.startswith("evaluation")}
    assert evaluated == {"random"}
    assert "disruption/mini/scienceqa/layers-0-1.parquet" in stale  # its control draws pairs
    assert not any(file.startswith(("saliency", "benchmarks", "flops")) for file in stale)
