"""GQA's exact match, one function per published rule: each is given an answer and the one right answer."""

from __future__ import annotations

import string

MARKS = str.maketrans("", "", string.punctuation)
STOPS = (".", ",", "!")
# In the order of Qwen-VL's script, which cuts at each in turn: "it is a dog" becomes "a dog", then "dog".
LEADS = ("is ", "are ", "a ", "an ", "the ")


def gqa_match(prediction: str, answer: str) -> bool:
    """Return whether an answer is right by the official script after LLaVA's conversion: no final periods, lower case.

    Nothing else is forgiven: "women" misses "woman", and a space at either end counts.
    """
    return prediction.rstrip(".").lower() == answer


def gqa_match_lmms(prediction: str, answer: str) -> bool:
    """Return whether two answers are equal by lmms-eval's rule: without case and ASCII punctuation."""
    return prediction.lower().translate(MARKS) == answer.lower().translate(MARKS)


def gqa_match_qwen(prediction: str, answer: str) -> bool:
    """Return whether an answer is right after Qwen-VL's script has cut it down.

    The cuts fall inside words too ("umbrella on" becomes "on" for its "a "), as they do in that script.
    """
    text = prediction.strip()
    # What comes before the first of any of these marks.
    for stop in STOPS:
        text = text.split(stop)[0]
    text = text.lower()
    for lead in LEADS:
        if lead in text:
            text = text.split(lead)[1]  # what lies between the first two, not the rest
    return text.split(" of")[0].strip() == answer
