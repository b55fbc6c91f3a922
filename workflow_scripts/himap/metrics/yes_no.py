"""Read yes or no from an answer, one function per published rule."""

from __future__ import annotations


def mme_answer(text: str) -> str:
    """Return MME's reading: exactly yes or no, else whichever of the two is in the first four characters, else 'other'."""
    lowered = text.lower()
    if lowered in ("yes", "no"):
        return lowered
    # Four characters, as in MME's script: "not sure" is a no for its "no", "i know" has none in "i kn".
    return next((word for word in ("yes", "no") if word in lowered[:4]), "other")


def mme_answer_lmms(text: str) -> str:
    """Return lmms-eval's reading for MME: periods and outer spaces are removed first, and a single y or n counts."""
    cleaned = text.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(cleaned) or mme_answer(cleaned)


def pope_answer(text: str) -> str:
    """Return POPE's reading: 'no' if No, no or not is a word of the first sentence, else 'yes', also if it is empty."""
    # As in POPE's script: only these spellings, so that "NO" and "None" are a yes.
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def pope_answer_lmms(text: str) -> str:
    """Return lmms-eval's reading for POPE: 'yes' or 'no' only if that is the whole answer, else 'other'."""
    cleaned = text.lower().strip()
    return cleaned if cleaned in ("yes", "no") else "other"
