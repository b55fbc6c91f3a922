"""One image, one question, one line: for notebooks and first looks.

answer = generate(load("models/mini"), "picture.png", "How many circles are there?", method="himap")
answer.picture()  # kept image tokens lit, dropped ones dimmed
answer.page()  # everything about this prompt: heat maps, flows, probabilities, cuts
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.decoder.bitmaps import from_bitmap
from himap.decoder.layout import Layout
from himap.experiments.answers import Question, answer_batch
from himap.models.families import OWN_SHAPE
from himap.models.images import kept_picture, pad_to_square
from himap.models.prompts import Prompt
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.experiments.inspection import Inspection
    from himap.models.model import Model
    from himap.report.inspection import Page

    Method = str | Schedule | Mapping[str, object] | Sequence[Stage | Mapping[str, object]]


@dataclass
class Answer:
    """A model's answer, and which image tokens each stage kept."""

    text: str
    stages: tuple[Stage, ...]
    kept: list[list[int]]  # per stage: indices of image tokens, part by part and row by row
    image: Image
    layout: Layout  # where the image tokens lie
    square: bool  # whether the model sees the image padded to a square
    asked: Asked | None = field(default=None, repr=False)

    @property
    def grid(self) -> tuple[int, int]:
        """Return rows and columns of the places that the image tokens show."""
        return self.layout.grid

    def picture(self, stage: int = -1) -> Image:
        """Return the image with the tokens lit that were left after a stage, the last one by default."""
        kept = self.kept[stage] if self.kept else range(index(self.layout))  # without stages all tokens are kept
        return kept_picture(self.image, kept, self.layout, square=self.square)

    def page(self, *methods: Method) -> Page:
        """Return a page about this prompt, beside the unpruned model and any further methods; a notebook shows it."""
        if self.asked is None:
            raise ValueError("this answer was not made by himap.generate, so nothing can be asked again for a page")
        asked = self.asked
        look = inspect_prompt(
            asked.model,
            self.image,
            asked.question,
            [asked.schedule, *methods],
            max_new_tokens=asked.max_new_tokens,
            seed=asked.seed,
        )
        return page_of(look, asked.model, self.image)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Asked:
    """What an answer is the answer to."""

    model: Model
    question: str
    schedule: Schedule
    max_new_tokens: int
    seed: int


def generate(
    model: Model,
    image: Any,
    question: str,
    method: Method = "himap",
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Answer:
    """Ask one question about one picture under a method: its name, its definition, a list of stages, or a schedule.

    The picture is a file, a PIL image or a NumPy array [H, W, 3] of uint8. A checkpoint's own schedules.json is used.
    """
    picture, schedule = open_picture(image), schedule_of(model, method)
    asked = Asked(model, question, schedule, max_new_tokens, seed)
    prompt = as_question(picture, question)
    # One row, as predictions.jsonl has it: kept tokens as bitmaps, layouts as JSON.
    (row,) = answer_batch(model, [prompt], schedule, max_new_tokens=max_new_tokens, seed=seed)
    kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
    layout = Layout.from_json(row["layouts"][0])  # of the only picture
    return Answer(row["prediction"], schedule.stages, kept, picture, layout, model.family not in OWN_SHAPE, asked)


def as_question(picture: Image, question: str) -> Question:
    """Return a picture and a text as a benchmark's samples are: images are bytes of a file."""
    buffer = io.BytesIO()
    # PNG loses nothing, so a picture from memory is answered like the same one from a file.
    picture.convert("RGB").save(buffer, format="PNG")
    return Question("notebook", [buffer.getvalue()], Prompt(question))


def inspect_prompt(
    model: Model,
    image: Any,
    question: str,
    methods: Sequence[Method] = ("himap",),
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Inspection:
    """Return what the unpruned model does with one prompt, layer by layer, and what methods make of it."""
    from himap.experiments.inspection import inspect

    # The unpruned model first, since it is what the page is about; a schedule that is named twice is run once.
    schedules = list(dict.fromkeys(schedule_of(model, method) for method in ("vanilla", *methods)))
    prompt = as_question(open_picture(image), question)
    return inspect(model, prompt, schedules, max_new_tokens=max_new_tokens, seed=seed)


def page_of(look: Inspection, model: Model, image: Image, titles: Mapping[str, str] | None = None) -> Page:
    """Return the page about an inspected prompt, with the picture as the model sees it."""
    from himap.pruning.resolve import load_all
    from himap.report.gallery import PADDING
    from himap.report.inspection import render

    is_padded = model.family not in OWN_SHAPE
    seen = pad_to_square(image.convert("RGB"), PADDING) if is_padded else image
    return render(look, seen, titles or {name: method.get("title", name) for name, method in load_all().items()})


def schedule_of(model: Model, method: Method) -> Schedule:
    """Return a method's schedule for a model; raise ValueError that names what is wrong with it."""
    # A checkpoint's own schedules.json, such as that of models/mini, comes before the built-in ones.
    schedules = model.extras.get("schedules")
    if isinstance(method, str):
        return resolve(method, model.dims, model=model.name, schedules=schedules)
    if isinstance(method, Mapping) and "image_grid" in method:  # a schedule as JSON; no definition has this key
        method = Schedule.from_json(method)
    if isinstance(method, Schedule):
        method.check(model.dims)
        return method
    if isinstance(method, Mapping):
        definition = {key: value for key, value in method.items() if key != "name"}  # a name is no part of a definition
    elif isinstance(method, Sequence):
        definition = {"stages": list(method)}
    else:
        raise ValueError(
            f"method: {method!r} is not a method; give a name, a definition such as {{'stages': [...]}}, or a list of stages"
        )
    return resolve("(own)", model.dims, methods={"(own)": definition}, schedules=schedules)


def open_picture(image: Any) -> Image:
    """Return a picture as a PIL image; raise ValueError for anything that is none."""
    import numpy as np

    # Under another name, since `Image` is the class that the annotations here mean.
    from PIL import Image as images

    if isinstance(image, str | Path):
        return images.open(image)
    if isinstance(image, images.Image):
        return image
    is_array = isinstance(image, np.ndarray)
    # Floats from 0 to 1 and arrays [3, H, W] are refused rather than guessed at.
    if is_array and image.ndim == 3 and image.shape[2] == 3 and image.size and image.dtype == np.uint8:
        return images.fromarray(image)
    value = f"an array of {image.dtype} {list(image.shape)}" if is_array else f"a {type(image).__name__}"
    raise ValueError(
        f"image: {value} is not a picture; give a file, a PIL image, or a NumPy array [height, width, 3] of uint8 (0 to 255)"
    )
