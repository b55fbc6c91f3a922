"""Extract the chosen letter from an answer, one function per published rule; each returns '' if it finds no letter."""

from __future__ import annotations

import re

LETTERS = "ABCDE"
SENTENCE = re.compile(r"The answer is ([A-Z]).")


def llava_letter(text: str) -> str:
    """Return the letter by LLaVA's rule: the letter alone, or 'A. ' at the start, or exactly one 'The answer is A.'."""
    if text in tuple(LETTERS):
        return text
    if text[:1] in tuple(LETTERS) and text[1:3] == ". ":
        return text[0]
    letters = SENTENCE.findall(text)
    return letters[0] if len(letters) == 1 else ""


def lmms_letter(text: str) -> str:
    """Return the letter by lmms-eval's rule: the letter alone in either case, or a capital followed by a period."""
    stripped = text.strip()
    if len(stripped) == 1:
        return stripped.upper()
    return stripped[0] if len(stripped) >= 2 and stripped[0].isupper() and stripped[1] == "." else ""


def is_right(letter: str, gold: str, n_options: int) -> bool:
    """Return whether the letter is the right one; a letter beyond the options is wrong."""
    return letter != "" and letter == gold and ord(letter) - ord("A") < n_options


def chosen_option(letter: str, options: list[str]) -> str | None:
    """Return the text of the option with this letter, None if no option has it."""
    index = ord(letter) - ord("A") if letter else -1
    return options[index] if 0 <= index < len(options) else None
