"""A checkpoint of random weights rehearses a published one: the same layout and sizes, with tokens that add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from chat_families import picture
from himap.decoder.layout import Layout
from himap.models import families
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.models.sizes import checkpoint_dims
from himap.tools import random_checkpoint, rehearsal
from himap.tools.true_sizes import FAMILIES, MODELS

PARAMETERS = {  # of the published checkpoints, in millions, from their cards
    "smolvlm2-256m": 256, "smolvlm2-500m": 507, "smolvlm2-2.2b": 2247, "qwen2.5-vl-3b": 3755, "qwen2.5-vl-7b": 8292,
    "qwen3-vl-2b": 2128, "qwen3-vl-4b": 4438, "qwen3-vl-8b": 8767, "internvl3-1b": 938, "internvl3-2b": 2089,
    "internvl3-8b": 7944, "llava-next-7b": 7063, "llava-next-mistral-7b": 7567, "gemma-3-4b": 4300, "idefics-9b": 8930,
    "llama-3.2-11b-vision": 10670, "instructblip-vicuna-7b": 7914,
}  # fmt: skip
SMALL_TEXT = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
SMALL_TOWER = {
    "smolvlm": {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "qwen2_5_vl": {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64},
    "qwen3_vl": {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64,
        "deepstack_visual_indexes": [0],
    },
    "internvl3": {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "llava_next": {
        "model_type": "clip_vision_model", "hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 336, "patch_size": 14,
    },
    "gemma3": {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "idefics": {"embed_dim": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "mllama": {
        "hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_global_layers": 1, "attention_heads": 2,
        "intermediate_layers_indices": [0], "vision_output_dim": 48, "image_size": 560,
    },
    "instructblip": {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
}  # fmt: skip


def shrunk(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """A model's config with few and narrow layers and few words, and as many tokens per picture as at its true size."""
    made = json.loads(json.dumps(config))
    text = made.get("text_config", made)
    text |= SMALL_TEXT | {"num_hidden_layers": 8, "vocab_size": 600}
    if "head_dim" in text:
        text["head_dim"] = 16
    if "mrope_section" in text.get("rope_parameters", {}):
        text["rope_parameters"]["mrope_section"] = [4, 2, 2]
    if family == "mllama":
        text |= {"cross_attention_layers": [2, 5], "pad_token_id": 0}
    if family == "instructblip":
        made["qformer_config"] |= {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
    if family == "idefics":
        del text["num_key_value_heads"]
        made["perceiver_config"] |= {"resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8}
    made.setdefault("vision_config", {}).update(SMALL_TOWER[family])
    return made


def test_every_family_of_transformers_has_a_recipe() -> None:
    native = families.CHAT_TEMPLATE | families.CROSS | {"instructblip"}
    assert FAMILIES.keys() == native
    assert {family for family, _, _ in MODELS.values()} == native


@pytest.mark.parametrize("name", MODELS)
def test_its_config_has_as_many_parameters_as_the_published_checkpoint(name: str) -> None:
    family, config, _ = MODELS[name]
    model_class = getattr(transformers, FAMILIES[family].architecture)
    with torch.device("meta"):
        module = model_class(model_class.config_class(**config))
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(
        PARAMETERS[name], rel=0.005
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_loads_with_the_marks_of_its_family(family: str, tmp_path: Path) -> None:
    _, config, images = next(model for model in MODELS.values() if model[0] == family)
    random_checkpoint.write(tmp_path, family, shrunk(family, config), images, dtype="float32")
    model = load(tmp_path)
    assert model.family == family
    # The typical picture is that of a rehearsal.
    published = {"vision_config": {}} | config | {"model_type": read_type(tmp_path)}
    assert model.dims.tokens_per_image == checkpoint_dims(published).tokens_per_image
    ids = model.tokenize(Prompt("What?"), [Layout.square(4)])
    assert ids.count(model.image_token_id) == (1 if model.spans else 4)
    assert model.preprocess([picture(0)])


def test_weights_cut_from_one_block_fill_every_matrix_with_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_checkpoint, "BLOCK", 1009)
    made = []
    for seed in (1, 1, 2):
        module = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.Linear(48, 16)).to_empty(device="cpu")
        random_checkpoint.draw(module, seed)
        made.append(torch.cat([weight.flatten() for weight in module.parameters()]))
    assert len(module[0].weight.unique(dim=0)) == 48
    assert float(made[0].detach().std()) == pytest.approx(0.02, rel=0.1)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("name", ["idefics-9b", "instructblip-vicuna-7b", "llama-3.2-11b-vision"])
def test_a_rehearsal_counts_the_operations_of_the_formula(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    family, config, images = MODELS[name]
    monkeypatch.setitem(MODELS, name, (family, shrunk(family, config), images))
    monkeypatch.setattr(rehearsal, "ROUNDS", 1)
    random_checkpoint.main(["--like", name, "--out", str(tmp_path / "checkpoint"), "--measure"])
    measured = json.loads(capsys.readouterr().out)
    for run in measured["prefill"].values():
        assert run["tflops_counted"] == pytest.approx(run["tflops_formula"])
    assert measured["prefill"]["himap"]["tflops_counted"] < measured["prefill"]["vanilla"]["tflops_counted"]


def read_type(folder: Path) -> str:
    """The model type in a written config."""
    return str(json.loads((folder / "config.json").read_text())["model_type"])
