"""A model of random weights and questions to it, made from a seed: for measurements of time and memory, never of answers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from PIL import Image

from himap.experiments.answers import Question
from himap.models.families.llava import random_model
from himap.models.prompts import Prompt

if TYPE_CHECKING:
    from himap.models.model import Model
    from himap.models.sizes import Dims

SYSTEM_TOKENS = 35  # before the picture, as in LLaVA-1.5's template


def random_weights(
    sizes: Dims, *, text_tokens: int, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Model:
    """Return a LLaVA of random weights that is asked in random tokens: no text has a meaning to it, only its length counts."""
    model = random_model(sizes, seed=seed, dtype=dtype, device=device)
    model.end_ids = frozenset()  # so that every answer has the full length
    # 14: pixels of a patch of CLIP's ViT-L/14
    side = 14 * sizes.grid[0]

    def drawn(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def preprocess(images: Sequence[Any], grid: Sequence[int] | None = None, mode: str | None = None) -> torch.Tensor:
        height, width = (side, side) if grid is None else (14 * grid[0], 14 * grid[1])
        return torch.randn(len(images), 3, height, width, generator=drawn(seed)).to(device, dtype)

    def tokenize(prompt: Prompt, layouts: Sequence[SupportsIndex]) -> list[int]:
        # ids 0 to 2 are marks in Llama's vocabulary, and the last one is the image mark
        text = torch.randint(3, sizes.vocab - 1, (text_tokens,), generator=drawn(seed)).tolist()
        return [*text[:SYSTEM_TOKENS], *[model.image_token_id] * len(layouts), *text[SYSTEM_TOKENS:]]

    model.preprocess, model.tokenize = preprocess, tokenize
    return model


def random_questions(count: int) -> list[Question]:
    """Return questions to such a model, each with a picture; what is in them makes no difference to it."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(stream, "PNG")
    return [Question(f"random-{number}", [stream.getvalue()], Prompt("")) for number in range(count)]
