"""Whatever is added is one file: the templates, and README's examples, put into one copy of the project and run once."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from himap.decoder.bitmaps import unpacked
from himap.files import write_parquet
from small_project import Project, copy_project

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "docs" / "templates"
PLACES = {  # where each template is copied to
    "criterion.py": "pruning/criteria/late_reading.py",
    "method.yaml": "pruning/methods/three_steps.yaml",
    "benchmark.py": "benchmarks/mine.py",
    "family.py": "models/families/vipllava.py",
    "figure.py": "figures/scores.py",
    "table.yaml": "tables/builtin/my_table.yaml",
}
ADDED = {  # entries of the config beside README's: they name what the files added, no other file knows it
    "models": {"vip": {"path": "models/vip", "family": "vipllava"}},
    "methods": {
        "late": {"stages": [{"layer": 3, "keep": 0.25, "criterion": "late_reading"}]},
        "bright": {"like": "late", "criterion": "brightest"},
    },
    "tables": {
        "my_table": {
            "methods": ["vanilla", "three_steps", "late", "bright", "early", "early_random"],
            "models": ["mini"],
        },
        "table1": {"models": ["mini"]},
        "of_the_family": {
            "title": "New family",
            "benchmarks": ["mine"],
            "methods": ["vanilla", "three_steps"],
            "models": ["vip"],
        },
    },
}
SAMPLES = 24


def readme_blocks() -> list[str]:
    """The indented blocks of README's section on adding to the project."""
    section = (ROOT / "README.md").read_text().partition("## Adding to it")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def add_files(project: Project) -> None:
    """Copy each template to its place, and README's criterion, as a user would."""
    library = project.folder / "workflow_scripts" / "himap"
    for template, place in PLACES.items():
        shutil.copy(TEMPLATES / template, library / place)
    (criterion,) = (block for block in readme_blocks() if block.startswith("from "))
    (library / "pruning" / "criteria" / "brightest.py").write_text(criterion)


def add_data(project: Project) -> None:
    """Write rows for the benchmark, a random checkpoint of the new family, and the model that README names."""
    import pyarrow as pa
    import torch
    from himap.mini import benchmarks as world
    from transformers import CLIPVisionConfig, VipLlavaConfig, VipLlavaForConditionalGeneration

    rows = [
        {"id": str(n), "image": row["image"], "question": row["question"], "answers": [row["multiple_choice_answer"]]}
        for n, row in enumerate(world.make("vqav2", samples=SAMPLES))
    ]
    write_parquet(project.folder / "data" / "mine.parquet", pa.Table.from_pylist(rows))
    models = project.folder / "models"
    (models / "my-llava").symlink_to("mini")
    mini = json.loads((models / "mini/config.json").read_text())
    vision = CLIPVisionConfig(**mini["vision_config"])
    sizes = {"text_config": mini["text_config"], "image_token_index": mini["image_token_index"]}
    torch.manual_seed(0)
    vip = VipLlavaConfig(vision_config=vision, **sizes, vision_feature_layer=[-1, -2], tie_word_embeddings=True)
    VipLlavaForConditionalGeneration(vip).save_pretrained(models / "vip")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        shutil.copy(models / "mini" / name, models / "vip" / name)


def add_entries(config: dict[str, Any]) -> None:
    """Lay README's entries and those above over a config without any other benchmark or table."""
    config |= {"benchmarks": {}, "tables": {}}
    readme = [yaml.safe_load(block) for block in readme_blocks() if not block.startswith("from ")]
    for entries in (*readme, ADDED):
        for part, named in entries.items():
            for name, entry in named.items():
                config[part][name] = config[part].get(name, {}) | entry
    for analysis in ("saliency", "disruption"):
        config[analysis] = {"benchmarks": []}


@dataclass
class Run:
    """What a run left."""

    results: Path
    said: str

    @cached_property
    def scores(self) -> dict[str, float]:
        """The scores of the table by method."""
        table = pd.read_csv(self.results / "tables/my_table.csv")
        assert set(table["benchmark"]) == {"mine"}
        return dict(zip(table["method"], table["ours"], strict=True))

    def answers(self, method: str, model: str = "mini") -> list[dict[str, Any]]:
        """The rows of an evaluation."""
        path = self.results / "evaluation" / model / "mine" / method / "predictions.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def kept(self, method: str, model: str = "mini") -> list[int]:
        """How many image tokens each stage leaves."""
        return [int(unpacked([stage], 144).sum()) for stage in self.answers(method, model)[0]["kept"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of a copy of the project with all of it added."""
    project = copy_project(tmp_path_factory.mktemp("one_file") / "project")
    add_files(project)
    add_data(project)
    project.configure(add_entries)
    done = project.call("my_table", "of_the_family", "scores")
    assert done.returncode == 0, done.stdout[-5000:]
    return Run(project.folder / "results", done.stdout)


def test_every_template_is_named_in_the_guide_and_those_of_this_file_are_there() -> None:
    templates = {path.name for path in TEMPLATES.iterdir()}
    assert set(PLACES) <= templates
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in sorted(templates) if f"docs/templates/{name}" not in guide] == []
    for place in PLACES.values():
        assert f"workflow_scripts/himap/{Path(place).parent}/" in guide


@pytest.mark.slow
def test_a_benchmark_is_one_file_and_the_mini_model_answers_it(run: Run) -> None:
    assert len(run.answers("vanilla")) == SAMPLES
    assert run.scores["vanilla"] > 60


@pytest.mark.slow
def test_a_method_is_one_file_and_drops_the_shares_it_names(run: Run) -> None:
    stages = yaml.safe_load((TEMPLATES / "method.yaml").read_text())["stages"]["qa"]
    assert run.kept("three_steps") == [round(stage["keep"] * 144) for stage in stages]


@pytest.mark.slow
def test_a_criterion_is_one_file_and_ranks_image_tokens_better_than_chance(run: Run) -> None:
    assert run.scores["late"] > run.scores["early_random"] + 10
    assert run.answers("bright") != run.answers("early_random")  # README's own criterion


@pytest.mark.slow
def test_a_family_is_one_file_and_its_checkpoints_are_pruned_like_any_other(run: Run) -> None:
    assert run.kept("three_steps", "vip") == run.kept("three_steps")
    table = pd.read_csv(run.results / "tables/of_the_family.csv")
    assert list(table["model"]) == ["vip", "vip"]
    assert table["n"].tolist() == [SAMPLES, SAMPLES]


@pytest.mark.slow
def test_a_table_is_one_file_and_the_config_replaces_it_key_by_key(run: Run) -> None:
    template = yaml.safe_load((TEMPLATES / "table.yaml").read_text())
    assert set(template["methods"]) < set(run.scores)
    assert template["title"] in (run.results / "tables/my_table.md").read_text()


@pytest.mark.slow
def test_a_figure_is_one_file_and_draws_what_its_table_holds(run: Run) -> None:
    scores = pd.read_csv(run.results / "tables/table1.csv")["ours"].dropna()
    assert scores.size
    assert (run.results / "figures/scores.png").stat().st_size > 5000
    assert pd.read_csv(run.results / "figures/data/scores.csv")["ours"].tolist() == scores.tolist()


@pytest.mark.slow
def test_readmes_methods_differ_in_their_answers(run: Run) -> None:
    pairs = zip(run.answers("early"), run.answers("early_random"), strict=True)
    differing = sum(first["prediction"] != second["prediction"] for first, second in pairs)
    assert differing >= 6, f"only {differing} of {SAMPLES} answers differ"
