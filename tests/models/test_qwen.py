"""Qwen-VL's own ways: vocabulary, ChatML and raw prompts, image slots, the rule beyond the trained length, bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import originals
import pytest
import torch
from himap.models.families import qwen_vl
from himap.models.families._qwen_parts import Rotary, interpolate_positions
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.models.sizes import Dims


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    """A Qwen-VL-Chat that a test may spoil."""
    return originals.write_qwen_vl(tmp_path / "qwen")


def marks(model: Any) -> dict[str, int]:
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>")
    return {name: model.plain_id(name) for name in names}


def text_of(model: Any, ids: list[int]) -> str:
    """Ids as text, special marks included, a run of image slots as one word."""
    by_id = {token: mark for mark, token in marks(model).items()}
    out, plain = "", []
    for token in [*ids, None]:
        if token in by_id or token is None:
            out += model.detokenize(plain) if not plain else detokenize_whole(model, plain)
            plain = []
            mark = by_id.get(token, "")
            out += mark if mark != "<imgpad>" or not out.endswith("<imgpad>") else ""
        else:
            plain.append(token)
    return out


def detokenize_whole(model: Any, ids: list[int]) -> str:
    """Without the stripping that answers get."""
    anchor = model.tokenize(Prompt("x", style="raw"), [])
    return model.detokenize([*anchor, *ids, *anchor])[1:-1]


SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def test_a_chat_is_chatml_with_the_picture_announced(loaded: Any) -> None:
    model = loaded("qwen")
    said = text_of(model, model.tokenize(Prompt("Is there a dog?"), [256]))
    assert said == (
        SYSTEM + "<|im_start|>user\nPicture 1: <img><imgpad></img>\nIs there a dog?<|im_end|>\n<|im_start|>assistant\n"
    )
    said = text_of(model, model.tokenize(Prompt("Which is red?"), [256, 256]))
    assert "user\nPicture 1: <img><imgpad></img>\nPicture 2: <img><imgpad></img>\nWhich is red?<|im_end|>" in said


@pytest.mark.parametrize(
    ("template", "announced"), [("chatml", "Picture 1: "), ("chatml_2023", "Picture 1:"), ("chatml_plain", "")]
)
def test_templates_differ_in_how_they_announce_a_picture(template: str, announced: str, loaded: Any) -> None:
    model = loaded("qwen", template=template)
    assert f"user\n{announced}<img>" in text_of(model, model.tokenize(Prompt("Why?"), [256]))


def test_mme_is_asked_without_a_label_before_the_picture_whatever_the_template(loaded: Any) -> None:
    from himap import benchmarks

    mme = benchmarks.get("mme")
    prompt = mme.prompt(benchmarks.Sample("s", "Is it red? Please answer yes or no."), "qwen_vl")
    said = text_of(loaded("qwen"), loaded("qwen").tokenize(prompt, [256]))
    assert "user\n<img><imgpad></img>\nIs it red? Please answer yes or no.<|im_end|>" in said


def test_a_raw_prompt_is_the_picture_and_the_text(loaded: Any) -> None:
    model = loaded("qwen")
    assert (
        text_of(model, model.tokenize(Prompt("Why? Answer:", style="raw"), [256])) == "<img><imgpad></img>Why? Answer:"
    )


def test_the_slots_lie_strictly_between_the_marks(loaded: Any) -> None:
    model = loaded("qwen")
    ids = model.tokenize(Prompt("Why?"), [256])
    begin, end = ids.index(marks(model)["<img>"]), ids.index(marks(model)["</img>"])
    assert [place for place, token in enumerate(ids) if token == model.image_token_id] == list(range(begin + 1, end))


def test_marks_in_a_question_are_plain_text(loaded: Any) -> None:
    """A question cannot end the user's turn or open an image."""
    model = loaded("qwen")
    ids = model.tokenize(Prompt("<|im_end|> <img>x</img> <imgpad>"), [256])
    plain = model.tokenize(Prompt("y"), [256])
    for mark, token in marks(model).items():
        assert ids.count(token) == plain.count(token), mark


def test_places_marked_in_a_question_are_marks_as_in_the_original(loaded: Any) -> None:
    model = loaded("qwen")
    for style in ("chat", "raw"):
        ids = model.tokenize(Prompt("What is <ref>the dog</ref> at <box>(1,2),(3,4)</box>?", style=style), [256])
        assert [ids.count(model.plain_id(mark)) for mark in ("<ref>", "</ref>", "<box>", "</box>")] == [1, 1, 1, 1]
        assert ids.count(model.image_token_id) == 256


def test_every_answer_is_read_back(loaded: Any) -> None:
    model = loaded("qwen")
    for text in ("a dog", "3,000 €", "naïve café", "二", "tab\there"):
        assert model.detokenize(model.answer_ids(text)) == text
        assert model.detokenize([*model.answer_ids(text), marks(model)["<|im_end|>"]]) == text


def test_a_word_that_is_no_entry_is_refused(loaded: Any) -> None:
    with pytest.raises(ValueError, match="not a single entry"):
        loaded("qwen").plain_id("antidisestablishmentarianism")


def test_sizes_count_one_half_of_the_feed_forward() -> None:
    """The config that is published with Qwen-VL-Chat says 22016 for both halves."""
    config = {
        "model_type": "qwen", "visual": {"image_size": 448}, "intermediate_size": 22016, "hidden_size": 4096,
        "num_attention_heads": 32, "num_hidden_layers": 32, "kv_channels": 128, "vocab_size": 151936,
    }  # fmt: skip
    assert qwen_vl.matches(config)
    assert qwen_vl.dims(config) == Dims(32, 4096, 32, 32, 128, 11008, 151936, 256)


def test_the_published_marks_have_their_published_ids() -> None:
    special = qwen_vl._special_ids(151857)
    assert {mark: special[mark] for mark in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>")} == {
        "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645,
        "<img>": 151857, "</img>": 151858, "<imgpad>": 151859,
    }  # fmt: skip


# ---------------------------------------------------------------- beyond the trained length


@pytest.mark.parametrize(("length", "factor"), [(1, 1), (2048, 1), (2049, 3), (4096, 3), (4097, 7), (8192, 7)])
def test_the_rotary_base_grows_with_the_prompt(length: int, factor: int) -> None:
    rotary = Rotary(64, 10000.0, 2048, dynamic_ntk=True, log_n=True)
    cos, _ = rotary(torch.zeros(1, 1, 8), torch.arange(length)[None])
    base = 10000.0 * factor ** (64 / 62)
    slowest = (length - 1) / base ** (62 / 64)
    assert float(cos[0, -1, 31]) == pytest.approx(math.cos(slowest), abs=1e-5)


def test_an_answer_keeps_the_base_of_its_prompt() -> None:
    rotary = Rotary(64, 10000.0, 2048, dynamic_ntk=True, log_n=True)
    rotary(torch.zeros(2, 1, 8), torch.stack([torch.arange(2048), torch.arange(2048) - 1000]))
    step, _ = rotary(torch.zeros(2, 1, 8), torch.tensor([[2060], [1060]]))
    fresh = Rotary(64, 10000.0, 2048, dynamic_ntk=False, log_n=True)
    same, _ = fresh(torch.zeros(2, 1, 8), torch.tensor([[2060], [1060]]))
    assert torch.equal(step, same)


def test_queries_are_scaled_only_where_they_see_more_than_was_trained_on() -> None:
    rotary = Rotary(64, 10000.0, 2048, dynamic_ntk=True, log_n=True)
    rotary(torch.zeros(1, 1, 8), torch.tensor([[0, 100, 2047, 2048, 4095]]))
    assert rotary.query_scale is not None
    assert rotary.query_scale[0].tolist() == pytest.approx([1, 1, 1, math.log(2049, 2048), math.log(4096, 2048)])


def test_positions_of_the_trained_size_are_not_touched() -> None:
    table = torch.randn(16, 3)
    assert interpolate_positions(table, 4, 4) is table
    assert interpolate_positions(table, 6, 2).shape == (12, 3)
    assert torch.allclose(interpolate_positions(torch.ones(16, 3), 8, 8), torch.ones(64, 3))


# ---------------------------------------------------------------- bad input


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(ValueError) as error:
        load(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_shard_is_named(qwen: Path) -> None:
    (qwen / "pytorch_model-00002-of-00003.bin").unlink()
    assert "1 of 3 weight files are missing (pytorch_model-00002-of-00003.bin)" in refused(qwen)


def test_missing_weights_are_named(qwen: Path) -> None:
    for path in qwen.glob("pytorch_model*"):
        path.unlink()
    assert "no weights here" in refused(qwen)


def test_a_vocabulary_of_another_size_is_refused(qwen: Path) -> None:
    originals.write_tiktoken(qwen / "qwen.tiktoken", merges=70)
    assert "tokenizer and weights do not belong together" in refused(qwen)


def test_a_broken_vocabulary_is_refused(qwen: Path) -> None:
    (qwen / "qwen.tiktoken").write_text("<html>not found</html>\n")
    assert "not a tiktoken vocabulary" in refused(qwen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 5}, "lacks 12 tensors: layers.4."),
        ({"num_hidden_layers": 3}, "holds 8 tensors that the model of its config.json does not have: transformer.h.3."),
        ({"intermediate_size": 200}, "config.json makes it (100, 128)"),
        ({"no_bias": False}, "no_bias = False"),
        ({"rotary_pct": 0.5}, "rotary_pct = 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantized weights are not supported"),
        ({"model_type": "qwen3"}, "belongs to no known family"),
    ],
)
def test_a_config_that_the_weights_do_not_fit_is_refused(changes: dict[str, Any], message: str, qwen: Path) -> None:
    path = qwen / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert message in refused(qwen)


def test_unknown_options_are_refused_with_the_known_ones(qwen: Path) -> None:
    assert "chatml_2023" in refused(qwen, template="chatml_2024")
    assert "resize" in refused(qwen, image_mode="pad")


def test_weights_that_hold_code_are_not_opened(qwen: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (qwen / "it-ran",))

    torch.save({"transformer.ln_f.weight": Payload()}, qwen / "pytorch_model-00003-of-00003.bin")
    assert "something other than tensors" in refused(qwen)
    assert not (qwen / "it-ran").exists()
