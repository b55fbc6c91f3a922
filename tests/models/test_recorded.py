"""Every family answers as its authors' own implementation did on the same checkpoint: ids, pixels, logits, tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import originals
import pytest
import torch
from himap.decoder.generation import generate
from himap.experiments.answers import Question, answer_batch
from himap.models.model import Model
from himap.models.prompts import Prompt
from himap.pruning.stage import Schedule

TOLERANCE = 1e-4
ALL = [*originals.FAMILIES, "qwen-long"]
NEW_TOKENS = 12


def expanded(model: Model, ids: list[int]) -> list[int]:
    """Recorded ids, where one -200 stands for all tokens of an image."""
    return [
        t for token in ids for t in ([model.image_token_id] * model.dims.tokens_per_image if token == -200 else [token])
    ]


def prompt_rows(model: Model, prompts: list[Prompt]) -> Any:
    """The prompts, each with the picture of its number, ready for the loop."""
    features = model.encode_images(model.preprocess([originals.image(n) for n in range(len(prompts))]))
    ids = [model.tokenize(prompt, [features.shape[1]]) for prompt in prompts]
    return model.embed(ids, list(features.split(1)))


@pytest.mark.parametrize("name", ALL)
def test_prompts_have_the_ids_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    model = loaded(name)
    count = [model.dims.tokens_per_image]
    for sample in recorded[name]["samples"]:
        assert model.tokenize(Prompt(sample["question"]), count) == expanded(model, sample["ids"])
        if "raw_ids" in sample:
            raw = Prompt(f"{sample['question']} Answer:", style="raw")
            assert model.tokenize(raw, count) == expanded(model, sample["raw_ids"])
        else:
            fastv = Prompt(sample["question"], style="fastv")
            assert model.tokenize(fastv, count) == expanded(model, sample["ids_llava_v1"])


@pytest.mark.parametrize("name", ALL)
def test_pixels_and_image_features_are_those_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    model = loaded(name)
    for number, sample in enumerate(recorded[name]["samples"]):
        pixels = model.preprocess([originals.image(number)])
        features = model.encode_images(pixels)
        assert features.shape[1] == sample["feature_count"] == model.dims.tokens_per_image
        for found, known in ((pixels[0], sample["pixels"]), (features[0], sample["features"])):
            assert list(found.shape) == known["shape"]
            flat = found.double().flatten()
            assert flat[:8].tolist() == pytest.approx(known["first"], abs=1e-5)
            assert flat[-8:].tolist() == pytest.approx(known["last"], abs=1e-5)
            ramp = torch.linspace(-1, 1, flat.numel(), dtype=torch.double)
            assert float((flat * ramp).sum()) == pytest.approx(known["weighted"], abs=1e-5 * flat.numel() ** 0.5)


@pytest.mark.parametrize("name", ALL)
def test_logits_and_greedy_tokens_are_those_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    model = loaded(name)
    for number, sample in enumerate(recorded[name]["samples"]):
        features = model.encode_images(model.preprocess([originals.image(number)]))
        for kind in ("", "raw_"):
            if f"{kind}ids" not in sample:
                continue
            rows = model.embed([expanded(model, sample[f"{kind}ids"])], [features])
            known = np.array(sample[f"{kind}logits"])
            told = sample[f"{kind}greedy"]
            answer = generate(model, rows, len(told))
            assert np.abs(answer.first_logits[0, : len(known)].numpy() - known).max() < TOLERANCE
            assert answer.ids[0] == told[: len(answer.ids[0])]
            assert len(answer.ids[0]) == len(told) or answer.ids[0][-1] in model.end_ids


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_three_has_the_logits_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    """Beyond its trained length the original counts padding as tokens, so there the single prompts are what is right."""
    model = loaded(name)
    samples = recorded[name]["samples"]
    rows = prompt_rows(model, [Prompt(sample["question"]) for sample in samples])
    found = generate(model, rows, 1).first_logits.numpy()
    known = recorded[name]["batch_logits"] if name != "qwen-long" else [sample["logits"] for sample in samples]
    assert np.abs(found[:, : len(known[0])] - np.array(known)).max() < TOLERANCE


@pytest.mark.parametrize("name", ALL)
def test_end_tokens_are_those_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    assert loaded(name).end_ids == set(recorded[name]["end_ids"])


@pytest.mark.parametrize("name", ["llava", "internvl", "internvl-448px"])
def test_the_comparison_would_notice_another_picture(name: str, loaded: Any, recorded: Any) -> None:
    model = loaded(name)
    ids = expanded(model, recorded[name]["samples"][0]["ids"])
    features = model.encode_images(model.preprocess([originals.image(0), originals.image(1)]))
    one, other = (generate(model, model.embed([ids], [f]), 1).first_logits for f in features.split(1))
    assert float((one - other)[0, :-64].abs().max()) == pytest.approx(recorded[name]["image_matters"], abs=TOLERANCE)
    assert recorded[name]["image_matters"] > 1


@pytest.mark.parametrize("name", ["qwen", "qwen-long"])
def test_choices_have_the_losses_of_the_original(name: str, loaded: Any, recorded: Any) -> None:
    """The multiple-choice protocol: the letter, with the space in front of it, after a raw prompt."""
    import io

    model = loaded(name)
    question = recorded[name]["samples"][0]["question"]
    text = f"Context: N/A\nQuestion: {question}\nOptions: A. red\nB. blue\nC. two\nAnswer:"
    rows = prompt_rows(model, [Prompt(text, style="raw")])
    losses = -generate(model, rows, 1).first_logits[0].log_softmax(-1)
    letters = [model.answer_ids(letter) for letter in "ABC"]
    assert all(len(ids) == 1 for ids in letters)
    assert [float(losses[ids[0]]) for ids in letters] == pytest.approx(recorded[name]["choice_losses"], abs=TOLERANCE)
    data = io.BytesIO()
    originals.image(0).save(data, "PNG")
    asked = Question("q", [data.getvalue()], Prompt(text, style="raw", choices=(" A", " B", " C")))
    row = answer_batch(model, [asked], Schedule(), max_new_tokens=1)[0]
    assert row["prediction"] == "ABC"[int(np.argmin(recorded[name]["choice_losses"]))]


def test_qwen_reads_a_prompt_beyond_its_trained_length_with_a_larger_base(loaded: Any, recorded: Any) -> None:
    """`qwen-long` says it was trained on 192 tokens and is asked with 306 to 330: without the rule its logits are others."""
    model = loaded("qwen-long")
    sample = recorded["qwen-long"]["samples"][0]
    rotary = model.rotary
    features = model.encode_images(model.preprocess([originals.image(0)]))
    rows = model.embed([expanded(model, sample["ids"])], [features])
    for switched_off in ("dynamic_ntk", "log_n"):
        setattr(rotary, switched_off, False)
        try:
            logits = generate(model, rows, 1).first_logits[0, : len(sample["logits"])].numpy()
        finally:
            setattr(rotary, switched_off, True)
        assert np.abs(logits - np.array(sample["logits"])).max() > 100 * TOLERANCE
