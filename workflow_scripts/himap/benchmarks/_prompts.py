"""How questions are put: the authors' forms that several benchmarks share, and a template of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from himap.benchmarks._sample import Sample
from himap.models.prompts import Prompt

# The suffixes of LLaVA's evaluation scripts, and lmms-eval's request for a caption, which LLaVA has none of.
SHORT_ANSWER = "Answer the question using a single word or phrase."
OPTION_LETTER = "Answer with the option's letter from the given choices directly."
ONE_SENTENCE = "Provide a one-sentence caption for the provided image."
PromptMaker = Callable[[Sample, str, Mapping[str, Any]], Prompt]  # (sample, family, protocol options) -> prompt


def fill_template(template: str, sample: Sample, benchmark: str) -> str:
    """Return a prompt template from the config with the sample's fields put in."""
    fields = {
        "question": sample.question,
        "options": lettered(sample.options),
        "letters": ", ".join(letters(sample.options)),
        "hint": sample.metadata.get("hint") or "",
        "ocr": ", ".join(sample.metadata.get("ocr_tokens") or []),
    }
    try:
        return template.format(**fields)
    # A template comes from a config: "{nothing}", "{0}", "{question.x}" and a brace that is not closed end up here.
    except (AttributeError, KeyError, IndexError, ValueError) as error:
        known = ", ".join("{" + name + "}" for name in fields)
        raise ValueError(
            f"benchmark {benchmark}: prompt template {template!r} is not usable ({error}); it may hold {known}"
        ) from error


def letters(options: Iterable[str]) -> list[str]:
    """Return A, B, C, ... one for each option."""
    return [chr(ord("A") + index) for index, _ in enumerate(options)]


def lettered(options: Iterable[str]) -> str:
    """Return the options one per line, each after its letter: 'A. text'."""
    options = list(options)
    return "\n".join(f"{letter}. {option}" for letter, option in zip(letters(options), options, strict=True))


def question_then(suffix: str, separator: str = "\n") -> PromptMaker:
    """Return a maker of prompts: question, separator, suffix for LLaVA and InternVL; Qwen's raw question-answering prompt for Qwen."""

    def make(sample: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
        if family == "qwen_vl":
            return qwen_question(sample.question)  # its own form has no suffix
        return Prompt(sample.question + (" " if one_line(family, options) else separator) + suffix)

    return make


def one_line(family: str, options: Mapping[str, Any]) -> bool:
    """Return whether the scripts chosen for InternVL put question and suffix on one line."""
    return family == "internvl" and options.get("scripts") == "internvl"


def qwen_question(question: str) -> Prompt:
    """Return Qwen-VL's question-answering prompt, which its published scores use: raw text, no chat template."""
    return Prompt(f"{question} Answer:", style="raw")


def qwen_choice(sample: Sample) -> Prompt:
    """Return Qwen-VL's multiple-choice prompt: nothing is generated, the letter with the lowest loss is the answer."""
    # Its script writes the line without a hint too. LLaVA's (`ask_for_letter`) leaves it out.
    hint = sample.metadata.get("hint") or "N/A"
    text = f"Context: {hint}\nQuestion: {sample.question}\nOptions: {lettered(sample.options)}\nAnswer:"
    # With the space: "Answer:" and " A" is how its vocabulary writes a letter after a colon; "A" alone is another token.
    return Prompt(text, style="raw", choices=tuple(f" {letter}" for letter in letters(sample.options)))


def ask_for_letter(sample: Sample) -> Prompt:
    """Return LLaVA's multiple-choice prompt: context if there is one, question, lettered options, 'answer with the letter'."""
    hint = sample.metadata.get("hint")
    context = [f"Context: {hint}"] if hint else []
    return Prompt("\n".join([*context, sample.question, lettered(sample.options), OPTION_LETTER]))


def without_instruction(text: str) -> str:
    """Return a prompt's text without the last line that says how short the answer is to be, which is about no picture."""
    # Methods that compare image tokens with the question (CDPruner) should not compare them with this line too.
    for instruction in (SHORT_ANSWER, OPTION_LETTER):
        text = text.removesuffix(instruction)
    return text.strip()


def caption_prompt(sample: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the request for a caption; Qwen has a raw one of its own."""
    if family == "qwen_vl":
        return Prompt("Describe the image in English:", style="raw")
    return Prompt(ONE_SENTENCE)


def bare_question(sample: Sample, family: str, options: Mapping[str, Any]) -> Prompt:
    """Return the question as it is, for open-ended answers."""
    return Prompt(sample.question)
