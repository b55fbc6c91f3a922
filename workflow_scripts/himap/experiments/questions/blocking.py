"""Where is the information? Rows that are swapped between two pictures, a picture that arrives late, one that leaves early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings

if TYPE_CHECKING:
    from himap.experiments.cut_runs import Undisturbed
    from himap.experiments.patching import Ending
    from himap.models.model import Model

EDITS = ("instruction", "image", "late", "early")
OTHER, SAME = "other answer", "same answer"  # what the second picture's answer is


def pairs(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return groups of a sample, one with another answer to the same question, and one with the same answer where there is one.

    No sample is in two groups, so that groups are independent. Where no other sample asks the same, the sample is asked
    about the next one's picture.
    """
    # Greedy pairing: each sample takes the first ones after it that fit, in the order of the benchmark.
    waiting = list(samples)
    groups: list[list[Asked]] = []
    alone: list[Asked] = []
    while waiting:
        first = waiting.pop(0)
        alike = [other for other in waiting if other.question.prompt == first.question.prompt]
        # open benchmarks have several right answers to a question, so no answer may be right for both
        others = [other for other in alike if not set(other.sample.references) & set(first.sample.references)]
        same = [other for other in alike if other.sample.references == first.sample.references]
        if others:
            # the third is the control: another picture that leads to the same answer
            groups.append([first, others[0], *same[:1]])
            waiting = [other for other in waiting if all(other is not taken for taken in groups[-1])]
        else:
            alone.append(first)
    for first, second in zip(alone[::2], alone[1::2], strict=False):
        # only the picture is the other sample's; its own question would change the number of rows
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
    from himap.experiments.cut_runs import run_undisturbed
    from himap.experiments.patching import arrive_late, leave_early, text_alone

    first, choices, length = group[0], group[0].question.prompt.choices, settings["new_tokens"]
    prompts = [encode(model, [asked.question]) for asked in group]
    if len({prompt.hidden.shape[1] for prompt in prompts}) > 1:  # pictures of different sizes: rows have no counterpart
        return
    clean, *donors = (run_undisturbed(model, prompt, settings["max_new_tokens"], choices) for prompt in prompts)
    if not usable(model, group, [clean, *donors], settings):
        return
    # the run without a picture, from whose rows a late picture's instruction comes
    text = text_alone(model, prompts[0], length, choices)
    common = {"sample_id": first.sample.sample_id, "kind": first.kind, "layers": len(model.layers)}
    for layer in depths(settings, len(model.layers)):
        runs = [
            (name, donor, *run)
            for name, donor in zip((OTHER, SAME), donors, strict=False)
            for run in swapped(model, clean, donor, layer, length)
        ]
        runs.append(("", text, "late", arrive_late(model, clean, text, layer, length)))
        runs.append(("", text, "early", leave_early(model, clean, layer, length)))
        for name, other, edit, ending in runs:
            yield {
                **common,
                "layer": layer,
                "edit": edit,
                "donor": name,
                **compared(model, ending, clean, other, length),
            }


def usable(model: Model, group: Sequence[Asked], runs: Sequence[Undisturbed], settings: Settings) -> bool:
    """Return whether a pair's answers differ (and those of the control agree), and are right where only right ones count."""
    begins = [run.ids[: settings["new_tokens"]] for run in runs]
    if begins[1] == begins[0] or (len(runs) > 2 and begins[2] != begins[0]):
        return False
    swapped = group[1].sample is group[0].sample  # about another sample's picture: nobody knows the right answer
    # the first run's answer has a reference; the other's is only required to differ
    known = [group[0]] if swapped else group
    return not settings["only_correct"] or all(
        asked.score(model.detokenize(run.ids)) >= 0.5 for asked, run in zip(known, runs, strict=False)
    )


def swapped(
    model: Model, clean: Undisturbed, donor: Undisturbed, layer: int, length: int
) -> Iterator[tuple[str, Ending]]:
    """Yield how the run ends with instruction rows, and with image rows, of the other picture's run."""
    from himap.decoder.tokens import IMAGE, INSTRUCTION
    from himap.experiments.patching import Patch, resume

    for edit, group in (("instruction", INSTRUCTION), ("image", IMAGE)):
        yield edit, resume(model, clean, Patch(layer, donor.entering[layer], group), length)


def compared(model: Model, ending: Ending, clean: Undisturbed, other: Undisturbed, length: int) -> Row:
    """Return what became of the answer: the clean one, the other run's, and how far the logits moved from the one to the other."""
    return {
        "same": int(ending.ids[:length] == clean.ids[:length]),
        "follows": int(ending.ids[:length] == other.ids[:length]),
        "moved": moved(ending, clean, other),
        "answer": model.detokenize(ending.ids),
        "clean_answer": model.detokenize(clean.ids),
        "other_answer": model.detokenize(other.ids),
    }


def moved(ending: Ending, clean: Undisturbed, other: Undisturbed) -> float | None:
    """Return the normalized logit difference: 0 as in the clean run, 1 as in the other; None where both begin alike."""
    # by the first token of each answer, which all later ones depend on
    a, b = clean.ids[0], other.ids[0]
    if a == b:
        return None
    own, start, end = (float(logits[b] - logits[a]) for logits in (ending.logits, clean.logits[0], other.logits[0]))
    return (own - start) / (end - start)


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample, of which three are a group: four clean runs, then from half the depth on the pictures of
    two others at each layer; what swaps or blocks the instruction alone costs little beside them."""
    return (4 + len(depths(settings, layers)) * 0.5 * 3) / 3


QUESTION = OpenQuestion(
    title="Where the information is, by hard blocking",
    about="Where the information is: rows swapped between pictures, a picture that arrives late, one that leaves early.",
    measure=measure,
    prefills=prefills,
    groups=pairs,
    settings={"layers": None, "points": 6, "new_tokens": 1, "only_correct": True},
)
