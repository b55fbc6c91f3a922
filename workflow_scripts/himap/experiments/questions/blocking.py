"""Where is the information? Rows that are swapped between two pictures, a picture that arrives late, one that leaves early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings

if TYPE_CHECKING:
    from himap.experiments.disruption import Undisturbed
    from himap.experiments.patching import Ending
    from himap.models.model import Model

EDITS = ("instruction", "image", "late", "early")
OTHER, SAME = "other answer", "same answer"  # what the second picture's answer is


def pairs(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return groups of a sample, one with another answer to the same question, and one with the same answer where there is one.

    No sample is in two groups, so that groups are independent. Where no other sample asks the same, the sample is asked
    about the next one's picture.
    """
    waiting = list(samples)
    groups: list[list[Asked]] = []
    alone: list[Asked] = []
    while waiting:
        first = waiting.pop(0)
        alike = [other for other in waiting if other.question.prompt == first.question.prompt]
        others = [other for other in alike if not set(other.sample.references) & set(first.sample.references)]
        same = [other for other in alike if other.sample.references == first.sample.references]
        if others:
            groups.append([first, others[0], *same[:1]])
            waiting = [other for other in waiting if all(other is not taken for taken in groups[-1])]
        else:
            alone.append(first)
    for first, second in zip(alone[::2], alone[1::2], strict=False):
        groups.append([first, replace(first, question=replace(first.question, images=second.question.images))])
    return groups


def depths(settings: Settings, layers: int) -> list[int]:
    """Return the layers at which rows are swapped: those of the settings, else up to so many over the whole depth."""
    if settings["layers"] is not None:
        return [layer for layer in settings["layers"] if layer < layers]
    points = min(settings["points"], layers)
    return sorted({round(index * (layers - 1) / max(1, points - 1)) for index in range(points)})


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield a row per layer and edit; none where the clean runs do not answer as the pair is meant to."""
    from himap.experiments.answers import encode
    from himap.experiments.disruption import run_undisturbed
    from himap.experiments.patching import arrive_late, ending_of, leave_early, text_alone

    first, choices = group[0], group[0].question.prompt.choices
    length = min(settings["new_tokens"], settings["max_new_tokens"])
    prompts = [encode(model, [asked.question]) for asked in group]
    clean, *donors = (run_undisturbed(model, prompt, length, choices) for prompt in prompts)
    answers = [model.detokenize(run.ids) for run in (clean, *donors)]
    if not usable(group, answers, settings) or any(len(p.groups[0]) != len(prompts[0].groups[0]) for p in prompts):
        return
    text = text_alone(model, prompts[0], length, choices)
    common = {"sample_id": first.sample.sample_id, "kind": first.kind, "layers": len(model.layers)}
    for layer in depths(settings, len(model.layers)):
        for donor, name in zip(donors, (OTHER, SAME), strict=False):
            for edit, ending in swapped(model, clean, donor, layer, length):
                yield {
                    **common, "layer": layer, "edit": edit, "donor": name,
                    **compared(model, ending, ending_of(clean), ending_of(donor)),
                }  # fmt: skip
        for edit, ending in (
            ("late", arrive_late(model, clean, text, layer, length)),
            ("early", leave_early(model, clean, layer, length)),
        ):
            yield {
                **common, "layer": layer, "edit": edit, "donor": "",
                **compared(model, ending, ending_of(clean), ending_of(text)),
            }  # fmt: skip


def usable(group: Sequence[Asked], answers: Sequence[str], settings: Settings) -> bool:
    """Return whether a pair's answers differ (and those of the control agree), and are right where only right ones count."""
    if answers[1] == answers[0] or (len(answers) > 2 and answers[2] != answers[0]):
        return False
    swapped = group[1].sample is group[0].sample  # about another sample's picture: nobody knows the right answer
    known = [group[0]] if swapped else group
    return not settings["only_correct"] or all(
        asked.score(answer) >= 0.5 for asked, answer in zip(known, answers, strict=False)
    )


def swapped(
    model: Model, clean: Undisturbed, donor: Undisturbed, layer: int, length: int
) -> Iterator[tuple[str, Ending]]:
    """Yield how the run ends with instruction rows, and with image rows, of the other picture's run."""
    from himap.decoder.tokens import IMAGE, INSTRUCTION
    from himap.experiments.patching import Patch, resume

    for edit, group in (("instruction", INSTRUCTION), ("image", IMAGE)):
        yield edit, resume(model, clean, layer, Patch(layer, donor.entering[layer], group), length)


def compared(model: Model, ending: Ending, clean: Ending, other: Ending) -> Row:
    """Return what became of the answer: the clean one, the other run's, and how far the logits moved from the one to the other."""
    return {
        "same": int(ending.ids == clean.ids),
        "follows": int(ending.ids == other.ids),
        "moved": moved(ending, clean, other),
        "answer": model.detokenize(ending.ids),
        "clean_answer": model.detokenize(clean.ids),
        "other_answer": model.detokenize(other.ids),
    }


def moved(ending: Ending, clean: Ending, other: Ending) -> float | None:
    """Return the normalized logit difference: 0 as in the clean run, 1 as in the other; None where both begin alike."""
    a, b = clean.ids[0], other.ids[0]
    if a == b:
        return None
    own, start, end = (float(run.logits[b] - run.logits[a]) for run in (ending, clean, other))
    return (own - start) / (end - start)


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: a clean run, then half a prompt for each layer, of six edits of three samples."""
    return 2 + len(depths(settings, layers)) * 0.5 * 6 / 3


QUESTION = OpenQuestion(
    title="Where the information is, by hard blocking",
    about="Where the information is: rows swapped between pictures, a picture that arrives late, one that leaves early.",
    measure=measure,
    prefills=prefills,
    groups=pairs,
    settings={"layers": None, "points": 16, "new_tokens": 8, "only_correct": True},
)
