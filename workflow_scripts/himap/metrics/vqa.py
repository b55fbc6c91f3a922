"""VQA soft accuracy, and the answer normalizers of the two official scripts: VQAv2's, and M4C's for TextVQA.

Their quirks are copied on purpose, so that our scores are comparable with published ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIOD = re.compile(r"\.(?!\d)")  # "3.5" keeps its period
PERIODS_AT_MOST = 32  # the official script passes re.UNICODE, which is 32, where re.sub expects the count
COMMA_IN_NUMBER = re.compile(r"\d,\d")
NUMBERS = {"none": "0"} | {
    word: str(n)
    for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
}
ARTICLES = frozenset({"a", "an", "the"})
# Contractions as they are spelled right; the misspelled ones that an answer may have are made of them below.
SPELT = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def without_one_apostrophe(word: str) -> list[str]:
    """Return the ways to misspell a contraction by leaving out one apostrophe."""
    return [word[:index] + word[index + 1 :] for index, letter in enumerate(word) if letter == "'"]


# The official table maps every such misspelling to the right word, except that it maps "somebody'd" to a misspelling.
CONTRACTIONS = {wrong: word for word in SPELT.split() for wrong in without_one_apostrophe(word)} | {
    "somebody'd": "somebodyd"
}


def strip_punctuation(text: str) -> str:
    """Delete punctuation marks that are next to a space somewhere in the text, and replace the others by a space.

    In a text with a number like 1,000 all marks are deleted. Periods are deleted except before a digit.
    """
    has_grouped_number = COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in PUNCTUATION:
        # Asked of the text as it was: marks that are gone already still decide how the others are treated.
        if mark in text:
            between_letters = not (has_grouped_number or f"{mark} " in text or f" {mark}" in text)
            stripped = stripped.replace(mark, " " if between_letters else "")
    return PERIOD.sub("", stripped, count=PERIODS_AT_MOST)


def simplify_words(text: str) -> str:
    """Return a text in lower case with digits for number words, without articles, contractions with their apostrophe."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


# Cached, since the ten annotators of a question mostly gave the same few answers.
@lru_cache(maxsize=1 << 16)
def vqa_normalize(answer: str) -> str:
    """Normalize an answer as the official VQA script does, which scores VQAv2."""
    return simplify_words(strip_punctuation(one_line(answer)))


@lru_cache(maxsize=1 << 16)
def m4c_normalize(answer: str) -> str:
    """Normalize an answer as M4C does, which scores TextVQA: a possessive 's becomes a word of its own first."""
    # Commas go first, so that no number like 1,000 is left by which `strip_punctuation` deletes all other marks.
    words = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return simplify_words(strip_punctuation(one_line(words)))


def one_line(text: str) -> str:
    """Return a text with spaces for newlines and tabs, and none at its ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def consensus(matches: int, annotators: int = 10) -> float:
    """Return the mean over annotators of min(1, how many of the others gave the answer / 3)."""
    # Leaving out an annotator who agrees removes one match; leaving out one who does not removes none.
    # Three of the other nine are full agreement.
    agreeing, others = min(1.0, max(matches - 1, 0) / 3), min(1.0, matches / 3)
    return (matches * agreeing + (annotators - matches) * others) / annotators


def soft_accuracy(prediction: str, answers: Sequence[str], normalize: Callable[[str], str]) -> float:
    """Return the VQA accuracy of a prediction against its annotators' answers, both sides normalized."""
    normalized = normalize(prediction)
    return consensus(sum(normalize(answer) == normalized for answer in answers), len(answers))


def vqa_script_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Return the VQA accuracy exactly as the official script does, which normalizes only if the annotators disagree."""
    references = [one_line(answer) for answer in answers]
    answer = one_line(prediction)
    if len(set(references)) > 1:
        return soft_accuracy(answer, references, vqa_normalize)
    return consensus(sum(reference == answer for reference in references), len(references))
