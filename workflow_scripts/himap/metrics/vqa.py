"""VQA soft accuracy and the two answer normalisers of the official scripts (VQAv2's and M4C's, which TextVQA uses)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIOD = re.compile(r"\.(?!\d)")
PERIODS_AT_MOST = 32  # the official call passes a regex flag where the count belongs
COMMA_IN_NUMBER = re.compile(r"\d,\d")
NUMBERS = {"none": "0"} | {
    word: str(n)
    for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
}
ARTICLES = frozenset({"a", "an", "the"})
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
    """The ways to misspell a contraction by leaving out one apostrophe."""
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"]


# the official table maps every such misspelling back; "somebody'd" alone goes the other way there
CONTRACTIONS = {wrong: word for word in SPELT.split() for wrong in without_one_apostrophe(word)} | {
    "somebody'd": "somebodyd"
}


def strip_punctuation(text: str) -> str:
    """Punctuation beside a space (or all, in a text with a number like 1,000) goes, other becomes a space."""
    grouped = COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in PUNCTUATION:
        if mark in text:
            glued = not (grouped or f"{mark} " in text or f" {mark}" in text)
            out = out.replace(mark, " " if glued else "")
    return PERIOD.sub("", out, count=PERIODS_AT_MOST)


def simplify_words(text: str) -> str:
    """Lower case, number words as digits, no articles, contractions with their apostrophe, single spaces."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


@lru_cache(maxsize=1 << 16)
def vqa_normalise(answer: str) -> str:
    """The official VQA script's answer processing, as VQAv2 is scored with."""
    return simplify_words(strip_punctuation(one_line(answer)))


@lru_cache(maxsize=1 << 16)
def m4c_normalise(answer: str) -> str:
    """M4C's answer processing, as TextVQA is scored with: a possessive 's becomes a word of its own first."""
    words = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return simplify_words(strip_punctuation(one_line(words)))


def one_line(text: str) -> str:
    """Newlines and tabs as spaces, nothing at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def consensus(matches: int, annotators: int = 10) -> float:
    """Mean over annotators of min(1, how many of the others gave the answer / 3)."""
    agreeing, others = min(1.0, max(matches - 1, 0) / 3), min(1.0, matches / 3)
    return (matches * agreeing + (annotators - matches) * others) / annotators


def soft_accuracy(prediction: str, answers: Sequence[str], normalise: Callable[[str], str]) -> float:
    """VQA accuracy of one prediction against its annotators' answers, both sides normalised."""
    given = normalise(prediction)
    return consensus(sum(normalise(answer) == given for answer in answers), len(answers))


def vqa_script_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The official VQA script to the letter: normalises only if the annotators disagree."""
    cleaned = [one_line(answer) for answer in answers]
    given = one_line(prediction)
    if len(set(cleaned)) > 1:
        return soft_accuracy(given, cleaned, vqa_normalise)
    return consensus(sum(answer == given for answer in cleaned), len(cleaned))
