"""Ask one question about one picture, for notebooks and first experiments."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.decoder.bitmaps import from_bitmap
from himap.experiments.answers import Question, answer_all
from himap.models.images import kept_picture
from himap.models.prompts import Prompt
from himap.pruning.resolve import resolve
from himap.pruning.stage import check_stages

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.models.model import Model


@dataclass
class Answer:
    """A model's answer, and which image tokens each stage kept."""

    text: str
    stages: list[dict[str, Any]]
    kept: list[list[int]]  # for each stage, the indices of the image tokens that were left after it
    image: Image
    grid: tuple[int, int]  # rows and columns of the image tokens in the picture

    def picture(self, stage: int = -1) -> Image:
        """Return the image with the dropped tokens dimmed, as of a stage (default: the last)."""
        everything = list(range(self.grid[0] * self.grid[1]))
        return kept_picture(self.image, self.kept[stage] if self.kept else everything, self.grid)

    def __str__(self) -> str:
        return self.text


def generate(
    model: Model,
    image: Any,
    question: str,
    method: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] = "himap",
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Answer:
    """Return a model's answer to one question about one picture.

    `image` is a file, a PIL image or a NumPy array [H, W, 3] of uint8. `method` is a method's name, its definition, or a
    list of stages. If the checkpoint's folder has a schedules.json, the method's stages for that model come from there.
    """
    picture = open_picture(image)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="PNG")
    resolved = schedule(model, method)
    sample = Question("notebook", [buffer.getvalue()], Prompt(question))
    row = next(answer_all(model, [sample], resolved, max_new_tokens=max_new_tokens, batch_size=1, seed=seed))
    kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
    return Answer(
        row["prediction"], resolved["stages"], kept, picture, tuple(resolved["image_grid"] or model.dims.grid)
    )


def schedule(model: Model, method: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a method's schedule for a model. Raise ValueError with the reason if it does not fit the model."""
    schedules = model.extras.get("schedules")
    if isinstance(method, str):
        return resolve(method, model.dims, model=model.name, schedules=schedules)
    if isinstance(method, Mapping):
        if "image_grid" in method:  # only what `resolve` returned has this key: it is a schedule already
            check_stages(method["stages"], model.dims.layers, model.dims.tokens_per_image)
            return dict(method)
        definition = {key: value for key, value in method.items() if key != "name"}
    elif isinstance(method, Sequence):
        definition = {"stages": list(method)}
    else:
        raise ValueError(
            f"method: {method!r} is not a method; give a name, a definition such as {{'stages': [...]}}, or a list of stages"
        )
    return resolve("(own)", model.dims, methods={"(own)": definition}, schedules=schedules)


def open_picture(image: Any) -> Image:
    """Return a picture as a PIL image. Raise ValueError for anything that is not a picture."""
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
