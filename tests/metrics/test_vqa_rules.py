"""The VQA normalizers and soft accuracy, with the published test vectors."""

from __future__ import annotations

import pytest
from himap.metrics.vqa import consensus, m4c_normalize, soft_accuracy, vqa_normalize, vqa_script_accuracy

SAME = [
    ("A dog.", "dog"),
    ("two", "2"),
    ("none", "0"),
    ("1,000", "1000"),
    ("5,6", "56"),
    ("3.5.", "3.5"),
    ("U.S.A.", "usa"),
    ("e.g.", "eg"),
    ("rock-n-roll", "rock n roll"),
    ("t-shirt", "t shirt"),
    ("black/white", "black white"),
    ("half-full ?", "half full"),
    ("dont know", "don't know"),
    ("$5", "$5"),
    ("50%", "50%"),
    ("10:30", "10:30"),
    ("A", ""),
    ("-5", "5"),
    ("hello.world", "helloworld"),
    ("  an\tapple\nor the pear ", "apple or pear"),
    ("TEN", "10"),
]


@pytest.mark.parametrize(("raw", "clean"), SAME)
def test_both_normalizers_agree_on(raw: str, clean: str):
    assert vqa_normalize(raw) == clean
    assert m4c_normalize(raw) == clean


@pytest.mark.parametrize(
    ("raw", "short", "long"),
    [("bob's house", "bob's house", "bob 's house"), ("what's up?", "what's up", "what 's up")],
)
def test_m4c_sets_the_possessive_apart(raw: str, short: str, long: str):
    assert vqa_normalize(raw) == short
    assert m4c_normalize(raw) == long


def test_punctuation_is_judged_by_the_original_text():
    assert vqa_normalize("a- b-c") == "bc"  # one dash beside a space: every dash is deleted
    assert vqa_normalize("b-c") == "b c"
    assert vqa_normalize("b-c 1,0") == "bc 10"  # a number with a comma: all punctuation is deleted


def test_m4c_drops_commas_before_they_can_mark_a_number():
    assert vqa_normalize("1,000-b") == "1000b"
    assert m4c_normalize("1,000-b") == "1000 b"


def test_at_most_thirty_two_periods_are_removed():
    assert vqa_normalize("." * 40 + "x") == "." * 8 + "x"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("isnt", "isn't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("ow's'at", "'ow's'at"),
        ("twas", "'twas"),
        ("oclock", "o'clock"),
        ("somebody'd", "somebodyd"),
    ],
)
def test_contractions_get_their_apostrophe(wrong: str, right: str):
    assert vqa_normalize(wrong) == right


def test_words_that_only_look_like_contractions_stay():
    assert [vqa_normalize(word) for word in ("shed", "well", "ill", "im", "ive", "were", "its")] == [
        "shed",
        "well",
        "ill",
        "im",
        "ive",
        "were",
        "its",
    ]


@pytest.mark.parametrize(("matches", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_soft_accuracy_leaves_one_annotator_out(matches: int, score: float):
    assert consensus(matches) == pytest.approx(score)
    answers = ["cat"] * matches + [f"x{n}" for n in range(10 - matches)]
    assert soft_accuracy("The cat!", answers, vqa_normalize) == pytest.approx(score)


def test_the_official_script_compares_raw_strings_if_all_agree():
    assert vqa_script_accuracy("dog", ["a dog"] * 10) == 0.0
    assert vqa_script_accuracy("a dog\n", ["a dog"] * 10) == 1.0
    assert vqa_script_accuracy("Dog", ["a dog"] * 9 + ["cat"]) == 1.0
    assert soft_accuracy("dog", ["a dog"] * 10, vqa_normalize) == 1.0
