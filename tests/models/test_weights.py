"""A checkpoint is loaded whole or not at all: tensors, shapes, finite values, weight index, and a decoder that the loop can run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint
import originals
import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.models.loading import load
from safetensors.torch import load_file, save_file
from warm import run_script

ROOT = Path(__file__).parents[2]
DEEPER = {"text_config": {"num_hidden_layers": 13}}
SHALLOWER = {"text_config": {"num_hidden_layers": 11}}
QUERIES = "language_model.model.layers.3.self_attn.q_proj.weight"
TOWER = "vision_tower.encoder.layers.1.mlp.fc1.weight"


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A copy of the embedded model that a test may spoil."""
    shutil.copytree(ROOT / "models" / "mini", tmp_path / "mini")
    return tmp_path / "mini"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], name: str = "") -> None:
    """Change the tensors of one file in place."""
    path = folder / (name or "model.safetensors")
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def change_config(folder: Path, changes: dict[str, Any]) -> None:
    """Change values in config.json, one table deep."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(config))


def refused(folder: Path, **options: Any) -> str:
    """Return the one line with which a folder is refused."""
    with pytest.raises(ValueError) as error:
        load(folder, **options)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.slow
def test_a_user_who_evaluates_a_model_without_one_tensor_is_told_so_and_gets_no_answers(
    mini: Path, tmp_path: Path
) -> None:
    change_weights(mini, lambda tensors: tensors.pop(QUERIES))
    samples = checkpoint.write_samples(tmp_path / "samples.parquet", 2)
    done = run_script(
        "evaluate_method.py", "--model", mini, "--benchmark", "scienceqa", "--samples", samples, "--device", "cpu",
        "--method", '{"name": "vanilla"}', "--settings", '{"dtype": "float32"}', "--out", tmp_path / "out.jsonl",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {mini}: the checkpoint lacks 1 tensor: model.language_model.layers.3.self_attn.q_proj.weight; download "
        "or convert the checkpoint again, and see that config.json is the one published with these weights"
    )
    assert "LOAD REPORT" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def one_less(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[TOWER]


def one_more(tensors: dict[str, torch.Tensor]) -> None:
    tensors["language_model.model.layers.3.self_attn.q_proj.bias"] = torch.zeros(128)


def another_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[QUERIES] = torch.zeros(64, 128)


def one_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[QUERIES][5, 7] = float("nan")


def one_infinite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[TOWER][5, 7] = -float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_less, "lacks 1 tensor: model.vision_tower.encoder.layers.1.mlp.fc1.weight"),
        (one_more, "holds 1 tensor that the model of its config.json does not have: "),
        (another_shape, "q_proj.weight has shape (64, 128) but config.json makes it (128, 128)"),
        (one_nan, "holds 1 tensor with values that are not finite"),
        (one_infinite, "fc1.weight"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_weights_that_do_not_fit_or_are_no_numbers_are_refused(
    change: Callable[..., None], message: str, mini: Path
) -> None:
    change_weights(mini, change)
    assert message in refused(mini)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (DEEPER, "lacks 9 tensors: model.language_model.layers.12.input_layernorm.weight, "),
        (SHALLOWER, "holds 9 tensors that the model of its config.json does not have: "),
        ({"text_config": {"intermediate_size": 336}}, "holds 36 tensors of another shape: "),
        ({"vision_config": {"num_hidden_layers": 4}}, "lacks 16 tensors: model.vision_tower.encoder.layers.3."),
    ],
)
def test_a_config_of_another_size_than_the_weights_is_refused(
    changes: dict[str, Any], message: str, mini: Path
) -> None:
    change_config(mini, changes)
    assert message in refused(mini)


def test_a_value_beyond_float16_is_refused_there_and_loaded_elsewhere(mini: Path) -> None:
    change_weights(mini, lambda tensors: tensors[QUERIES].fill_(70000.0))
    assert "as torch.float16" in (line := refused(mini, dtype="float16"))
    assert "load it as bfloat16" in line
    load(mini, dtype="bfloat16")


@pytest.mark.parametrize("name", ["llava", "internvl"])
@pytest.mark.parametrize("change", ["less", "more", "nan"])
def test_converted_checkpoints_are_held_to_the_same(
    name: str, change: str, ready: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(ready(name), tmp_path / name)
    file = sorted((tmp_path / name).glob("*.safetensors"))[0]
    weight = next(key for key in load_file(file) if key.endswith("layers.0.self_attn.q_proj.weight"))
    changes: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
        "less": lambda tensors: tensors.pop(weight),
        "more": lambda tensors: tensors.update({"language_model.model.layers.7.mlp.up_proj.weight": torch.zeros(2)}),
        "nan": lambda tensors: tensors[weight].view(-1)[3:4].fill_(float("nan")),
    }
    change_weights(tmp_path / name, changes[change], file.name)
    assert {"less": "lacks 1 tensor: ", "more": "holds 1 tensor that", "nan": "not finite"}[change] in refused(
        tmp_path / name
    )


def test_qwen_with_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = originals.write_qwen_vl(tmp_path / "qwen")
    file = sorted(folder.glob("*.bin"))[0]
    tensors = torch.load(file, weights_only=True)
    name = next(name for name in tensors if name.endswith("c_attn.weight"))
    tensors[name][0, 0] = float("inf")
    torch.save(tensors, file)
    assert f"not finite (NaN or infinite) as torch.float32: {name}" in refused(folder)


def test_what_old_versions_saved_and_nothing_reads_is_loaded(mini: Path) -> None:
    """Rotary frequencies per layer, CLIP's position numbers, a head tied to the embedding: all in published checkpoints."""
    clean = load(mini)

    def add(tensors: dict[str, torch.Tensor]) -> None:
        for layer in range(12):
            tensors[f"language_model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
        tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(145)[None]
        tensors["language_model.lm_head.weight"] = tensors["language_model.model.embed_tokens.weight"].clone()

    change_weights(mini, add)
    same = dict(load(mini).module.state_dict())
    assert all(torch.equal(tensor, same[name]) for name, tensor in clean.module.state_dict().items())


def test_what_qwens_authors_ignore_is_loaded(tmp_path: Path) -> None:
    folder = originals.write_qwen_vl(tmp_path / "qwen")
    file = sorted(folder.glob("*.bin"))[0]
    extras = {"transformer.rotary_emb.inv_freq": torch.ones(16), "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    torch.save(torch.load(file, weights_only=True) | extras, file)
    load(folder)


# ---------------------------------------------------------------- the weight index


def outside(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    return "../elsewhere.safetensors"


def absolute(folder: Path) -> str:
    return str(folder.parent / outside(folder)[3:])


def linked(folder: Path) -> str:
    (folder / "part.safetensors").symlink_to(folder / outside(folder))
    return "part.safetensors"


def pickled(folder: Path) -> str:
    torch.save(load_file(folder / "model.safetensors"), folder / "part.bin")
    (folder / "model.safetensors").unlink()
    return "part.bin"


@pytest.mark.parametrize("spoil", [outside, absolute, linked, pickled], ids=lambda function: function.__name__)
@pytest.mark.parametrize("family", ["llava", "internvl", "qwen_vl"])
def test_an_index_of_files_elsewhere_or_of_another_kind_is_refused_by_every_family(
    spoil: Callable[[Path], str], family: str, mini: Path, tmp_path: Path
) -> None:
    """The configs are those of the family; the weights are never reached."""
    if family == "internvl":
        change_config(mini, {"vision_config": {"model_type": "internvl_vision"}})
    if family == "qwen_vl":
        whole = originals.write_qwen_vl(tmp_path / "qwen")
        shutil.copy(whole / "config.json", mini / "config.json")
    name = spoil(mini)
    weight_map = dict.fromkeys(["a", "b"], name)
    (mini / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "it is not opened" in (line := refused(mini))
    assert name in line


def test_a_hub_cache_of_links_into_its_own_blobs_is_loaded(mini: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    shutil.copytree(mini, snapshot)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(tmp_path / "models--a--b" / "blobs" / "feed")
    (snapshot / "model.safetensors").symlink_to("../../blobs/feed")
    load(snapshot)


def test_fetching_a_folder_refuses_what_its_index_may_not_name(mini: Path, tmp_path: Path) -> None:
    (mini / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": linked(mini)}}))
    done = run_script("fetch_model.py", "--path", mini, "--out", tmp_path / "manifest.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "part.safetensors is a link to" in done.stderr
    assert not (tmp_path / "manifest.json").exists()


# ---------------------------------------------------------------- decoders


SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "head_dim": 8,
    "num_key_value_heads": 2, "vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
IMAGE = 96
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def write_decoder(folder: Path, kind: str, changes: dict[str, Any]) -> Any:
    """Save a tiny random LLaVA around a decoder of transformers; return transformers' own model of it."""
    import transformers

    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = getattr(transformers, f"{kind}Config")(**{**SIZES, **changes})
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    torch.manual_seed(0)
    module = transformers.LlavaForConditionalGeneration(config).eval()
    for weight in module.parameters():  # far from what initialization gives: biases and norms count
        spread = 1.3 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.2
        weight.data.copy_(torch.randn_like(weight) * spread + (weight.ndim == 1) * weight)
    module.save_pretrained(folder)
    return module


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {}), ("Llama", {"attention_bias": True, "mlp_bias": True}), ("Llama", {"hidden_act": "gelu"}),
        ("Llama", {"rope_parameters": LLAMA3}), ("Mistral", {"sliding_window": None}),
        ("Mistral", {"sliding_window": 64}), ("Qwen2", {}),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 6}), ("Qwen3", {}),
        ("Gemma", {}), ("Granite", {"attention_multiplier": 0.3}), ("Olmo", {}), ("Starcoder2", {}),
    ],
)  # fmt: skip
def test_a_decoder_that_is_loaded_gives_the_logits_of_transformers(
    kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    native = write_decoder(tmp_path / "model", kind, changes)
    model = load(tmp_path / "model")
    ids = [3, 4, 5, *[IMAGE] * 16, *range(6, 30)]
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    rows = model.embed([ids], [model.encode_images(pixels)])
    with torch.no_grad():
        expected = native(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
        logits = next_token_logits(model, forward(model, rows, Cache()))[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("Mistral", {"sliding_window": 4}, "sliding_window = 4 (set it to null if no prompt is longer"),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}, "sliding_window = 4"),
        ("Gemma2", {}, "attn_logit_softcapping = 50.0, final_logit_softcapping = 30.0"),
        ("Gemma3Text", {}, "separate rope_parameters for each type of layer"),
        ("Granite", {"residual_multiplier": 0.3}, "residual_multiplier = 0.3"),
        ("Granite", {"embedding_multiplier": 12.0}, "embedding_multiplier = 12.0"),
        ("Granite", {"logits_scaling": 8.0}, "logits_scaling = 8.0"),
        ("Olmo", {"clip_qkv": 0.5}, "clip_qkv = 0.5"),
        ("Olmo2", {}, "layer 0 has no input_layernorm"),
        ("Cohere", {"logit_scale": 1.0}, "layer 0 has no post_attention_layernorm"),
        ("Glm", {}, "partial_rotary_factor = 0.5"),
        ("SmolLM3", {}, "no_rope_layers = [1, 1, 1, 0, 1, 1]"),
        ("HunYuanDenseV1", {}, "the attention of layer 0 has key_layernorm, query_layernorm"),
        ("Helium", {}, "computes something different from the layers that this project runs"),
        ("Mixtral", {"num_local_experts": 2}, "num_local_experts = 2"),
    ],
)
def test_a_decoder_with_a_property_that_the_loop_passes_over_is_refused_with_its_name(
    kind: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_decoder(tmp_path / "model", kind, changes)
    assert message in refused(tmp_path / "model")


# ---------------------------------------------------------------- where and on what


def test_a_relative_folder_seen_from_elsewhere_says_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        load("models/mini")
    assert str(error.value) == (
        f"models/mini: no such folder in {tmp_path}, where relative paths begin; "
        f"the project has one: give {ROOT / 'models' / 'mini'}"
    )
    with pytest.raises(ValueError, match=rf"looked for {tmp_path}/models/a/b"):
        load("models/a/b")


def test_a_gpu_computes_convolutions_of_float32_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as torch has it
    load(ROOT / "models" / "mini")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_here_is_named_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^device 'cuda' cannot be used here: .*use device='cpu'") as error:
        load(ROOT / "models" / "mini", device="cuda")
    assert "\n" not in str(error.value)
