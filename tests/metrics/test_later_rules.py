"""The rules of GQA, MMBench, SEED-Bench, OCRBench, RefCOCO and CountBench: vectors worked out by hand, each with the line of the rule it shows."""

from __future__ import annotations

import pytest
from himap.metrics.boxes import holds_center, overlap, read_box
from himap.metrics.choice import first_letter, free_letter
from himap.metrics.counts import count_of, first_count
from himap.metrics.gqa import gqa_match, gqa_match_lmms, gqa_match_qwen
from himap.metrics.ocr import ocr_match, ocr_match_folded


@pytest.mark.parametrize(
    ("prediction", "answer", "official", "lmms", "qwen"),
    [
        ("Yes", "yes", True, True, True),
        ("left...", "left", True, True, True),  # all periods at the end go
        ("women", "woman", False, False, False),  # no rule for plurals
        ("the left", "left", False, False, True),  # none for articles, but Qwen cuts after "the "
        (" yes", "yes", False, False, True),  # only Qwen strips
        ("left. ", "left", False, False, True),  # a space after the period keeps it
        ("t shirt", "t-shirt", False, False, False),
        ("tshirt", "t-shirt", False, True, False),  # lmms-eval deletes punctuation on both sides
        ("left, not right", "left", False, False, True),  # Qwen cuts at the comma
        ("it is a dog", "dog", False, False, True),  # after "is ", then after "a "
        ("umbrella on", "umbrella", False, False, False),
        ("umbrella on", "on", False, False, True),  # "a " inside a word
        ("is is is", "is", False, False, False),  # text between the first and the second "is " is empty
        ("edge of table", "edge", False, False, True),
        ("", "yes", False, False, False),
    ],
)
def test_gqa_is_exact_match_with_three_forgivenesses(
    prediction: str, answer: str, official: bool, lmms: bool, qwen: bool
):
    assert gqa_match(prediction, answer) == official
    assert gqa_match_lmms(prediction, answer) == lmms
    assert gqa_match_qwen(prediction, answer) == qwen


COLORS = ["red", "dark blue", "blue", "green"]


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("B", COLORS, "B"),
        (" B\n", COLORS, "B"),
        ("E", COLORS, "E"),  # a letter alone is what was said, though no option has it
        ("b", COLORS, ""),  # a small letter alone is none, and no option's text
        ("(B)", COLORS, "B"),  # marks become spaces
        ("B. dark blue", COLORS, "B"),
        ("I would choose {C}!", COLORS, "C"),
        ("C stands far from the end of these words", COLORS, ""),  # named once, but before the last four words
        ("A or B", COLORS, ""),  # two letters
        ("The answer is B because A is wrong", COLORS, "B"),  # two letters, but "answer is"
        ("The correct answer is **d**, neither A nor B", COLORS, "D"),  # stars and either case
        ("I think the answer is blue", COLORS, "B"),  # the first character after "answer is"
        ("green", COLORS, "D"),  # an option's text
        ("It looks green", COLORS, "D"),
        ("dark blue", COLORS, ""),  # "blue" is in it too
        ("green " + "very " * 20, COLORS, ""),  # longer than all options twice
        ("D", ["yes", "no"], "D"),
        ("It is D", ["yes", "no"], ""),  # D is no option here
        ("", COLORS, ""),
    ],
)
def test_a_free_answer_names_an_option_by_four_rules_in_turn(text: str, options: list[str], letter: str):
    assert free_letter(text, options) == letter


@pytest.mark.parametrize(("text", "letter"), [(" b. two", "B"), ("The", "T"), ("", ""), ("\nC", "C")])
def test_lmms_eval_reads_the_first_character_for_seedbench(text: str, letter: str):
    assert first_letter(text) == letter


@pytest.mark.parametrize(
    ("prediction", "references", "dataset", "official", "folded"),
    [
        ("The word is Centre.", ["CENTRE"], "IIIT5K", True, True),  # contained, without case
        ("new\nyork", [" New York "], "docVQA", True, True),  # stripped, a line break is a space
        ("newyork", ["New York"], "docVQA", False, False),  # a space is kept
        ("18", ["8", "nine"], "STVQA", True, True),  # one of the answers, also inside a number
        ("12/10", ["12/10/98"], "FUNSD", False, False),  # the reference in the answer, not the reverse
        ("x ^ {2}\n+ Y", ["x ^ { 2 } + Y"], "HME100k", True, True),  # formulas without any space
        ("a = 4", ["A = 4"], "HME100k", False, False),  # but with their case
        ("ab1!", ["\uff21\uff22\uff11"], "ESTVQA_cn", False, True),  # full-width letters
        ("a b", ["a\u3000b"], "ESTVQA_cn", False, True),  # and the ideographic space
        ("", ["of"], "IAM", False, False),
    ],
)
def test_ocrbench_looks_for_a_reference_in_the_answer(
    prediction: str, references: list[str], dataset: str, official: bool, folded: bool
):
    assert ocr_match(prediction, references, dataset) == official
    assert ocr_match_folded(prediction, references, dataset) == folded


@pytest.mark.parametrize(
    ("box", "shared"),
    [
        ((0, 0, 10, 5), 0.5),  # half is enough for a right answer: at least, not more
        ((0, 0, 10, 4.9), 0.49),
        ((5, 5, 15, 15), 25 / 175),
        ((10, 0, 0, 10), 0.0),  # turned around, and not turned back
        ((10, 10, 0, 0), 0.0),
        ((20, 20, 30, 30), 0.0),
        ((0, 0, 20, 10), 0.5),  # beyond the picture, and not cut to it
        ((3, 3, 3, 3), 0.0),
    ],
)
def test_boxes_overlap_by_what_they_share_of_what_they_cover(box, shared: float):
    assert overlap(box, (0, 0, 10, 10)) == pytest.approx(shared)
    assert overlap((3, 3, 3, 3), (3, 3, 3, 3)) == 0.0  # no area at all


@pytest.mark.parametrize(
    ("text", "square", "box"),
    [
        ("(536,509),(588,602)", True, [536.5, 254.8, 588.6, 301.3]),  # thousandths, divided by 999
        ("dog</ref><box>(536,509),(588,602)</box>", False, [536.5, 254.8, 588.6, 301.3]),
        ("(536,509,588),(602)", True, [536.5, 254.8, 588.6, 301.3]),  # the commas are counted over both corners
        ("[0.5, 0.25, 1.0, 0.75]", True, [500, 0, 1000, 500]),  # the square adds 250 pixels above and below
        ("[0.5, 0.25, 1.0, 0.75]", False, [500, 125, 1000, 375]),
        ("It is at [0.1,0.5,0.2,0.6] and [0,0,1,1].", False, [100, 250, 200, 300]),  # the first one
        ("[[100, 200, 300, 400]]", True, [100, 100, 300, 200]),  # thousandths, since they sum to 4 or more
        ("[1, 1, 1, 1]", True, [1, 0.5, 1, 0.5]),
        ("0.5, 0.25, 1.0, 0.75", True, None),  # only what is in brackets
        ("[0.5, 0.25, 1.0]", True, None),
        ("[a, b, c, d]", True, None),
        ("[nan, 0, 1, 1]", True, None),
        ("(1,2),(3)", True, None),
        ("", True, None),
    ],
)
def test_a_box_is_read_in_the_forms_of_three_families(text: str, square: bool, box: list[float] | None):
    found = read_box(text, 1000, 500, square=square)
    assert (found if found is None else pytest.approx(found, abs=0.06)) == (box if box is None else tuple(box))


def test_the_center_of_a_box_may_lie_on_the_edge():
    assert holds_center((0, 0, 20, 10), (10, 0, 30, 10))
    assert not holds_center((0, 0, 19, 10), (10, 0, 30, 10))


@pytest.mark.parametrize(
    ("text", "number", "first"),
    [
        (" Six. ", 6, 6),
        ("6.", 6, 6),
        ("none", 0, 0),
        ("twenty", 20, 20),
        ("10", 10, 10),  # and not the 1 in it
        ("There are 9 of them", None, 9),
        ("six birds", None, None),  # a word counts alone
        ("6.0", None, 6),
        ("-3", -3, -3),
        ("", None, None),
    ],
)
def test_a_count_is_a_number_or_a_word_and_nothing_else(text: str, number: int | None, first: int | None):
    assert count_of(text) == number
    assert first_count(text) == first
