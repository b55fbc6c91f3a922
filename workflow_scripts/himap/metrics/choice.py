"""Extract the chosen letter from an answer, one function per published rule; each returns '' if it finds no letter."""

from __future__ import annotations

import re

LETTERS = "ABCDE"  # ScienceQA has up to five choices
SENTENCE = re.compile(r"The answer is ([A-Z]).")  # the last dot is unescaped in LLaVA's script, so "D!" counts as well
MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
ANSWER_IS = re.compile(r"answer\s+is\s+\**([A-D])", re.IGNORECASE)  # stars: Markdown's bold


def llava_letter(text: str) -> str:
    """Return the letter by LLaVA's rule: the letter alone, or 'A. ' at the start, or exactly one 'The answer is A.'."""
    # A tuple, because "" and "AB" are in the string too.
    if text in tuple(LETTERS):
        return text
    if text[:1] in tuple(LETTERS) and text[1:3] == ". ":  # "A. blue", but neither "A.blue" nor "A."
        return text[0]
    letters = SENTENCE.findall(text)
    return letters[0] if len(letters) == 1 else ""


def lmms_letter(text: str) -> str:
    """Return the letter by lmms-eval's rule: the letter alone in either case, or a capital followed by a period."""
    stripped = text.strip()
    if len(stripped) == 1:
        return stripped.upper()
    return stripped[0] if len(stripped) >= 2 and stripped[0].isupper() and stripped[1] == "." else ""


def first_letter(text: str) -> str:
    """Return the first character in upper case, as lmms-eval reads answers to SEED-Bench."""
    return text.strip()[:1].upper()


def free_letter(text: str, options: list[str]) -> str:
    """Return the letter that a free answer names, by VLMEvalKit's rules for MMBench without its language model.

    In this order: the letter alone; one option's letter among the last four words, no other's anywhere; what follows "answer
    is"; one option's text, no other's, in an answer at most twice as long as all options. As in that toolkit "answer is"
    takes the first character of whatever follows ("answer is blue" names B). Where it draws a letter at random, there is none.
    """
    stripped = text.strip()
    # Also a letter that no option has: it was named, and is wrong.
    if len(stripped) == 1 and "A" <= stripped <= "Z":
        return stripped
    known = [chr(ord("A") + index) for index in range(len(options))]
    words = stripped.translate(MARKS).split()
    named = [letter for letter in known if letter in words]
    # Only near the end, or the article in "A man stands beside the dog" would be option A.
    if len(named) == 1 and words.index(named[0]) >= len(words) - 4:
        return named[0]
    if (sentence := ANSWER_IS.search(stripped)) and sentence[1].upper() in known:
        return sentence[1].upper()
    if len(stripped) > 2 * sum(map(len, options)):  # an essay, in which an option's text may come by chance
        return ""
    quoted = [letter for letter, option in zip(known, options, strict=True) if option.lower() in stripped.lower()]
    return quoted[0] if len(quoted) == 1 else ""


def is_right(letter: str, gold: str, n_options: int) -> bool:
    """Return whether the letter is the right one; a letter beyond the options is wrong."""
    return letter != "" and letter == gold and ord(letter) - ord("A") < n_options


def chosen_option(letter: str, options: list[str]) -> str | None:
    """Return the text of the option with this letter, None if no option has it."""
    index = ord(letter) - ord("A") if letter else -1
    return options[index] if 0 <= index < len(options) else None
