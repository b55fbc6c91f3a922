"""`himap.tools.probe`: what it writes, and that bad input is refused before any forward pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from himap.decoder.generation import generate
from himap.experiments.disruption import Disruption, make_cut
from himap.experiments.saliency import saliency
from himap.pruning.intervention import Pruning
from himap.pruning.stage import read_stages
from himap.tools import probe
from safetensors.torch import load_file, save_file
from tiny import STAGES, tiny_model

CUT = {"flow": "img2txt", "layer": 1, "extent": "window", "window": 2, "block": "post"}
RUNS = [
    {"name": "vanilla"},
    {"name": "pruned", "stages": [stage.to_json() for stage in STAGES], "new_tokens": 3},
    {"name": "anew", "stages": [stage.to_json() for stage in STAGES], "rerank": True, "new_tokens": 3},
    {"name": "cut", "disrupt": CUT, "new_tokens": 2},
    {"name": "both", "stages": [STAGES[0].to_json()], "disrupt": {"flow": "random", "layer": 3}, "seed": 4},
    {"name": "salient", "saliency": {"target": 9}, "stages": None, "rerank": None, "disrupt": None},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A checkpoint without a tokenizer, and inputs with two images, one mark for each."""
    folder = tmp_path_factory.mktemp("probe")
    model = tiny_model("grouped")
    model.module.save_pretrained(folder / "model")
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    ids = [1, 5, 6, model.image_token_id, 8, model.image_token_id, 20, 21, 22]
    save_file({"input_ids": torch.tensor(ids), "pixel_values": pixels}, folder / "inputs.safetensors")
    return folder, model, ids, pixels


def call(folder, runs, inputs="inputs.safetensors", **more):
    text = runs if isinstance(runs, str) else json.dumps(runs)
    (folder / "runs.json").write_text(text, encoding="utf-8")
    words = {
        "model": folder / "model",
        "inputs": folder / inputs,
        "runs": folder / "runs.json",
        "out": folder / "out",
        **more,
    }
    probe.main([str(part) for key, value in words.items() for part in (f"--{key}", value)])
    written = json.loads((folder / "out" / "runs.json").read_text(encoding="utf-8"))
    return written, load_file(folder / "out" / "logits.safetensors")


def test_what_is_written_is_what_the_library_says(world):
    folder, model, ids, pixels = world
    written, logits = call(folder, RUNS)
    assert list(written) == [one["name"] for one in RUNS]
    rows = model.embed([ids], [model.encode_images(pixels)])
    for one in RUNS:
        stages, seed = read_stages(one.get("stages") or []), one.get("seed", 0)
        pruning = Pruning(model, stages, rows, [seed])
        acts = [pruning]
        if one.get("disrupt"):
            cut = {"extent": "single", "block": "pre", "window": 5, **one["disrupt"]}
            acts.append(
                Disruption(
                    [make_cut(cut["flow"], cut["layer"], cut["extent"], 6, cut["window"])], rows, [seed], cut["block"]
                )
            )
        done = generate(model, rows, one.get("new_tokens", 1), acts, rerank=bool(one.get("rerank")))
        torch.testing.assert_close(logits[one["name"]], done.first_logits[0], rtol=1e-4, atol=1e-5)
        assert logits[one["name"]].dtype == torch.float32
        assert written[one["name"]]["generated"] == done.ids[0]
        assert written[one["name"]]["kept"] == [pruning.kept[stage.layer][0] for stage in stages]
    assert "saliency" not in written["vanilla"]
    found = saliency(model, rows, 9)
    for layer, row in enumerate(written["salient"]["saliency"]):
        assert set(row) == {"layer", "released", "paper"}
        for name in ("released", "paper"):
            expected = {
                "rows": found.rows(name)[layer].tolist(),
                "columns": found.columns(name)[layer].tolist(),
                "img2img": float(found.block(name, "image", "image")[layer]),
                "img2txt": float(found.block(name, "instruction", "image")[layer]),
            }
            for key, value in expected.items():
                assert row[name][key] == pytest.approx(value, rel=1e-4, abs=1e-12)


def test_a_mark_per_image_token_is_the_same(world):
    folder, model, ids, pixels = world
    repeated = [t for token in ids for t in [token] * (16 if token == model.image_token_id else 1)]
    save_file({"input_ids": torch.tensor(repeated), "pixel_values": pixels}, folder / "repeated.safetensors")
    one, other = call(folder, RUNS[:2])[1], call(folder, RUNS[:2], "repeated.safetensors")[1]
    for name in one:
        torch.testing.assert_close(one[name], other[name])


BAD_RUNS = [
    ([{"name": "a", "stagez": []}], ["runs[0]", "'a'", "stagez", "'stages'"]),
    ([{"stages": []}], ["runs[0].name", "missing"]),
    ([{"name": "a"}, {"name": "a"}], ["runs[1].name", "'a'", "twice"]),
    ({"name": "a"}, ["list"]),
    ("[", ["runs.json", "not valid JSON"]),
    (
        [{"name": "a", "stages": [{"layer": 5, "keep": 0.5, "criterion": "random"}]}],
        ["'a'", "stages[0].layer", "0 to 4"],
    ),
    ([{"name": "a", "stages": [{"layer": 1, "keep": 33, "criterion": "random"}]}], ["'a'", "keep", "33", "32"]),
    ([{"name": "a", "stages": [{"layer": 1, "keep": 2.0, "criterion": "random"}]}], ["'a'", "keep", "(0, 1]"]),
    ([{"name": "a", "stages": [{"layer": 1, "keep": 0.5, "criterion": "randm"}]}], ["'a'", "randm", "'random'"]),
    ([{"name": "a", "stages": {"layer": 1}}], ["'a'", "stages", "list"]),
    ([{"name": "a", "stages": [stage.to_json() for stage in STAGES[::-1]]}], ["'a'", "stages[1].layer", "order"]),
    ([{"name": "a", "disrupt": "img2txt"}], ["'a'", "disrupt", "object"]),
    ([{"name": "a", "disrupt": {"layer": 0}}], ["'a'", "disrupt.flow", "missing"]),
    ([{"name": "a", "disrupt": {"flow": "img2tx", "layer": 0}}], ["'a'", "img2tx", "'img2txt'"]),
    ([{"name": "a", "disrupt": {"flow": "img2txt", "layer": 6}}], ["'a'", "6", "0 to 5"]),
    ([{"name": "a", "disrupt": {**CUT, "extent": "all"}}], ["'a'", "extent", "all", "suffix"]),
    ([{"name": "a", "disrupt": {**CUT, "window": 0}}], ["'a'", "window", "at least 1"]),
    ([{"name": "a", "disrupt": {**CUT, "block": "pst"}}], ["'a'", "block", "pst", "'post'"]),
    ([{"name": "a", "disrupt": {**CUT, "to": 3}}], ["'a'", "disrupt", "'to'"]),
    ([{"name": "a", "saliency": {}}], ["'a'", "saliency.target", "None", "0 to 96"]),
    ([{"name": "a", "saliency": {"target": None}}], ["'a'", "saliency.target", "0 to 96"]),
    ([{"name": "a", "saliency": {"target": []}}], ["'a'", "saliency.target", "0 to 96"]),
    ([{"name": "a", "saliency": {"target": ""}}], ["'a'", "saliency.target", "0 to 96"]),
    ([{"name": "a", "saliency": {"target": 97}}], ["'a'", "saliency.target", "97", "0 to 96"]),
    ([{"name": "a", "saliency": {"target": True}}], ["'a'", "saliency.target", "True"]),
    ([{"name": "a", "new_tokens": 0}], ["'a'", "new_tokens", "0", "at least 1"]),
    ([{"name": "a", "rerank": "yes"}], ["'a'", "rerank", "true or false"]),
    ([{"name": "a", "seed": "x"}], ["'a'", "seed", "whole number"]),
]


@pytest.fixture
def no_forward(monkeypatch):
    """Any tower or decoder layer that runs is an error of the test, but for those that loading tries."""
    from himap.models.families import llava
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer
    from transformers.models.llama.modeling_llama import LlamaMLP

    def refuse(*_, **__):
        raise AssertionError("a forward pass ran")

    monkeypatch.setattr(llava, "check_decoder", lambda model, directory: None)
    monkeypatch.setattr(CLIPEncoderLayer, "forward", refuse)
    monkeypatch.setattr(LlamaMLP, "forward", refuse)


@pytest.mark.parametrize(("runs", "words"), BAD_RUNS)
@pytest.mark.usefixtures("no_forward")
def test_bad_runs_are_named_before_any_forward_pass(world, runs, words):
    with pytest.raises(ValueError) as caught:
        call(world[0], runs)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"input_ids": t["input_ids"]}, ["pixel_values", "input_ids"]),
        (lambda t: {"pixel_values": t["pixel_values"]}, ["input_ids", "pixel_values"]),
        (lambda t: {**t, "pixel_values": t["pixel_values"][:1]}, ["2 image marks", "1 images"]),
        (lambda t: {**t, "pixel_values": t["pixel_values"][:0]}, ["no image"]),
        (lambda t: {**t, "pixel_values": t["pixel_values"][0]}, ["pixel_values", "[3, 56, 56]", "4 dimensions"]),
        (lambda t: {**t, "pixel_values": t["pixel_values"][:, :1].clone()}, ["pixel_values", "[2, 1, 56, 56]"]),
        (lambda t: {**t, "input_ids": t["input_ids"][None]}, ["input_ids", "1 dimensions"]),
        (lambda t: {**t, "input_ids": t["input_ids"][:3]}, ["0 image marks", "2 images"]),
        (lambda t: {**t, "input_ids": t["input_ids"] + 90}, ["input_ids", "vocabulary ends at 96"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_forward")
def test_bad_inputs_are_named_before_any_forward_pass(world, change, words):
    folder = world[0]
    good = load_file(folder / "inputs.safetensors")
    save_file(change(good), folder / "bad.safetensors")
    with pytest.raises(ValueError) as caught:
        call(folder, RUNS[:1], "bad.safetensors")
    assert all(word in str(caught.value) for word in ["bad.safetensors", *words]), caught.value


def test_a_broken_file_is_named(world):
    folder = world[0]
    (folder / "broken.safetensors").write_bytes(b"no tensors here")
    for name in ("broken.safetensors", "absent.safetensors"):
        with pytest.raises((ValueError, OSError), match=name):
            call(folder, RUNS[:1], name)


@pytest.mark.slow
def test_from_the_command_line(world):
    folder = world[0]
    (folder / "runs.json").write_text(json.dumps([{"name": "a", "new_tokens": -1}]), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "himap.tools.probe",
        "--model",
        folder / "model",
        "--inputs",
        folder / "inputs.safetensors",
    ]
    done = subprocess.run(
        [*command, "--runs", folder / "runs.json", "--out", folder / "never"],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: runs[0] ('a'): new_tokens: -1")
    assert "Traceback" not in done.stderr
    assert not (folder / "never").exists()
