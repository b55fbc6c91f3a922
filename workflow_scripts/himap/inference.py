"""One image, one question, one line: for notebooks and first looks."""

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
    """What the model said, and which image tokens each stage kept."""

    text: str
    stages: list[dict[str, Any]]
    kept: list[list[int]]
    image: Image
    grid: tuple[int, int]

    def picture(self, stage: int = -1) -> Image:
        """The image with the tokens lit that were left after a stage (the last one, unless said otherwise)."""
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
    """Ask one question about one picture under a method: its name, its definition, or a list of stages.

    The picture is a file, a PIL image or a NumPy array [H, W, 3] of uint8. A checkpoint's own schedules.json is honoured.
    """
    picture = open_picture(image)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="PNG")
    resolved = schedule(model, method)
    asked = Question("notebook", [buffer.getvalue()], Prompt(question))
    row = next(answer_all(model, [asked], resolved, max_new_tokens=max_new_tokens, batch_size=1, seed=seed))
    kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
    return Answer(
        row["prediction"], resolved["stages"], kept, picture, tuple(resolved["image_grid"] or model.dims.grid)
    )


def schedule(model: Model, method: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a method's stages for a model; raise ValueError that names what is wrong with them."""
    schedules = model.extras.get("schedules")
    if isinstance(method, str):
        return resolve(method, model.dims, model=model.name, schedules=schedules)
    if isinstance(method, Mapping):
        if "image_grid" in method:  # what `resolve` returned
            check_stages(method["stages"], model.dims.layers, model.dims.tokens_per_image)
            return dict(method)
        own = {key: value for key, value in method.items() if key != "name"}
    elif isinstance(method, Sequence):
        own = {"stages": list(method)}
    else:
        raise ValueError(
            f"method: {method!r} is no method; give a name, a definition such as {{'stages': [...]}}, or a list of stages"
        )
    return resolve("(own)", model.dims, methods={"(own)": own}, schedules=schedules)


def open_picture(image: Any) -> Image:
    """Return a picture as a PIL image; raise ValueError for what is none."""
    import numpy as np
    from PIL import Image as images

    if isinstance(image, str | Path):
        return images.open(image)
    if isinstance(image, images.Image):
        return image
    is_array = isinstance(image, np.ndarray)
    if is_array and image.ndim == 3 and image.shape[2] == 3 and image.size and image.dtype == np.uint8:
        return images.fromarray(image)
    given = f"an array of {image.dtype} {list(image.shape)}" if is_array else f"a {type(image).__name__}"
    raise ValueError(
        f"image: {given} is no picture; give a file, a PIL image, or a NumPy array [height, width, 3] of uint8 (0 to 255)"
    )
