"""Reading the chosen letter out of an answer, one function for each published rule; '' where none is found."""

from __future__ import annotations

import re

LETTERS = "ABCDE"
SENTENCE = re.compile(r"The answer is ([A-Z]).")


def llava_letter(text: str) -> str:
    """LLaVA's rule: the letter alone, or 'A. ' at the start, or one single 'The answer is A.'."""
    if text in tuple(LETTERS):
        return text
    if text[:1] in tuple(LETTERS) and text[1:3] == ". ":
        return text[0]
    found = SENTENCE.findall(text)
    return found[0] if len(found) == 1 else ""


def lmms_letter(text: str) -> str:
    """lmms-eval's rule: the letter alone in either case, or a capital followed by a period."""
    stripped = text.strip()
    if len(stripped) == 1:
        return stripped.upper()
    return stripped[0] if len(stripped) >= 2 and stripped[0].isupper() and stripped[1] == "." else ""


def is_right(letter: str, gold: str, n_options: int) -> bool:
    """Whether the letter is the gold one; a letter beyond the options is wrong."""
    return letter != "" and letter == gold and ord(letter) - ord("A") < n_options


def chosen_option(letter: str, options: list[str]) -> str | None:
    """The text of the option that a letter stands for, None if there is none."""
    at = ord(letter) - ord("A") if letter else -1
    return options[at] if 0 <= at < len(options) else None
