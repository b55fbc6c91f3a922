"""What README and the templates tell a user to do is done in a copy of the project, exactly as printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "docs" / "templates"
PLACES = {  # where each template is copied to
    "criterion.py": "pruning/criteria/late_reading.py",
    "method.yaml": "pruning/methods/three_steps.yaml",
    "benchmark.py": "benchmarks/mine.py",
    "family.py": "models/families/vipllava.py",
}
USER = """
import json, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq, torch
import himap
from himap import benchmarks
from himap.workflow.config.load import load
from himap.experiments.answers import Question, answer_all
from himap.mini import benchmarks as world
from himap.models.families.vipllava import matches
from himap.workflow.plan.plan import Plan

import download_benchmark

folder = Path(sys.argv[1])
model, said = himap.load("models/mini"), {}

drawn = world.make("vqav2", samples=24)
rows = [{"id": str(n), "image": row["image"], "question": row["question"], "answers": [row["multiple_choice_answer"]]}
        for n, row in enumerate(drawn)]
pq.write_table(pa.Table.from_pylist(rows), "data/mine.parquet")
plan = Plan(load(json.loads((folder / "config.json").read_text())))
download_benchmark.main(["--benchmark", "mine", "--from-path", "data/mine.parquet",
                         "--out", str(folder / "samples.parquet"), "--manifest", str(folder / "manifest.json")])
mine = benchmarks.get("mine")
samples = list(benchmarks.read_samples(folder / "samples.parquet"))
questions = [Question(one.sample_id, one.images, mine.prompt(one, "llava")) for one in samples]

def text(method):
    found = answer_all(model, questions, method, max_new_tokens=mine.max_new_tokens("llava"))
    return {row["sample_id"]: row["prediction"] for row in found}

def score(answers):
    return benchmarks.score(mine, samples, answers).headline

def named(name):
    return plan.method("mini", "mine", name)

def scored(by):
    return {"stages": [{"layer": 3, "keep": 0.25, "criterion": by}], "image_grid": None, "rerank": False}

said["score"] = score(text(named("vanilla")))
said["template method"] = [len(kept) for kept in himap.generate(model, folder / "picture.png", "What is it?", method="three_steps").kept]
for criterion in ("late_reading", "brightest", "random"):
    said[criterion] = text(scored(criterion))
    said["score of " + criterion] = score(said[criterion])
for method in METHODS:
    said[method] = text(named(method))

from transformers import CLIPVisionConfig, VipLlavaConfig, VipLlavaForConditionalGeneration
small = json.loads(Path("models/mini/config.json").read_text())
said["mini is not of the new family"] = not matches(small)
vip = VipLlavaConfig(vision_config=CLIPVisionConfig(**small["vision_config"]), text_config=small["text_config"],
                     image_token_index=small["image_token_index"], vision_feature_layer=[-1, -2], tie_word_embeddings=True)
torch.manual_seed(0)
VipLlavaForConditionalGeneration(vip).save_pretrained(folder / "vip")
for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
    (folder / "vip" / name).write_bytes(Path("models/mini", name).read_bytes())
other = himap.load(folder / "vip")
said["family"] = other.embed_tokens.__class__.__name__, other.tokenize.__module__, other.dims.tokens_per_image
kept = himap.generate(other, folder / "picture.png", "What is it?", method="three_steps", max_new_tokens=2).kept
said["family keeps"] = [len(one) for one in kept]
print("SAID " + json.dumps(said))
"""


def readme_blocks() -> list[str]:
    """The indented blocks of README's section on adding to the project."""
    section = (ROOT / "README.md").read_text().partition("## Adding to it")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def yaml_blocks() -> list[dict[str, Any]]:
    """Those that belong into the config."""
    return [yaml.safe_load(block) for block in readme_blocks() if not block.startswith("from ")]


def methods() -> list[str]:
    """The methods that README adds."""
    return [name for block in yaml_blocks() for name in block.get("methods", {})]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a user sees who copied all four templates and README's criterion, and put README's entries into the config."""
    folder = tmp_path_factory.mktemp("recipes")
    project = folder / "project"
    shutil.copytree(
        ROOT / "workflow_scripts", project / "workflow_scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder_of_the_user in ("models", "data"):
        (project / folder_of_the_user).mkdir()
    for link, target in {
        "Snakefile": "Snakefile",
        "rules": "rules",
        "models/mini": "models/mini",
        "models/my-llava": "models/mini",
    }.items():
        (project / link).symlink_to(ROOT / target)
    library = project / "workflow_scripts" / "himap"
    for template, place in PLACES.items():
        shutil.copy(TEMPLATES / template, library / place)
    (criterion,) = (block for block in readme_blocks() if block.startswith("from "))
    (library / "pruning" / "criteria" / "brightest.py").write_text(criterion)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for block in yaml_blocks():
        config |= {key: config.get(key, {}) | part for key, part in block.items()}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(ROOT / "docs/images/frontier.png", folder / "picture.png")
    (folder / "user.py").write_text(USER.replace("METHODS", repr(methods())))
    done = subprocess.run(
        [sys.executable, folder / "user.py", folder],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "workflow_scripts")},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.partition("SAID ")[2])


def test_every_template_is_used_by_a_test_and_named_in_the_guide() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == set(PLACES)
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in PLACES if f"docs/templates/{name}" not in guide] == []


def test_the_criterion_template_ranks_image_tokens_better_than_chance(said: dict[str, Any]) -> None:
    assert said["score of late_reading"] > said["score of random"] + 10


def test_the_method_template_drops_the_shares_it_names(said: dict[str, Any]) -> None:
    stages = yaml.safe_load((TEMPLATES / "method.yaml").read_text())["stages"]["qa"]
    assert said["template method"] == [round(stage["keep"] * 144) for stage in stages]


def test_the_benchmark_template_reads_local_rows_and_scores_the_mini_model(said: dict[str, Any]) -> None:
    assert said["score"] > 60


def test_the_family_template_loads_a_checkpoint_and_prunes_it(said: dict[str, Any]) -> None:
    assert said["mini is not of the new family"]
    assert said["family"][1:] == ["himap.models.families.vipllava", 144]
    assert said["family keeps"] == said["template method"]


def test_readmes_methods_differ_in_their_answers(said: dict[str, Any]) -> None:
    first, second = methods()
    differing = [key for key in said[first] if said[first][key] != said[second][key]]
    assert len(differing) >= 6, f"only {len(differing)} of 24 answers differ between {first} and {second}"


def test_readmes_criterion_ranks_otherwise_than_chance(said: dict[str, Any]) -> None:
    assert said["brightest"] != said["random"]
