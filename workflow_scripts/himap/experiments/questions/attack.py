"""Can attention be led astray? Scores that are weighted while the content stays, and pixels that draw attention to empty cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._samples import BATCH, batches, named, one_of_each
from himap.experiments.questions._schedules import REFERENCE, UNPRUNED

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.layout import Layout
    from himap.decoder.tokens import Rows
    from himap.experiments.importance import Entering
    from himap.models.model import Model
    from himap.pruning.intervention import Pruning
    from himap.pruning.stage import Stage

CLEAN, ATTACKED, NOISE = "clean", "attacked", "noise"
CONTROLS = ["embedding_norm", "random"]  # criteria that look at no attention: no weight on it changes them


def with_evidence(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return samples that are about some of the image tokens and not all, a few at a time; with a border all samples."""
    return batches([asked for asked in samples if asked.evidence or settings["border"]], BATCH)


def evidence_of(asked: Asked, layouts: Sequence[Layout], settings: Settings) -> list[int]:
    """Return the image tokens that a question is about; where the data do not say, those that are not in the border.

    None for a picture that is no single square of cells, since no cell of it is a square of pixels.
    """
    parts = [part for layout in layouts for part in layout.parts]
    if len(parts) != 1 or parts[0].rows != parts[0].columns:
        return []
    if asked.evidence or not settings["border"]:
        return asked.tokens_about(layouts)
    side, border = parts[0].rows, settings["border"]
    inside = range(border, side - border)
    return [row * side + column for row in inside for column in inside]


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield a row per sample, method and weight; and of one sample per question a row per picture and criterion under attack."""
    yield from weighted(model, group, settings)
    for (asked,) in one_of_each(group, settings):
        yield from under_attack(model, asked, settings)


# ---- weighted scores


def weighted(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield the answers of each method where attention to tokens without evidence counts so many times; controls at both ends."""
    from himap.experiments.answers import encode
    from himap.experiments.attacks import Weighted
    from himap.experiments.importance import entering
    from himap.experiments.sharing import sample_seed

    prompt = encode(model, [asked.question for asked in group])
    seeds = [sample_seed(settings["seed"], asked.sample.sample_id) for asked in group]
    evidence = [evidence_of(asked, prompt.layouts[b], settings) for b, asked in enumerate(group)]
    weights, schedules = settings["weights"], methods(model)
    # the layers below a first stage run once for all weights and methods that drop nothing there
    # by the layer of a method's first stage
    below = {
        layer: entering(model, prompt, layer, settings["new_tokens"])
        for layer in {stages[0].layer for stages in schedules.values()}
    }
    for method, stages in schedules.items():
        for weight in weights if method not in CONTROLS else [weights[0], weights[-1]]:
            pruning = Weighted(model, stages, prompt, seeds, evidence, weight)
            answers = resumed(model, prompt, below[stages[0].layer], pruning, settings["new_tokens"])
            for b, asked in enumerate(group):
                if not evidence[b]:
                    continue
                text = model.detokenize(answers[b])
                # after the last stage
                kept = pruning.kept[stages[-1].layer][b]
                yield {
                    "part": "weighted", **named(asked), "method": method, "weight": weight, "score": asked.score(text), "answer": text,
                    "recall": share_of(kept, evidence[b]),
                }  # fmt: skip


def resumed(model: Model, prompt: Rows, at: Entering, pruning: Pruning, new_tokens: int) -> list[list[int]]:
    """Return the answers, as token ids, of a run that goes on from what enters its first stage."""
    import torch

    from himap.decoder.generation import continue_greedily, next_token_logits
    from himap.decoder.loop import forward
    from himap.experiments.sharing import shared

    layer = pruning.stages[0].layer
    cache = shared(at.cache, layer)
    with torch.no_grad():
        rows = forward(model, at.rows, cache, [pruning], start=layer, below=at.below)
        return continue_greedily(model, prompt, cache, next_token_logits(model, rows), new_tokens, [pruning]).ids


def methods(model: Model) -> dict[str, tuple[Stage, ...]]:
    """Return HiMAP's and FastV's stages, and HiMAP's with criteria that look at no attention."""
    from himap.experiments.questions._schedules import reference
    from himap.pruning.resolve import resolve

    himap = reference(model).stages
    fastv = resolve("fastv", model.dims, model=model.name, schedules=model.extras.get("schedules")).stages
    controls = {name: tuple(replace(stage, criterion=name) for stage in himap) for name in CONTROLS}
    return {"himap": himap, "fastv": fastv, **controls}


def share_of(kept: Sequence[int], evidence: Sequence[int]) -> float | None:
    """Return the share of the evidence among kept tokens; None where there is none."""
    return len(set(kept) & set(evidence)) / len(evidence) if evidence else None


# ---- attack


def under_attack(model: Model, asked: Asked, settings: Settings) -> Iterator[Row]:
    """Yield how each criterion answers, and what it keeps, about the picture as it is, attacked, and with noise of the same size."""
    import torch

    from himap.experiments.answers import prompt_ids
    from himap.experiments.attacks import attack, noise, scores_and_logits
    from himap.experiments.pictures import look, pixels_of
    from himap.experiments.questions._schedules import reference
    from himap.experiments.sharing import sample_seed

    first = reference(model).stages[0]
    pixels = pixels_of(model, asked.question)
    (tokens,) = look(model, [asked.question]).tokens
    evidence = evidence_of(asked, [picture.layout for picture in tokens], settings)
    if not evidence:
        return
    ids = prompt_ids(model, asked.question, [tokens[0].layout])
    free, seed = (
        free_cells(asked, evidence, len(tokens[0].features)),
        sample_seed(settings["seed"], asked.sample.sample_id),
    )
    pixels, limits = pixels.to(model.device, model.dtype), {"size": settings["size"]}
    # the clean picture's own next token, which the attack has to keep
    with torch.no_grad():
        target = int(scores_and_logits(model, ids, pixels, first)[1].argmax())
    pictures = {
        CLEAN: pixels,
        ATTACKED: attack(model, ids, pixels, first, evidence, free, target, steps=settings["steps"], **limits),
        NOISE: noise(pixels, free, seed=seed, **limits),
    }
    answers = answered(model, asked, ids, pictures, first, evidence, settings)
    whole = {row["method"]: row["answer"] for row in answers[CLEAN]}
    for name, rows in answers.items():
        unpruned = next(row["answer"] for row in rows if row["method"] == UNPRUNED)
        for row in rows:
            yield {
                "part": "attack", **named(asked), "picture": name, **row, "stays": int(unpruned == whole[UNPRUNED]),
                "same": int(row["answer"] == whole[UNPRUNED]), "clean_same": int(whole[row["method"]] == whole["unpruned"]),
            }  # fmt: skip


def free_cells(asked: Asked, evidence: Sequence[int], count: int) -> Tensor:
    """Return the image tokens [count] of cells that show nothing, where that is known, else of those without evidence."""
    import torch

    content = asked.sample.metadata.get("content")
    free = torch.tensor(content)[:, 0] == 0 if content else torch.ones(count, dtype=torch.bool)
    # where nothing is known of the content, cells without evidence may still show something
    free[list(evidence)] = False
    return free


def answered(
    model: Model, asked: Asked, ids: list[int], pictures: Mapping[str, Tensor], first: Stage, evidence: Sequence[int],
    settings: Settings,
) -> dict[str, list[Row]]:  # fmt: skip
    """Return by picture the unpruned answer, and each criterion's that keeps as many tokens as HiMAP's first stage."""
    import torch

    from himap.decoder.generation import continue_greedily
    from himap.experiments.pictures import pictures_of
    from himap.experiments.sharing import Track, prefills

    pixels, questions = torch.cat(list(pictures.values())), [asked.question] * len(pictures)
    with torch.no_grad():
        seen = [[tokens] for tokens in model.see(pixels)]
        prompt = replace(model.embed([ids] * len(seen), seen), pictures=pictures_of(model, questions, pixels, seen))
    tracks = {
        Track(stages, settings["seed"]): name
        for name, stages in {UNPRUNED: (), **defenses(model, first, settings)}.items()
    }
    rows: dict[str, dict[str, Row]] = {name: {} for name in pictures}
    for track, prefill in prefills(
        model, prompt, list(tracks), [asked.sample.sample_id] * len(seen), settings["new_tokens"]
    ):
        answers = continue_greedily(
            model, prompt, prefill.cache, prefill.logits, settings["new_tokens"], [prefill.pruning]
        ).ids
        for b, known in enumerate(rows.values()):
            text, method = model.detokenize(answers[b]), tracks[track]
            kept = prefill.pruning.kept[track.stages[0].layer][b] if track.stages else range(len(seen[b][0].features))
            known[method] = {
                "method": method, "answer": text, "score": asked.score(text), "recall": share_of(kept, evidence)
            }  # fmt: skip
    return {picture: [known[method] for method in tracks.values()] for picture, known in rows.items()}


def defenses(model: Model, first: Stage, settings: Settings) -> dict[str, tuple[Stage, ...]]:
    """Return HiMAP's first stage, and others in its place: criteria of the tower and of the tokens' features before the decoder."""
    from himap.pruning.criteria import get

    # a tower criterion needs a view of the tower, which not every model has
    known = {name: get(name) for name in settings["defenses"]}
    usable = {name: criterion for name, criterion in known.items() if model.view_tower or not criterion.needs_tower}
    places = {name: first.layer if criterion.needs_attention else 0 for name, criterion in usable.items()}
    return {
        REFERENCE: (first,),
        **{name: (replace(first, layer=layer, criterion=name),) for name, layer in places.items()},
    }


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: half a one for each weight and method, and where it is attacked three for each step.

    Of the embedded world's samples a third is attacked, since three ask the same; with a border all are.
    """
    attacked = 1 if settings["border"] else 1 / 3
    weighted = (2 * len(settings["weights"]) + 4) * 0.5
    return weighted + (3 * settings["steps"] + 2 * (1 + len(settings["defenses"]))) * attacked


def criteria(settings: Settings) -> list[str]:
    """Return all criteria that rank tokens here."""
    return ["instruction_attention", "image_attention", "last_token_attention", *CONTROLS, *settings["defenses"]]


QUESTION = OpenQuestion(
    title="Can attention be led astray?",
    about="Whether weighted scores, or pixels changed in empty cells, make attention drop what a question is about.",
    measure=measure,
    prefills=prefills,
    groups=with_evidence,
    criteria=criteria,
    limit=36,
    settings={
        "weights": [1, 4, 64],
        "new_tokens": 4,
        "steps": 6,
        "size": 0.25,
        "border": 0,  # cells at each side that attention is drawn to where the data know no evidence; 0: such samples are left out
        "defenses": ["image_attention_debiased", "fastervlm", "divprune", "random"],
    },
)
