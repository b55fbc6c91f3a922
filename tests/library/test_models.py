"""Loading: the hub's and transformers' own layouts, templates, preprocessing, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoint
import evaluate_method
import himap
import pytest
import torch
from himap.benchmarks._base import Sample
from himap.benchmarks.samples.prepare import write_samples
from himap.decoder.generation import generate
from himap.decoder.ids import token_groups
from himap.decoder.tokens import IMAGE, SYSTEM
from himap.experiments.answers import Question, encode
from himap.models.families.llava import dims, prompt_text
from himap.models.loading import find, load
from himap.models.prompts import Prompt
from himap.models.sizes import Dims
from tiny import sequence, tiny_model

MINI = Path(__file__).resolve().parents[2] / "models" / "mini"
SENTENCE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", schedules=False)


@pytest.fixture(scope="module")
def mini():
    return load(MINI)


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder)


def test_a_saved_model_answers_as_before(loaded):
    fresh = tiny_model("grouped", vocab=checkpoint.VOCAB, layers=checkpoint.LAYERS)
    assert loaded.dims == fresh.dims
    assert loaded.end_ids == {2}
    assert loaded.tokenize.__module__ == "himap.models.families.llava"
    ids, features = sequence(fresh)
    answers = [generate(model, model.embed([ids], [features]), 5).ids for model in (loaded, fresh)]
    assert answers[0] == answers[1]


def test_sizes_come_from_the_config_alone(folder, loaded):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert dims(config) == loaded.dims
    hub = {
        "model_type": "llava",
        "text_config": {"vocab_size": 32064},
        "vision_config": {"image_size": 336, "patch_size": 14},
    }
    assert dims(hub) == Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)


def test_the_template(loaded):
    prompt = Prompt("\nWhat is it?\nAnswer.")
    assert prompt_text(prompt, "vicuna_v1", ["<image>"]) == f"{SENTENCE}<image>\nWhat is it?\nAnswer. ASSISTANT:"
    assert prompt_text(prompt, "user", ["<image>"]) == "USER: <image>\nWhat is it?\nAnswer. ASSISTANT:"
    assert prompt_text(prompt, "vicuna_v1", ["<i>", "<i>"]).count("<i>\n") == 2
    assert prompt_text(Prompt("So", "raw"), "vicuna_v1", ["<image>"]) == "<image>\nSo"
    assert "curious human" in prompt_text(Prompt("So", "fastv"), "vicuna_v1", ["<image>"])


@pytest.mark.parametrize("images", [[16], [9], [16, 16], [9, 16]])
def test_spans_from_ids_are_the_templates(loaded, images):
    ids = loaded.tokenize(Prompt("Is it?"), images)
    groups = token_groups(ids, loaded.image_token_id)
    assert groups.count(SYSTEM) == 1 + len(SENTENCE)  # single bytes, after the mark of the beginning
    assert groups.count(IMAGE) == sum(images)
    assert len(groups) - groups.count(SYSTEM) - groups.count(IMAGE) == len("\n" * len(images) + "Is it? ASSISTANT:")


def test_marks_in_a_question_are_text_and_the_image_keeps_its_place(mini):
    asked = "Is <image> or </s> or <s> or <pad> or <unk> a mark?"
    ids, plain = (mini.tokenize(Prompt(text), [64]) for text in (asked, "Is this a mark?"))
    assert ids.count(mini.image_token_id) == 64
    special = ("<image>", "<s>", "</s>", "<pad>")
    assert [ids.count(mini.plain_id(mark)) for mark in special] == [plain.count(mini.plain_id(m)) for m in special]
    first = ids.index(mini.image_token_id)
    assert ids[: first + 64] == plain[: first + 64]
    assert mini.detokenize(ids[first + 64 :]) == f"{asked} ASSISTANT:"
    option = mini.answer_ids("</s><image>")
    assert not {mini.plain_id(mark) for mark in special} & set(option)
    assert mini.detokenize(option) == "</s><image>"


def test_a_benchmark_with_marks_in_its_texts_is_evaluated_to_the_end(tmp_path):
    """Question, hint, option and OCR text of one sample hold an image's mark; all samples are answered."""
    texts = ["What is <image>?", "Is </s> red?", "How many?"]
    samples = [
        Sample(f"s{n}", text, ["<image>", "</s>"], ["A"], [checkpoint.encoded(n)], {"hint": "<image>", "answer": 0})
        for n, text in enumerate(texts)
    ]
    write_samples(tmp_path / "samples.parquet", "scienceqa", samples)
    command = ["--model", str(MINI), "--benchmark", "scienceqa", "--samples", str(tmp_path / "samples.parquet")]
    evaluate_method.main([*command, "--method", '{"name": "vanilla"}', "--out", str(tmp_path / "out.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["sample_id"] for row in rows] == ["s0", "s1", "s2"]
    assert {row["image_tokens"] for row in rows} == {rows[0]["image_tokens"]}


def test_a_sample_that_cannot_be_asked_is_named_with_its_benchmark(mini):
    asked = Question("q7", [checkpoint.encoded(1)], Prompt("broken \ud800 text"), "textvqa")
    with pytest.raises(ValueError, match="sample 'q7' of benchmark textvqa: its text cannot be tokenized"):
        encode(mini, [asked])


def test_options_choose_template_and_image_side(folder):
    bare = load(folder, template="user", image_mode="crop")
    ids = bare.tokenize(Prompt("Is it?"), [16])
    assert token_groups(ids, bare.image_token_id).count(SYSTEM) == len("USER: ") + 1
    wide = checkpoint.picture(1, (100, 40))
    padded, cropped = load(folder).preprocess([wide]), bare.preprocess([wide])
    assert padded.shape == cropped.shape == (1, 3, 56, 56)
    assert float(padded[0, :, 0].std(dim=1).max()) < 0.01  # a bar of one colour above the picture
    assert float(cropped[0, :, 0].std(dim=1).max()) > 0.1


def test_a_smaller_image_has_fewer_tokens(loaded):
    pixels = loaded.preprocess([checkpoint.picture(1)], grid=(2, 2))
    assert pixels.shape == (1, 3, 28, 28)
    assert loaded.encode_images(pixels).shape == (1, 4, 32)
    native = loaded.preprocess([checkpoint.picture(1)], grid=(4, 4))
    torch.testing.assert_close(native, loaded.preprocess([checkpoint.picture(1)]))


def test_answers_as_they_are_emitted(loaded):
    assert loaded.answer_ids("B") == [loaded.plain_id("Ġ"), loaded.plain_id("B")]
    assert loaded.detokenize([*loaded.answer_ids("B two"), 2]) == "B two"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("attention", ["sdpa", "flash", "eager"])
def test_number_formats_and_kernels(folder, dtype, attention):
    model = load(folder, dtype=dtype, attention=attention)
    assert str(model.dtype) == f"torch.{dtype}"
    answer = himap.generate(model, checkpoint.picture(1), "What?", method="vanilla", max_new_tokens=2)
    assert answer.stages == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float23"}, ["dtype", "float23", "'float32'", "bfloat16"]),
        ({"attention": "flsh"}, ["attention", "flsh", "'flash'", "sdpa"]),
        ({"template": "vicuna"}, ["template", "vicuna", "'vicuna_v1'"]),
        ({"image_mode": "padd"}, ["image_mode", "padd", "'pad'"]),
    ],
)
def test_bad_options_are_named(folder, options, words):
    with pytest.raises(ValueError) as caught:
        load(folder, **options)
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_is_no_checkpoint_is_named(tmp_path, folder):
    with pytest.raises(ValueError, match=r"nowhere.*no such folder"):
        load("nowhere")
    with pytest.raises(ValueError, match=r"no such folder"):
        find("./a/b")
    with pytest.raises(ValueError, match=r"no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"'bert'.*no known family.*llava"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llava"', encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json.*not valid JSON"):
        load(tmp_path)


def test_only_safetensors_are_loaded(tmp_path, folder):
    import shutil

    other = tmp_path / "pickled"
    shutil.copytree(folder, other)
    (other / "model.safetensors").unlink()
    torch.save({}, other / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled.*safetensors"):
        load(other)


def test_weights_and_tokenizer_must_belong_together(tmp_path):
    folder = tmp_path / "mixed"
    tiny_model("grouped", vocab=120).module.save_pretrained(folder)
    checkpoint.tokenizer().save_pretrained(folder)
    from transformers import CLIPImageProcessor

    CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"260 entries.*120"):
        load(folder)


def test_a_checkpoint_without_a_tokenizer_says_so(tmp_path):
    folder = tmp_path / "bare"
    tiny_model().module.save_pretrained(folder)
    model = load(folder)
    with pytest.raises(ValueError, match="tokenizer"):
        model.tokenize(Prompt("Is it?"), [16])
