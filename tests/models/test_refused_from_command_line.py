"""A spoiled checkpoint, seen by a user of ./reproduce: its jobs fail with the tensors named, and no answer of random weights is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_weights import DEEPER, change_config, change_weights, one_less, one_more, one_nan
from world import ROOT, World, make_questions

QUERIES = "layers.0.self_attn.q_proj.weight"


def deeper(folder: Path) -> None:
    """A config that names one layer more than there are weights."""
    change_config(folder, DEEPER)


def index_outside(folder: Path) -> None:
    """No weights but an index that names those in the next folder."""
    (folder / "model.safetensors").unlink()
    weight_map = {"a": "../mini/model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "less": (lambda folder: change_weights(folder, one_less), "lacks 1 tensor: model.vision_tower."),
    "more": (lambda folder: change_weights(folder, one_more), "holds 1 tensor that the model of its config.json does not"),
    "nan": (lambda folder: change_weights(folder, one_nan), "with values that are not finite (NaN or infinite)"),
    "deeper": (deeper, "lacks 9 tensors: model.language_model.layers.12."),
    "elsewhere": (index_outside, "../mini/model.safetensors"),
}  # fmt: skip


@pytest.mark.slow
def test_of_six_spoiled_checkpoints_none_answers_and_a_whole_one_beside_them_does(
    tmp_path: Path, ready: Callable[[str], Path]
) -> None:
    questions = make_questions(tmp_path / "questions.parquet", 6)
    world = World(tmp_path / "world", ROOT / "models" / "mini", questions, latency={}, grid={"benchmarks": []})
    reasons = {}
    for name, (spoil, reason) in SPOILED.items():
        shutil.copytree(world.model, world.folder / "models" / name)
        spoil(world.folder / "models" / name)
        reasons[name] = reason
    internvl = shutil.copytree(ready("internvl"), world.folder / "models" / "internvl")
    (internvl / "manifest.json").unlink()  # whose checksums would tell before the tensors do
    shard = min(internvl.glob("*.safetensors"))
    change_weights(
        internvl, lambda tensors: tensors.pop(next(key for key in tensors if key.endswith(QUERIES))), shard.name
    )
    reasons["internvl"] = f"lacks 1 tensor: model.language_model.{QUERIES}"
    world.config["models"] |= {name: {"path": f"models/{name}"} for name in reasons}
    world.config["methods"] = {"vanilla": {"title": "vanilla", "stages": []}}
    world.config["tables"]["table1"]["methods"] = world.config["latency"]["methods"] = ["vanilla"]
    world.write_config()

    answers = {name: f"results/evaluation/{name}/pope/vanilla/predictions.jsonl" for name in (*reasons, "mini")}
    done = world.run(*answers.values(), "--cores", "1")
    assert done.returncode == 1, done.stdout
    told = dict(re.findall(r"^FAILED \w+ \w+ +(\w+)(?: · pope)? .*\n +reason: error: (.*)", done.stdout, re.MULTILINE))
    for name, reason in reasons.items():
        assert f"models/{name}" in told[name]
        assert reason in told[name]
        assert not (world.folder / answers[name]).exists()
    assert len((world.folder / answers["mini"]).read_text().splitlines()) == 6
