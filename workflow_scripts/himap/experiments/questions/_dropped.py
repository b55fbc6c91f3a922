"""What kept tokens tell of dropped ones: regressions fitted on some pictures, and what they explain of others.

The control is told by the kept tokens of another picture: it finds what follows from the place and the usual content alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, Row, Settings
from himap.experiments.questions._samples import BATCH, batches, group_of, named

if TYPE_CHECKING:
    from torch import Tensor

    from himap.experiments.redundancy import Features
    from himap.models.model import Model

ENCODER = ("tower", "input")  # places before the first layer of the decoder


@dataclass(frozen=True)
class Dropping:
    """Which tokens a stage left and dropped in each sample [n], as masks of its image tokens."""

    name: str
    by_himap: bool
    same: Mapping[str, int]  # whether the arm's answer is the unpruned one
    kept: Mapping[str, Tensor]
    dropped: Mapping[str, Tensor]


@dataclass(frozen=True)
class Pictures:
    """Features of the image tokens of all samples at every place, where these lie, and what their cells show, by sample."""

    features: Mapping[str, Features]
    places: Mapping[str, Tensor]  # [n, 2]
    content: Mapping[str, Tensor]  # [n, respects] of the embedded world; no columns where nothing is known
    classes: Sequence[int]  # in each respect


def look_at_all(model: Model, samples: Sequence[Asked], layers: Mapping[str, int], components: int) -> Pictures:
    """Return what is known of the pictures of all samples."""
    import torch

    from himap.experiments.answers import encode
    from himap.experiments.redundancy import Narrowing, look_at, places_of

    features, places, narrowed = {}, {}, None
    for some in batches(samples, BATCH):
        prompt = encode(model, [asked.question for asked in some])
        known = look_at(model, prompt, layers)
        # fitted on the first batch alone, so that all pictures are narrowed by one basis
        narrowed = narrowed or Narrowing(known, components)
        for b, asked in enumerate(some):
            features[asked.sample.sample_id] = narrowed(known[b])
            places[asked.sample.sample_id] = places_of(prompt.layouts[b])
    content = {name: torch.zeros(len(where), 0, dtype=torch.long) for name, where in places.items()}
    content |= {
        asked.sample.sample_id: torch.tensor(shown)
        for asked in samples
        if (shown := asked.sample.metadata.get("content"))
    }
    classes = (torch.cat(list(content.values())).amax(dim=0) + 1).tolist()
    return Pictures(features, places, content, classes)


def left(
    validation: Sequence[Asked], test: Sequence[Asked], dropping: Dropping, pictures: Pictures, settings: Settings
) -> Iterator[Row]:
    """Yield for each test picture and place how much of the dropped tokens' features and content the kept tokens tell.

    The control is told by the kept tokens of another picture, that of the next sample with another question.
    """
    import torch

    from himap.experiments.redundancy import fit

    everywhere = list(pictures.features[test[0].sample.sample_id])
    # criteria at the tower's output drop before the decoder, where only the encoder's places still have all tokens
    for place in everywhere if dropping.by_himap else [place for place in everywhere if place in ENCODER]:
        # `place` as a default: a function made in a loop would see the loop's last value
        def told(asked: Asked, donor: Asked, place: str = place) -> tuple[Tensor, Tensor, Tensor]:
            return regressed(asked.sample.sample_id, donor.sample.sample_id, dropping, pictures, place, settings)

        inputs, own, classes = (
            torch.cat(parts) for parts in zip(*(told(asked, asked) for asked in validation), strict=True)
        )
        ridge = fit(inputs, own, settings["penalty"])
        shown = shows_something(classes)
        marks = one_hot(classes[shown], pictures.classes)
        # what the kept tokens tell of a cell, and as a ceiling what the dropped token itself would tell
        by_kept, by_itself = (fit(given[shown], marks, settings["penalty"]) for given in (inputs, own))
        for number, asked in enumerate(test):
            for donor in (asked, other_question(test, number)):
                inputs, own, classes = told(asked, donor)
                shown = shows_something(classes)
                right = [
                    read(probe(given[shown]), classes[shown], pictures.classes)
                    for probe, given in ((by_kept, inputs), (by_itself, own))
                ]
                yield {
                    "part": "left", **named(asked), "where": place, "criterion": dropping.name, "control": int(donor is not asked),
                    "same": dropping.same[asked.sample.sample_id],
                    "error": float((ridge(inputs) - own).square().sum()), "spread": float((own - ridge.outputs_mean).square().sum()),
                    "cells": int(shown.sum()), "told": right[0], "own": right[1],
                }  # fmt: skip


def other_question(samples: Sequence[Asked], number: int) -> Asked:
    """Return the next sample with another question, the first again after the last."""
    after = [*samples[number + 1 :], *samples[:number]]
    return next((other for other in after if group_of(other) != group_of(samples[number])), after[0])


def regressed(
    name: str, donor: str, dropping: Dropping, pictures: Pictures, place: str, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return of a sample's dropped tokens what kept ones tell (those of a donor's picture), their features, and their content."""
    from himap.experiments.redundancy import nearest, told_by

    kept, dropped = dropping.kept[donor], dropping.dropped[name]
    # kept tokens of the donor's picture that lie nearest to where this picture's dropped tokens were
    near = nearest(pictures.places[donor], pictures.places[name][dropped], kept, settings["neighbors"])
    inputs = told_by(pictures.features[donor][place], near, kept)
    return inputs, pictures.features[name][place][dropped], pictures.content[name][dropped]


def one_hot(classes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return classes [n, respects] as columns of 0 and 1, respect after respect."""
    import torch
    from torch.nn.functional import one_hot as columns

    parts = [columns(classes[:, number], size).float() for number, size in enumerate(sizes)]
    return torch.cat(parts, dim=1) if parts else torch.zeros(len(classes), 0)


def shows_something(classes: Tensor) -> Tensor:
    """Return which cells [n] are known to show something: an empty one is guessed right by whoever always says so."""
    import torch

    return classes[:, 0] > 0 if classes.shape[1] else torch.zeros(len(classes), dtype=torch.bool)


def read(columns: Tensor, classes: Tensor, sizes: Sequence[int]) -> int:
    """Return how many cells are read right in all respects from the columns [n, classes] of a probe."""
    guesses = [part.argmax(dim=1) for part in columns.split(list(sizes), dim=1)]
    return sum(map(all, zip(*((guess == classes[:, n]).tolist() for n, guess in enumerate(guesses)), strict=True)))
