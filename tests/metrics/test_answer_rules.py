"""Yes and no, letters, numbers, similar strings, verdicts: one rule each, as published."""

from __future__ import annotations

import pytest
from himap.metrics.anls import anls
from himap.metrics.choice import chosen_option, is_right, llava_letter, lmms_letter
from himap.metrics.detection import confusion, f1, rates
from himap.metrics.judged import parse_grade, parse_pair
from himap.metrics.relaxed import relaxed_match
from himap.metrics.yes_no import mme_answer, mme_answer_lmms, pope_answer, pope_answer_lmms


@pytest.mark.parametrize(
    ("text", "official", "lmms"),
    [
        ("Yes", "yes", "yes"),
        ("NO", "no", "no"),
        ("yes, it is", "yes", "yes"),
        ("No.", "no", "no"),
        ("not sure", "no", "no"),
        ("I know", "other", "other"),
        ("know", "no", "no"),
        ("It is. Yes", "other", "other"),
        ("   yes", "other", "yes"),
        (" yes", "yes", "yes"),
        ("y", "other", "yes"),
        ("N", "other", "no"),
        ("", "other", "other"),
        ("yes no", "yes", "yes"),
    ],
)
def test_mme_reads_four_characters(text: str, official: str, lmms: str):
    assert mme_answer(text) == official
    assert mme_answer_lmms(text) == lmms


@pytest.mark.parametrize(
    ("text", "official", "lmms"),
    [
        ("Yes", "yes", "yes"),
        ("No", "no", "no"),
        ("NO", "yes", "no"),
        ("No.", "no", "other"),
        ("", "yes", "other"),
        ("None", "yes", "other"),
        ("Nope", "yes", "other"),
        ("there is not", "no", "other"),
        ("No, there is", "no", "other"),
        ("Yes. No", "yes", "other"),
        ("I think\nno", "yes", "other"),
        (" no ", "no", "no"),
    ],
)
def test_pope_reads_the_words_of_the_first_sentence(text: str, official: str, lmms: str):
    assert pope_answer(text) == official
    assert pope_answer_lmms(text) == lmms


@pytest.mark.parametrize(
    ("text", "llava", "lmms"),
    [
        ("B", "B", "B"),
        ("b", "", "B"),
        ("B. blue", "B", "B"),
        ("B.", "", "B"),
        ("B) blue", "", ""),
        ("The answer is B.", "B", ""),
        ("The answer is B. The answer is C.", "", ""),
        ("So: The answer is D!", "D", ""),
        ("F", "", "F"),
        ("", "", ""),
        (" B", "", "B"),
    ],
)
def test_letters_are_read(text: str, llava: str, lmms: str):
    assert llava_letter(text) == llava
    assert lmms_letter(text) == lmms


def test_a_letter_beyond_the_options_is_wrong():
    assert is_right("B", "B", 2)
    assert not is_right("C", "C", 2)
    assert not is_right("", "A", 2)
    assert chosen_option("B", ["x", "y"]) == "y"
    assert chosen_option("C", ["x", "y"]) is None
    assert chosen_option("", ["x", "y"]) is None


@pytest.mark.parametrize(
    ("prediction", "target", "right"),
    [
        ("105", "100", True),
        ("94.9", "100", False),
        ("95", "100", True),
        ("0.14", "14%", True),
        ("14%", "14", False),
        ("14", "14%", False),
        ("1,000", "1000", False),
        ("0.0", "0", False),
        ("0", "0", True),
        ("Yes", "yes", True),
        ("Yes.", "yes", False),
        ("2018", "2017", True),
        ("$5", "5", False),
        ("-105", "-100", True),
        (" yes", "yes", False),
        (" 5 ", "5", True),
    ],
)
def test_relaxed_accuracy(prediction: str, target: str, right: bool):
    assert relaxed_match(prediction, target) is right


def test_the_tolerance_is_relative_to_the_target():
    assert relaxed_match("105", "100")
    assert not relaxed_match("100", "105.5")
    assert not relaxed_match("100", "95")


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("0.28", ["0.28"], 1.0),
        ("11:44 a.m.", ["11:44"], 0.5),
        ("University of California", ["university of california, san diego", "UCSD"], 0.6857),
        ("abc", ["abd"], 0.6667),
        ("a", ["b"], 0.0),
        ("", ["x"], 0.0),
        ("", [""], 1.0),
        ("  Two   words ", ["two words"], 1.0),
        ("ab  d", ["ab c"], 0.8),
    ],
)
def test_anls(prediction: str, references: list[str], score: float):
    assert anls(prediction, references) == pytest.approx(score, abs=5e-5)


def test_rates_of_yes_and_no():
    measured = rates(confusion(["yes", "yes", "no", "other", "no"], ["yes", "no", "yes", "yes", "no"]).sum(0))
    assert measured == pytest.approx(
        {"f1": 50.0, "accuracy": 40.0, "precision": 50.0, "recall": 50.0, "yes_ratio": 40.0}
    )


def test_f1_of_nothing_positive_is_zero():
    assert f1(confusion(["no"], ["no"]).sum(0)) == 0.0


@pytest.mark.parametrize(
    ("review", "scores"),
    [
        ("8 7\nwhy", [8.0, 7.0]),
        ("8.5,7", [8.5, 7.0]),
        ("8, 7", None),
        ("8  7", None),
        ("8 7 ", None),
        ("8", None),
        ("Scores: 8 7", None),
        ("nan 7", None),
        ("", None),
    ],
)
def test_pairs_of_scores_are_read(review: str, scores: list[float] | None):
    assert parse_pair(review) == scores


@pytest.mark.parametrize(
    ("content", "grade"),
    [
        ("0.5", [0.5]),
        ("1", [1.0]),
        ("0.3 because", [0.3]),
        ("1.1", None),
        ("-0.1", None),
        ("Good", None),
        ("", None),
        ("nan", None),
    ],
)
def test_grades_are_read(content: str, grade: list[float] | None):
    assert parse_grade(content) == grade
