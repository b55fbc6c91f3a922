"""Answers of a model to a batch of questions, under one schedule or under many that share their work.

    rows = answer_batch(model, questions, resolve("himap", model.dims), max_new_tokens=16)

`batches` cuts any number of questions into batches.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch
from torch import Tensor

from himap.benchmarks._prompts import without_instruction
from himap.decoder.bitmaps import to_bitmap
from himap.decoder.cache import STEP, Cache
from himap.decoder.generation import continue_greedily
from himap.decoder.loop import Intervention
from himap.decoder.tokens import IMAGE, PADDING, Rows
from himap.experiments.likelihood import log_probabilities
from himap.experiments.sharing import Prefill, Track, prefills
from himap.models.images import padded_share
from himap.models.tower import Pictures, Tower
from himap.pruning.stage import Schedule

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.decoder.layout import Layout, PictureTokens
    from himap.models.model import Model
    from himap.models.prompts import Prompt


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


@dataclass(frozen=True)
class Seen:
    """The pictures of some questions: each question's as the decoder takes them, and what criteria may ask about all of them."""

    tokens: list[list[PictureTokens]]
    pictures: Pictures


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


def open_image(data: bytes, where: str) -> Image:
    """Decode an image's bytes; raise ValueError that names a broken or oversized one."""
    from PIL import Image, UnidentifiedImageError

    from himap.benchmarks.samples.images import MAX_PIXELS

    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS} that are accepted")
        image.load()  # decodes here, where an error can still name the sample
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: the image cannot be read ({error}); make the sample file again") from error
    return image


def prompt_ids(model: Model, question: Question, layouts: Sequence[Layout]) -> list[int]:
    """Return the ids of a question's prompt; raise ValueError that names the sample if they do not fit its images."""
    try:
        ids = model.tokenize(question.prompt, layouts)
    except (ValueError, TypeError, KeyError) as error:  # lone surrogates, for instance, are a TypeError
        raise ValueError(f"{question.where}: its text cannot be tokenized ({error}); correct or remove it") from error
    marks, expected = ids.count(model.image_token_id), sum(map(index, layouts))
    if marks not in (expected, len(question.images)):
        raise ValueError(
            f"{question.where}: its prompt has {marks} image tokens where its images have {expected}; "
            "the tokenizer takes a part of its text for an image: correct or remove the sample"
        )
    return ids


def pixels_of(model: Model, question: Question, grid: Sequence[int] | None = None) -> Any:
    """Return the pixels of a question's pictures: [images, 3, H, W], or those of each picture where pictures differ."""
    if not question.images:
        raise ValueError(f"{question.where} has no image")
    pictures = [open_image(data, question.where) for data in question.images]
    pixels = model.preprocess(pictures, grid=grid, mode=question.image_mode)
    return pixels if model.add_question is None else model.add_question(pixels, question.prompt)


@torch.no_grad()
def look(model: Model, questions: Sequence[Question], grid: Sequence[int] | None = None) -> Seen:
    """Return the pictures of some questions as the model sees them; the vision tower runs once, on each picture once."""
    each: list[Any] = []
    known: dict[Any, range] = {}  # the places of pictures among the distinct ones
    count, order = 0, []
    for question in questions:
        asked = question.prompt if model.add_question else None  # some towers read the question too
        key = (tuple(question.images), question.image_mode, asked)
        if key not in known:
            each.append(pixels_of(model, question, grid))
            known[key] = range(count, count + len(question.images))
            count += len(question.images)
        order.append(known[key])
    pixels = torch.cat(each) if isinstance(each[0], Tensor) else list(chain(*each))
    seen = model.see(pixels)
    tokens = [[seen[place] for place in places] for places in order]
    return Seen(tokens, pictures_of(model, questions, pixels, tokens, places=list(chain(*order))))


def pictures_of(
    model: Model,
    questions: Sequence[Question],
    pixels: Any,
    tokens: Sequence[Sequence[PictureTokens]],
    tower: Tower | None = None,
    places: Sequence[int] | None = None,
) -> Pictures:
    """Return what criteria may ask about the pictures of some questions; nothing is computed yet but a `tower` that is given.

    `places` are those of the questions' pictures in `pixels`, where questions share pictures.
    """
    view = model.view_tower

    def sight() -> Tower:
        assert view is not None
        whole = tower or view(pixels)
        return whole if places is None else whole.of(list(places))

    def padding() -> list[Tensor]:
        return [
            torch.cat([_padding(model, question, *picture) for picture in zip(question.images, seen, strict=True)])
            for question, seen in zip(questions, tokens, strict=True)
        ]

    counts = [len(question.images) for question in questions]
    asked = [without_instruction(question.prompt.text) for question in questions]
    compare = None if model.text_tower is None else model.text_tower.likeness
    return Pictures(counts, None if view is None else sight, padding, asked, compare)


def _padding(model: Model, question: Question, data: bytes, seen: PictureTokens) -> Tensor:
    """Return the share of padding in each image token [n] of one picture."""
    if not model.pads(question.image_mode):
        return torch.zeros(index(seen.layout))
    (square,) = seen.layout.parts
    share = padded_share(open_image(data, question.where).size, (square.rows, square.columns))
    return torch.from_numpy(share).float().flatten()


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


def answer_under_all(
    model: Model, items: Sequence[Any], askings: Sequence[Asking], wanted: Callable[[Schedule, str], bool]
) -> Iterator[tuple[Schedule, list[AnswerRow]]]:
    """Yield the rows of a batch under every schedule of every asking, where they are wanted (schedule, sample id).

    Pictures are decoded and seen once per size, and layers are shared by schedules that agree up to them.
    """
    seen: dict[Any, Seen] = {}
    for asking in askings:
        questions = [asking.question(item) for item in items]
        for places, schedules in _alike(questions, asking.schedules, wanted).items():
            asked = [questions[place] for place in places]
            for grid in dict.fromkeys(schedule.image_grid for schedule in schedules):
                read = [question.prompt if model.add_question else None for question in asked]
                view = (
                    grid,
                    tuple(zip((q.sample_id for q in asked), (q.image_mode for q in asked), read, strict=True)),
                )
                if view not in seen:
                    seen[view] = look(model, asked, grid)
                prompt = encode(model, asked, grid, seen[view])
                sized = [schedule for schedule in schedules if schedule.image_grid == grid]
                yield from _answer_prompt(model, asked, prompt, sized, asking)


def _alike(
    questions: Sequence[Question], schedules: Sequence[Schedule], wanted: Callable[[Schedule, str], bool]
) -> dict[tuple[int, ...], list[Schedule]]:
    """Return the schedules by the questions that they are to answer, since a stopped job may have left some of a batch."""
    groups: dict[tuple[int, ...], list[Schedule]] = {}
    for schedule in schedules:
        places = tuple(n for n, question in enumerate(questions) if wanted(schedule, question.sample_id))
        if places:
            groups.setdefault(places, []).append(schedule)
    return groups


def _answer_prompt(
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
    if not schedule.is_fixed:
        for b, row in enumerate(rows):
            row["layers"] = [stage.layer for stage in pruning.as_acted(b)]
    return rows


def conclude(
    model: Model,
    questions: Sequence[Question],
    prompt: Rows,
    prefill: Prefill,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    rerank: bool = False,
) -> list[tuple[str, list[int]]]:
    """Return text and ids of a prefilled batch's answers: the likeliest choice where prompts have choices, else greedy tokens."""
    choices = [question.prompt.choices for question in questions]
    cache, logits = prefill.cache, prefill.logits
    if any(choices):
        texts = [
            likeliest(model, prompt, cache, logits, choices[b], b, [prefill.pruning.of([b])])
            for b in range(len(questions))
        ]
        return [(text, model.answer_ids(text)) for text in texts]
    done = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [prefill.pruning], rerank=rerank, min_new_tokens=min_new_tokens
    )
    return [(model.detokenize(ids), ids) for ids in done.ids]


def likeliest(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    choices: Sequence[str],
    b: int,
    interventions: Sequence[Intervention] = (),
) -> str:
    """Return the choice with the lowest mean token loss after prompt `b` of a batch: a sum would favor short ones.

    Interventions are on this prompt's rows alone.
    """

    def loss(choice: str) -> float:
        ids = model.answer_ids(choice.strip())
        known = log_probabilities(model, prompt, cache, logits, b, ids, interventions)  # [n, vocabulary]
        return -float(known.gather(1, torch.tensor(ids, device=known.device)[:, None]).mean())

    losses = {choice: loss(choice) for choice in choices}
    return min(losses, key=losses.__getitem__).strip()
