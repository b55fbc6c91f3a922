"""One image, one question, one line: for notebooks and first looks.

answer = generate(load("models/mini"), "picture.png", "How many circles are there?", method="himap")
answer.picture()  # kept image tokens lit, dropped ones dimmed
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.decoder.bitmaps import from_bitmap
from himap.experiments.answers import Question, answer_batch
from himap.models.images import kept_picture
from himap.models.prompts import Prompt
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.models.model import Model

    Method = str | Schedule | Mapping[str, object] | Sequence[Stage | Mapping[str, object]]


@dataclass
class Answer:
    """A model's answer, and which image tokens each stage kept."""

    text: str
    stages: tuple[Stage, ...]
    kept: list[list[int]]  # per stage: indices of image tokens, row by row over the grid
    image: Image
    grid: tuple[int, int]  # rows and columns of image tokens

    def picture(self, stage: int = -1) -> Image:
        """Return the image with the tokens lit that were left after a stage, the last one by default."""
        everything = list(range(self.grid[0] * self.grid[1]))
        return kept_picture(self.image, self.kept[stage] if self.kept else everything, self.grid)

    def __str__(self) -> str:
        return self.text


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
    picture = open_picture(image)
    buffer = io.BytesIO()  # the same path as a benchmark's samples, whose images are bytes of a file
    picture.convert("RGB").save(buffer, format="PNG")
    schedule = schedule_of(model, method)
    prompt = Question("notebook", [buffer.getvalue()], Prompt(question))
    (row,) = answer_batch(model, [prompt], schedule, max_new_tokens=max_new_tokens, seed=seed)
    kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
    return Answer(row["prediction"], schedule.stages, kept, picture, schedule.image_grid or model.dims.grid)


def schedule_of(model: Model, method: Method) -> Schedule:
    """Return a method's schedule for a model; raise ValueError that names what is wrong with it."""
    schedules = model.extras.get("schedules")
    if isinstance(method, str):
        return resolve(method, model.dims, model=model.name, schedules=schedules)
    if isinstance(method, Mapping) and "image_grid" in method:  # a schedule as JSON; no definition has this key
        method = Schedule.from_json(method)
    if isinstance(method, Schedule):
        method.check(model.dims)
        return method
    if isinstance(method, Mapping):
        definition = {key: value for key, value in method.items() if key != "name"}
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
    from PIL import Image as images

    if isinstance(image, str | Path):
        return images.open(image)
    if isinstance(image, images.Image):
        return image
    is_array = isinstance(image, np.ndarray)
    if is_array and image.ndim == 3 and image.shape[2] == 3 and image.size and image.dtype == np.uint8:
        return images.fromarray(image)
    value = f"an array of {image.dtype} {list(image.shape)}" if is_array else f"a {type(image).__name__}"
    raise ValueError(
        f"image: {value} is not a picture; give a file, a PIL image, or a NumPy array [height, width, 3] of uint8 (0 to 255)"
    )
