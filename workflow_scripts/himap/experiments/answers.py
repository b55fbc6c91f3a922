"""Answers of a model to a batch of questions, under one schedule or under many that share their work.

    rows = answer_batch(model, questions, resolve("himap", model.dims), max_new_tokens=16)

`batches` cuts any number of questions into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch

from himap.decoder.bitmaps import to_bitmap
from himap.decoder.cache import STEP
from himap.decoder.tokens import IMAGE, PADDING, Rows
from himap.experiments import beginnings
from himap.experiments.concluding import conclude
from himap.experiments.pictures import Seen, look, picture_key, pixels_of
from himap.experiments.sharing import Prefill, Track, prefills
from himap.pruning.stage import Schedule

if TYPE_CHECKING:
    from himap.decoder.layout import Layout
    from himap.models.model import Model
    from himap.models.prompts import Prompt

PADDED = 9 / 8  # columns of a batch per token, beyond which its prompts run in smaller groups


@dataclass(frozen=True)
class Question:
    """One sample as a model is asked it."""

    sample_id: str
    images: Sequence[bytes]
    prompt: Prompt
    benchmark: str = ""
    image_mode: str | None = None  # how its pictures become squares, if the model does not decide

    @property
    def where(self) -> str:
        """Return how messages name the question."""
        return f"sample {self.sample_id!r}" + (f" of benchmark {self.benchmark}" if self.benchmark else "")


@dataclass(frozen=True)
class Asking:
    """Schedules whose questions are put in the same way, and how long an answer may and must get.

    `question` makes a question of an item of a benchmark; it changes nothing where the items are questions already.
    """

    schedules: Sequence[Schedule]
    max_new_tokens: int
    min_new_tokens: int = 0
    seed: int = 0
    seeds: Mapping[str, int] = field(default_factory=dict)  # by schedule's name, where it is not `seed`
    question: Callable[[Any], Question] = lambda item: item

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: {self.max_new_tokens} is no length of an answer; at least 1")


class AnswerRow(TypedDict):
    """A line of an evaluation's result file."""

    sample_id: str
    prediction: str
    prompt_tokens: int  # image tokens included, before any is dropped
    image_tokens: int
    generated_tokens: int  # the end token included
    layouts: list[list[list[float]]]  # per picture: where its image tokens lie (`himap.decoder.layout`)
    kept: list[str]  # per stage: a bitmap of the image tokens that stayed
    layers: NotRequired[list[int]]  # per stage: where it acted, if the question found that itself


def prompt_ids(model: Model, question: Question, layouts: Sequence[Layout]) -> list[int]:
    """Return the ids of a question's prompt; raise ValueError that names the sample if they do not fit its images."""
    try:
        ids = model.tokenize(question.prompt, layouts)
    except (ValueError, TypeError, KeyError) as error:  # lone surrogates, for instance, are a TypeError
        raise ValueError(f"{question.where}: its text cannot be tokenized ({error}); correct or remove it") from error
    # Two layouts are allowed: one mark per image token, or one per image, which `embed` repeats.
    marks, expected = ids.count(model.image_token_id), sum(map(index, layouts))
    if marks not in (expected, len(question.images)):
        raise ValueError(
            f"{question.where}: its prompt has {marks} image tokens where its images have {expected}; "
            "the tokenizer takes a part of its text for an image: correct or remove the sample"
        )
    return ids


@torch.no_grad()
def encode(
    model: Model, questions: Sequence[Question], grid: Sequence[int] | None = None, seen: Seen | None = None
) -> Rows:
    """Embed the prompts and pictures of a batch; `seen` is what `look` returned, if it was called before."""
    seen = seen or look(model, questions, grid)
    ids = [
        prompt_ids(model, question, [picture.layout for picture in tokens])
        for question, tokens in zip(questions, seen.tokens, strict=True)
    ]
    return replace(model.embed(ids, seen.tokens), pictures=seen.pictures)


def answer_batch(model: Model, questions: Sequence[Question], schedule: Schedule, **options: Any) -> list[AnswerRow]:
    """Return one row per question; the options are those of `Asking`."""
    asking = Asking([schedule], **options)
    return next(rows for _, rows in answer_under_all(model, questions, [asking], lambda *_: True))


@dataclass(frozen=True)
class Task:
    """Schedules that answer the same questions of a batch, with pictures of one size."""

    asking: Asking
    questions: list[Question]
    schedules: list[Schedule]

    @property
    def grid(self) -> tuple[int, int] | None:
        """Return the size of the pictures."""
        return self.schedules[0].image_grid


def tasks_of(
    items: Sequence[Any], askings: Sequence[Asking], wanted: Callable[[Schedule, str], bool]
) -> Iterator[Task]:
    """Yield what is to be answered about some items; a stopped job may have left only some of them."""
    for asking in askings:
        questions = [asking.question(item) for item in items]
        groups: dict[Any, list[Schedule]] = {}
        for schedule in asking.schedules:
            places = tuple(n for n, question in enumerate(questions) if wanted(schedule, question.sample_id))
            if places:
                groups.setdefault((places, schedule.image_grid), []).append(schedule)
        # schedules that answer the same questions one after another, whatever the size of their pictures
        # a dictionary as an ordered set: groups of questions in the order in which they came
        order = list(dict.fromkeys(places for places, _ in groups))
        for (places, _), schedules in sorted(groups.items(), key=lambda group: order.index(group[0][0])):
            yield Task(asking, [questions[place] for place in places], schedules)


@dataclass(frozen=True)
class Ready:
    """An item whose pictures are decoded, by `picture_key`."""

    item: Any
    pixels: Mapping[Any, Any]


def readied(
    model: Model, items: Iterable[Any], askings: Sequence[Asking], wanted: Callable[[Schedule, str], bool]
) -> Iterator[Ready]:
    """Yield the items with the pixels that their questions need; samples about one picture that follow each other share them."""
    last: dict[Any, Any] = {}
    for item in items:
        pixels: dict[Any, Any] = {}
        for task in tasks_of([item], askings, wanted):
            key = picture_key(model, task.questions[0], task.grid)
            if key not in pixels:
                pixels[key] = last[key] if key in last else pixels_of(model, task.questions[0], task.grid)
        # only the item before is remembered, so memory stays small; items about one picture follow each other
        last = pixels
        yield Ready(item, pixels)


def answer_under_all(
    model: Model, items: Sequence[Any], askings: Sequence[Asking], wanted: Callable[[Schedule, str], bool]
) -> Iterator[tuple[Schedule, list[AnswerRow]]]:
    """Yield the rows of a batch under every schedule of every asking, where they are wanted (schedule, sample id)."""
    rows: dict[Schedule, list[AnswerRow]] = {}
    for schedule, part in answer_in_parts(model, items, askings, wanted):
        rows.setdefault(schedule, []).extend(part)
    yield from rows.items()


def answer_in_parts(
    model: Model,
    items: Sequence[Any],
    askings: Sequence[Asking],
    wanted: Callable[[Schedule, str], bool],
    ready: Mapping[Any, Any] = MappingProxyType({}),
) -> Iterator[tuple[Schedule, list[AnswerRow]]]:
    """Yield rows of a batch as soon as they are there, those under one schedule in the order of the items.

    Pictures are seen once per size, and decoded once unless their pixels are `ready`. Layers are shared by schedules that
    agree up to them.
    """
    seen: dict[Any, Seen] = {}
    for task in tasks_of(items, askings, wanted):
        # sample ids too: a task may be about other samples of the batch that show the same pictures
        view = tuple((question.sample_id, picture_key(model, question, task.grid)) for question in task.questions)
        if view not in seen:
            seen[view] = look(model, task.questions, task.grid, ready)
        prompt = encode(model, task.questions, task.grid, seen[view])
        for places in _of_like_length(prompt):
            part = prompt if len(places) == len(task.questions) else prompt.of(places)
            questions = [task.questions[place] for place in places]
            yield from answer_prompt(model, questions, part, task.schedules, task.asking)


def _of_like_length(prompt: Rows) -> list[list[int]]:
    """Return the samples of a batch in those parts that are faster on their own: on a processor, padding takes time."""
    groups: list[list[int]] = [[]]
    lengths = (prompt.groups != PADDING).sum(dim=1).tolist()
    # On a GPU a larger batch is worth its padding, and shared beginnings need the whole batch.
    if prompt.groups.device.type != "cpu" or beginnings.find(prompt) is not None:
        return [list(range(len(lengths)))]
    for place, length in enumerate(lengths):
        together = [*(lengths[other] for other in groups[-1]), length]
        # columns with padding against tokens without
        if max(together) * len(together) > PADDED * sum(together):
            groups.append([])
        groups[-1].append(place)
    return groups


def answer_prompt(
    model: Model, questions: Sequence[Question], prompt: Rows, schedules: Sequence[Schedule], asking: Asking
) -> Iterator[tuple[Schedule, list[AnswerRow]]]:
    """Yield the rows of a prepared batch under each of some schedules; those that do the same share their rows."""
    tracks: dict[Track, list[Schedule]] = {}
    for schedule in schedules:
        seed = asking.seeds.get(schedule.name, asking.seed)
        # without a stage nothing is drawn and no position changes
        track = Track(schedule.stages, seed, schedule.renumbers) if schedule.stages else Track()
        tracks.setdefault(track, []).append(schedule)
    names = [question.sample_id for question in questions]
    for track, prefill in prefills(model, prompt, list(tracks), names, min(asking.max_new_tokens, STEP)):
        # by `rerank`, the one thing in which schedules of a track still differ
        rows: dict[bool, list[AnswerRow]] = {}
        for schedule in tracks[track]:
            if schedule.rerank not in rows:
                rows[schedule.rerank] = finish_batch(model, questions, prompt, prefill, schedule, asking)
            yield schedule, rows[schedule.rerank]


@torch.no_grad()
def finish_batch(
    model: Model, questions: Sequence[Question], prompt: Rows, prefill: Prefill, schedule: Schedule, asking: Asking
) -> list[AnswerRow]:
    """Return the rows of a prefilled batch: the answer, the token counts, and which image tokens each stage kept."""
    pruning = prefill.pruning
    answers = conclude(
        model,
        questions,
        prompt,
        prefill,
        max_new_tokens=asking.max_new_tokens,
        min_new_tokens=asking.min_new_tokens,
        rerank=schedule.rerank,
    )
    image_tokens = (prompt.joined().groups == IMAGE).sum(dim=1).tolist()
    beside = [0] * len(questions) if prompt.memory is None else image_tokens  # image tokens that are no rows
    totals = [text + n for text, n in zip((prompt.groups != PADDING).sum(dim=1).tolist(), beside, strict=True)]
    rows: list[AnswerRow] = [
        {
            "sample_id": question.sample_id,
            "prediction": answers[b][0],
            "prompt_tokens": totals[b],
            "image_tokens": image_tokens[b],
            "generated_tokens": len(answers[b][1]),
            "layouts": [layout.to_json() for layout in prompt.layouts[b]],
            "kept": [to_bitmap(kept[b], image_tokens[b]) for _, kept in sorted(pruning.kept.items())],
        }
        for b, question in enumerate(questions)
    ]
    # a fixed schedule says it itself
    if not schedule.is_fixed:
        for b, row in enumerate(rows):
            row["layers"] = [stage.layer for stage in pruning.as_acted(b)]
    return rows
