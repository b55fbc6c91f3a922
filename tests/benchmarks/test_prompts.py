"""What every model family is asked, word for word."""

from __future__ import annotations

import pytest
from himap import benchmarks
from himap.benchmarks._base import Sample
from himap.models.prompts import Prompt
from hub_fixtures import MAKERS

SHORT = "Answer the question using a single word or phrase."
HINT = "When the provided information is insufficient, respond with 'Unanswerable'."
REGION = "Please provide the bounding box coordinate of the region this sentence describes: "
LETTER = "Answer with the option's letter from the given choices directly."


def sample_of(name: str, row: int = 0) -> Sample:
    """A sample made of a fixture's row."""
    benchmark = benchmarks.get(name)
    absent = dict.fromkeys(benchmark.source.unused)
    return benchmark.sample(benchmark.parts(absent | MAKERS[name]().rows[row])[0], row)


def asked(name: str, family: str = "llava", row: int = 0, **protocol: object) -> Prompt:
    """The prompt for a fixture's row."""
    return benchmarks.get(name).prompt(sample_of(name, row), family, **protocol)


@pytest.mark.parametrize(
    ("name", "row", "text"),
    [
        ("vqav2", 0, f"What animal is it?\n{SHORT}"),
        ("textvqa", 0, f"What does the sign say?\nReference OCR token: BOB'S, House, 24/7\n{SHORT}"),
        ("textvqa", 2, f"What brand is it\nReference OCR token: \n{SHORT}"),
        ("mme", 0, f"Is there a dog?\n{SHORT}"),
        ("mme", 4, f"Are there two?\n{SHORT}"),
        ("scienceqa", 0, f"Question 0?\nA. yes\nB. no\n{LETTER}"),
        ("scienceqa", 1, f"Context: Use the map.\nQuestion 1?\nA. v\nB. w\nC. x\nD. y\nE. z\n{LETTER}"),
        ("aokvqa", 0, f"What is it?\nA. cat\nB. dog\nC. bus\nD. tree\n{LETTER}"),
        ("pope", 0, f"Is there a snowboard in the image?\n{SHORT}"),
        ("nocaps", 0, "Provide a one-sentence caption for the provided image."),
        ("flickr30k", 0, "Provide a one-sentence caption for the provided image."),
        ("llavabench", 0, "Describe it."),
        ("mmvet", 0, "What is x?"),
        ("chartqa", 0, "What is value 0?\nAnswer the question with a single word."),
        ("docvqa", 0, f"When?\n{SHORT}"),
        ("gqa", 0, f"Is it overcast?\n{SHORT}"),
        ("vizwiz_val", 1, f"Is it 350 fahrenheit? \n{HINT}\n{SHORT}"),
        ("seedbench_image", 0, f"How many?\nA. one\nB. two\nC. three\nD. four\n{LETTER}"),
        ("mmbench", 1, f"What is it?\nA. dog\nB. bus\nC. tree\nD. cat\n{LETTER}"),
        ("mmbench", 7, f"Look here.\nAnd there.\nWhat is it?\nA. yes\nB. no\n{LETTER}"),
        ("mmbench", 9, f"What is it?\nA. 1\nB. 2\nC. 3\n{LETTER}"),
        ("mmbench_cn", 8, "Look here.\nAnd there.\nWhat is it?\nA. no\nB. yes\n请直接回答选项字母。"),
        ("ocrbench", 0, f"What is written?\n{SHORT}"),
        ("refcoco", 0, f"{REGION}the dog."),
        ("refcocog", 1, f"{REGION}left."),
        ("countbench", 0, f"How many candlesticks are there?\n{SHORT}"),
    ],
)
def test_llava_is_asked(name: str, row: int, text: str):
    assert asked(name, row=row) == Prompt(text)


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("chartqa",)])
def test_internvl_is_asked_as_llava_since_its_first_version_used_the_same_scripts(name: str):
    assert asked(name, "internvl") == asked(name, "llava")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vqav2", f"What animal is it? {SHORT}"),
        ("textvqa", f"What does the SIGN say? {SHORT}"),
        ("mme", f"Is there a dog? Please answer yes or no. {SHORT}"),
        ("pope", f"Is there a snowboard in the image? {SHORT}"),
        ("docvqa", f"When? {SHORT}"),
        ("gqa", f"Is it overcast? {SHORT}"),
        ("refcoco", f"{REGION}<ref>the dog</ref>"),
        ("vizwiz_val", f"What is this? {HINT} {SHORT}"),
    ],
)
def test_internvl_can_be_asked_as_in_its_later_scripts(name: str, text: str):
    assert asked(name, "internvl", scripts="internvl") == Prompt(text)
    assert asked(name, "llava", scripts="internvl") == asked(name, "llava")


def test_internvl_is_asked_for_charts_in_one_line():
    assert asked("chartqa", "internvl") == Prompt(f"What is value 0? {SHORT}")


@pytest.mark.parametrize(
    ("name", "row", "prompt"),
    [
        ("vqav2", 0, Prompt("What animal is it? Answer:", style="raw")),
        ("textvqa", 0, Prompt("What does the SIGN say? Answer:", style="raw")),
        ("mme", 4, Prompt("Are there two?  Please answer yes or no.", "chat_plain")),
        ("pope", 0, Prompt("Is there a snowboard in the image? Answer:", style="raw")),
        ("nocaps", 0, Prompt("Describe the image in English:", style="raw")),
        ("chartqa", 0, Prompt("What is value 0? Answer:", style="raw")),
        ("docvqa", 0, Prompt("When? Answer:", style="raw")),
        ("gqa", 0, Prompt("Is it overcast? Answer:", style="raw")),
        ("vizwiz_val", 0, Prompt("What is this? Answer:", style="raw")),
        ("ocrbench", 0, Prompt("What is written? Answer:", style="raw")),
        ("refcoco_plus", 0, Prompt("<ref>the dog</ref><box>", style="raw")),
        ("countbench", 0, Prompt("How many candlesticks are there? Answer:", style="raw")),
        (
            "seedbench_image",
            0,
            Prompt(
                "\nQuestion: How many?\nOptions: A. one\nB. two\nC. three\nD. four\nAnswer:",
                "raw",
                (" A", " B", " C", " D"),
            ),
        ),
        (
            "mmbench",
            7,
            Prompt(
                "Context: Look here.\nAnd there.\nQuestion: What is it?\nOptions: A. yes\nB. no\nAnswer:",
                "raw",
                (" A", " B"),
            ),
        ),
        ("mmvet", 0, Prompt("What is x?")),
        (
            "scienceqa",
            0,
            Prompt("Context: N/A\nQuestion: Question 0?\nOptions: A. yes\nB. no\nAnswer:", "raw", (" A", " B")),
        ),
        (
            "scienceqa",
            3,
            Prompt("Context: A hint.\nQuestion: Question 3?\nOptions: A. red\nB. blue\nAnswer:", "raw", (" A", " B")),
        ),
    ],
)
def test_qwen_is_asked(name: str, row: int, prompt: Prompt):
    assert asked(name, "qwen_vl", row) == prompt


def test_textvqa_without_ocr_tokens_leaves_their_line_out():
    assert asked("textvqa", ocr=False) == Prompt(f"What does the sign say?\n{SHORT}")


def test_aokvqa_in_fastv_protocol_begins_with_a_newline_and_has_its_own_frame():
    text = (
        "\nAnalyse the image and choose the best answer for the following question:\nWhat is it?\n"
        "Options: (A) cat (B) dog (C) bus (D) tree\nJust output the letter of the correct answer."
    )
    assert asked("aokvqa", protocol="fastv") == Prompt(text, style="fastv")
    assert asked("aokvqa", "qwen_vl", protocol="fastv") == Prompt(text, style="chat")
    assert benchmarks.get("aokvqa").max_new_tokens("llava", protocol="fastv") == 1


def test_a_template_from_the_config_replaces_the_text():
    template = "{question}\n{options}\nHint: {hint} ({letters})"
    assert asked("scienceqa", row=3, template=template).text == "Question 3?\nA. red\nB. blue\nHint: A hint. (A, B)"
    assert asked("textvqa", template="{ocr}").text == "BOB'S, House, 24/7"
    assert asked("vqav2", template="{question}", style="raw") == Prompt("What animal is it?", style="raw")


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"ocr": "maybe"}, "ocr='maybe' is not one of True, False"),
        ({"ocrs": True}, "unknown protocol option 'ocrs'"),
        ({"template": "{nothing}"}, "'{nothing}' is not usable"),
    ],
)
def test_a_wrong_protocol_option_is_named_with_the_choices(protocol: dict[str, object], message: str):
    with pytest.raises(ValueError, match="benchmark textvqa") as error:
        asked("textvqa", **protocol)
    assert message in str(error.value)


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="unknown model family 'blip'"):
        asked("vqav2", "blip")


@pytest.mark.parametrize(
    ("name", "llava", "qwen", "internvl"),
    [
        ("vqav2", 128, 10, 128),
        ("textvqa", 128, 10, 128),
        ("mme", 128, 128, 128),
        ("scienceqa", 1024, 1, 1024),
        ("aokvqa", 16, 1, 16),
        ("pope", 128, 10, 128),
        ("nocaps", 64, 30, 30),
        ("flickr30k", 64, 30, 30),
        ("llavabench", 1024, 1024, 1024),
        ("mmvet", 1024, 1024, 1024),
        ("chartqa", 16, 100, 100),
        ("docvqa", 32, 100, 32),
        ("gqa", 128, 10, 128),
        ("vizwiz_val", 128, 10, 128),
        ("seedbench_image", 128, 1, 128),
        ("mmbench", 1024, 1, 1024),
        ("mmbench_cn", 1024, 1, 1024),
        ("ocrbench", 128, 100, 128),
        ("refcoco", 32, 28, 32),
        ("countbench", 16, 10, 16),
    ],
)
def test_generation_limits(name: str, llava: int, qwen: int, internvl: int):
    benchmark = benchmarks.get(name)
    assert [benchmark.max_new_tokens(family) for family in ("llava", "qwen_vl", "internvl")] == [llava, qwen, internvl]


def test_captions_of_qwen_and_internvl_have_at_least_eight_tokens():
    benchmark = benchmarks.get("nocaps")
    assert [benchmark.min_new_tokens(family) for family in ("llava", "qwen_vl", "internvl")] == [0, 8, 8]


def test_later_internvl_scripts_bring_their_own_limits():
    limits = {
        name: benchmarks.get(name).max_new_tokens("internvl", scripts="internvl")
        for name in ("vqav2", "mme", "pope", "gqa", "vizwiz_val", "mmbench")
    }
    assert limits == {"vqav2": 10, "mme": 20, "pope": 100, "gqa": 10, "vizwiz_val": 10, "mmbench": 100}


@pytest.mark.parametrize("name", benchmarks.names())
def test_a_family_that_no_benchmark_names_is_asked_as_llava_is(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("himap.models.families.names", lambda: ("added", "llava"))
    benchmark = benchmarks.get(name)
    variants = [{}, *({option: values[-1]} for option, values in benchmark.options.items())]
    for protocol in variants:
        assert benchmark.token_limits("added", **protocol) == benchmark.token_limits("llava", **protocol)
        assert asked(name, "added", **protocol) == asked(name, "llava", **protocol)
