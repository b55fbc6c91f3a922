"""Reading yes or no out of an answer, one function for each published rule."""

from __future__ import annotations


def mme_answer(text: str) -> str:
    """MME's rule: exactly yes or no, else whichever of the two stands in the first four characters, else 'other'."""
    lowered = text.lower()
    if lowered in ("yes", "no"):
        return lowered
    return next((word for word in ("yes", "no") if word in lowered[:4]), "other")


def mme_answer_lmms(text: str) -> str:
    """lmms-eval's reading for MME: periods and outer space removed first, and a single y or n counts."""
    cleaned = text.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(cleaned) or mme_answer(cleaned)


def pope_answer(text: str) -> str:
    """POPE's rule: 'no' if No, no or not is a word of the first sentence; all else, empty answers too, is 'yes'."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def pope_answer_lmms(text: str) -> str:
    """lmms-eval's reading for POPE: the whole answer has to be yes or no."""
    cleaned = text.lower().strip()
    return cleaned if cleaned in ("yes", "no") else "other"
