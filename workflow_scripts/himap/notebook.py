"""One image, one question, one line: for notebooks and first looks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.evaluation import Question, answer_all
from himap.picture import kept_picture
from himap.prompts import Prompt
from himap.pruning.methods import resolve
from himap.tokens import from_bitmap

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.models import Model


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
    image: Image | str | Path,
    question: str,
    method: str = "himap",
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Answer:
    """Ask one question about one picture under a method; a checkpoint's own schedules.json is honoured."""
    from PIL import Image as images

    picture = images.open(image) if isinstance(image, str | Path) else image
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="PNG")
    how = resolve(method, model.dims, model=model.name, schedules=model.extras.get("schedules"))
    asked = Question("notebook", [buffer.getvalue()], Prompt(question))
    row = next(answer_all(model, [asked], how, max_new_tokens=max_new_tokens, batch_size=1, seed=seed))
    kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
    return Answer(row["prediction"], how["stages"], kept, picture, tuple(how["image_grid"] or model.dims.grid))
