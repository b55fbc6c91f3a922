"""Training: the packed forward pass is the model's own, a killed run goes on as if nothing had happened, the result loads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import train_mini
from himap.mini import batches, checkpoint, cross_checkpoint, optimizer, tokenizer, training
from himap.mini.recipe import QUICK
from himap.mini.training_state import ARCHITECTURES
from safetensors.torch import load_file

RECIPE = replace(QUICK, corpus_pictures=120)


@pytest.fixture(scope="module")
def words() -> object:
    """A vocabulary trained on a few pictures."""
    return tokenizer.train_tokenizer(tokenizer.corpus(120))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script leaves after its quick setting."""
    out = tmp_path_factory.mktemp("trained") / "mini"
    assert train_mini.main(["--out", str(out), "--quick", "--no-compile", "--threads", "1"]) == 0
    return out


@pytest.mark.parametrize(
    "text",
    ["What color is the ring?", "  two  spaces\n", "Größe 日本 ☃", "STOP\nA. b", "<image", "\t{}[]", tokenizer.SYSTEM],
)
def test_any_text_comes_back_as_it_was(words, text: str) -> None:
    assert words.decode(words.encode(text, add_special_tokens=False)) == text


def test_words_are_one_token_and_capitals_stand_alone(words) -> None:
    assert len(words.encode(" circle", add_special_tokens=False)) == 1
    assert len(words.encode(" STOP", add_special_tokens=False)) == 4
    assert words.encode("x")[0] == words.bos_token_id


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_questions_see_what_they_would_see_alone(words, architecture: str) -> None:
    torch.manual_seed(0)
    form, networks = ARCHITECTURES[architecture]
    model = form.build(words).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if architecture == "mllama":  # which has two matrices where training has one
            model.lm_head.weight.copy_(model.model.language_model.embed_tokens.weight[: len(words)])
    maker = batches.BatchMaker(words, "train", 0, 2, framed=form.prefix_ids)
    batch = training.to_tensors(maker[3], torch.device("cpu"))
    packed = networks.Network(model, maker.prefix_ids, compiled=False, dtype=torch.float32)
    compared = 0
    with torch.no_grad():
        image = packed.project(packed.features(batch["pixels"]))
        hidden = packed.decode(image, batch["ids"], batch["positions"], batch["turn"])[-1]
        pixels = (batch["pixels"].permute(0, 3, 1, 2).float() / 255 - packed.mean) / packed.deviation
        for row in (0, batches.ROWS):
            for turn in range(2):
                chosen = batch["turn"][row] == turn
                ids = torch.tensor([*maker.prefix_ids, *batch["ids"][row][chosen].tolist()])[None]
                one = pixels[row // batches.ROWS][None]
                alone = model(input_ids=ids, **picture_of(architecture, one, ids)).logits[0, len(maker.prefix_ids) :]
                torch.testing.assert_close(packed.logits(hidden[row][chosen]), alone, atol=1e-4, rtol=1e-3)
                compared += len(alone)
    assert compared > 40


def picture_of(architecture: str, pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the model's class takes of a picture that is seen from the first token on."""
    if architecture == "llava":
        return {"pixel_values": pixels}
    one = torch.ones(1, 1, dtype=torch.long)
    seen = torch.ones(*ids.shape, 1, 1)
    return {
        "pixel_values": pixels[:, None, None], "aspect_ratio_ids": one, "aspect_ratio_mask": one[..., None],
        "cross_attention_mask": seen,
    }  # fmt: skip


@pytest.mark.slow
def test_the_model_with_cross_attention_is_asked_as_it_was_trained(trained: Path, tmp_path: Path) -> None:
    import himap
    from himap.models.prompts import Prompt
    from PIL import Image
    from transformers import AutoTokenizer

    quick = ["--quick", "--no-compile", "--threads", "1", "--workers", "2"]
    assert train_mini.main(["--out", str(tmp_path / "cross"), "--architecture", "mllama", *quick]) == 0
    model = himap.load(str(tmp_path / "cross"))
    assert (model.family, model.dims.cross) == ("mllama", cross_checkpoint.CROSS_LAYERS)
    words = AutoTokenizer.from_pretrained(trained)
    maker = batches.BatchMaker(words, "train", 0, 1, framed=cross_checkpoint.prefix_ids)
    question = words.encode("\nWhere is the ring? ASSISTANT:", add_special_tokens=False)
    assert model.tokenize(Prompt("Where is the ring?"), [None]) == [*maker.prefix_ids, *question]
    pixels = maker[0].pixels[0]
    (seen,) = model.preprocess([Image.fromarray(pixels)])
    mean, deviation = (torch.tensor(values) for values in (checkpoint.MEAN, checkpoint.DEVIATION))
    expected = (torch.from_numpy(pixels).float() / 255 - mean) / deviation
    torch.testing.assert_close(seen["pixel_values"][0, 0, 0].permute(1, 2, 0), expected)


def test_batches_follow_from_their_number_alone(words) -> None:
    first, second = (batches.BatchMaker(words, "train", 0, 2)[7] for _ in range(2))
    other = batches.BatchMaker(words, "train", 0, 2)[8]
    assert (first.ids == second.ids).all()
    assert (first.pixels == second.pixels).all()
    assert (first.pixels != other.pixels).any()


def test_only_answers_are_learned(words) -> None:
    batch = batches.BatchMaker(words, "train", 0, 2)[1]
    share = (batch.labels >= 0).sum() / (batch.turn >= 0).sum()
    assert 0 < share < 0.4
    assert batch.weights[batch.labels < 0].sum() == 0


def test_clues_stand_at_their_words_and_answers_at_the_question_mark(words) -> None:
    maker = batches.BatchMaker(words, "train", 0, 32)
    batch = maker[5000]
    asked = [words.decode([token]) for token in batch.ids[batch.finds >= 0]]
    assert len(asked) > 100
    assert set(asked) == {"?"}
    likes = 0
    for row, place in zip(*np.nonzero(batch.clues >= 0), strict=True):
        chosen = batch.turn[row] == batch.turn[row, place]
        text = words.decode(batch.ids[row][chosen])
        told = re.search(
            r"(\w+) likes the (\w+)[^?]*\. \w+ likes[^?]* does \1|\. (\w+) likes the (\w+)[^?]* does \3", text
        )
        word, truth = (words.decode([ids[row, place]]).strip() for ids in (batch.ids, batch.clues))
        if told and word == (told[1] or told[3]):
            assert truth == (told[2] or told[4])
            likes += 1
    assert likes > 3


@pytest.mark.slow
def test_training_can_begin_with_a_finished_checkpoint(trained: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, start=str(trained))
    trainer = training.Trainer(recipe, tmp_path, "cpu", compiled=False)
    begun = {name: parameter.to(torch.bfloat16) for name, parameter in trainer.model.state_dict().items()}
    assert trainer.tower_step == recipe.tower_steps
    assert (tmp_path / "tokenizer.json").read_text() == (trained / "tokenizer.json").read_text()
    for name, tensor in load_file(trained / "model.safetensors").items():
        (key,) = (
            [key for key in begun if key.endswith(name.removeprefix("language_model."))]
            if name not in begun
            else [name]
        )
        assert torch.equal(begun[key], tensor)


def test_muon_steps_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optimizer.orthogonalize(torch.randn(3, 32, 64)))
    assert values.min() > 0.5
    assert values.max() < 1.5


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str) -> None:
        training.train(RECIPE, tmp_path / name, tmp_path / f"{name}.training", compiled=False)

    run("whole")
    steps = training.Trainer.progress
    with monkeypatch.context() as patched:

        def killed(trainer: training.Trainer) -> float:
            if trainer.step == 3:
                raise KeyboardInterrupt
            return steps(trainer)

        patched.setattr(training.Trainer, "progress", killed)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    assert not (tmp_path / "killed").exists()
    run("killed")
    log = [json.loads(line) for line in (tmp_path / "killed.training" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["stage"] == "start"] == [0, 2]
    whole, killed_and_resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed_and_resumed[name]) for name in whole)


def test_a_state_of_other_values_is_refused(tmp_path: Path) -> None:
    trainer = training.Trainer(RECIPE, tmp_path, "cpu", compiled=False)
    trainer.save()
    with pytest.raises(ValueError, match="other values of muon_rate"):
        training.Trainer(replace(RECIPE, muon_rate=0.5), tmp_path, "cpu", compiled=False).resume()


def test_the_checkpoint_loads_in_transformers_and_in_the_library(trained: Path) -> None:
    import himap
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(trained)
    model = LlavaForConditionalGeneration.from_pretrained(trained)
    assert model.dtype == torch.bfloat16
    text = f"{tokenizer.SYSTEM} USER: <image>\nWhat color is the ring? ASSISTANT:"
    inputs = processor(images=Image.new("RGB", (96, 96)), text=text, return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 144
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0] == 1
    loaded = himap.load(str(trained))
    assert loaded.dims.layers == checkpoint.LAYERS >= 12
    assert loaded.dims.tokens_per_image == 144


def test_the_run_leaves_its_log_and_scores(trained: Path) -> None:
    scores = json.loads((trained / "training.json").read_text())
    assert scores["steps"] == QUICK.steps
    assert {"all", "blind", "groups", "recipe"} <= set(scores)
    assert sum(file.stat().st_size for file in trained.iterdir()) < 12e6
