"""Criteria: functions that give every image token a score; tokens with the highest scores stay.

A new criterion is a new file here with a function decorated by `@criterion(...)`; it is then known by its name in
every config. docs/templates/criterion.py is one to copy. Scores of tokens that are no image tokens are ignored. Modules
import torch inside the function if they need it, so that names can be checked without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.registry import import_all, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows


@dataclass
class View:
    """What a criterion may look at when image tokens are dropped before `layer`; B samples, T rows that are left."""

    layer: int
    rows: Rows  # the tokens that are left, with their hidden states entering `layer`
    attention: LayerAttention | None  # of layer `layer` - 1; None before the first layer
    is_image: Tensor  # [B, T]
    is_instruction: Tensor  # [B, T]
    seeds: list[int]  # one per sample
    grid: tuple[int, int]  # rows and columns of one image's tokens
    image_tokens: list[int]  # per sample, at the start
    loss_gradient: Callable[[], Tensor]  # gradient [B, T, D] of the model's own next-token loss at the hidden states


@dataclass(frozen=True)
class Criterion:
    """A scoring function, and whether it needs the attention of the layer below: computing that costs time."""

    name: str
    score: Callable[[View], Tensor]
    needs_attention: bool
    about: str


_KNOWN: dict[str, Criterion] = {}


def criterion(*, needs_attention: bool) -> Callable[[Callable[[View], Tensor]], Callable[[View], Tensor]]:
    """Register a function of a View that returns scores [B, T], under its name and with its docstring as explanation."""

    def register(function: Callable[[View], Tensor]) -> Callable[[View], Tensor]:
        about = (function.__doc__ or "").strip()
        _KNOWN[function.__name__] = Criterion(function.__name__, function, needs_attention, about)
        return function

    return register


def names() -> list[str]:
    """Return the names of all known criteria."""
    import_all(__name__)
    return sorted(_KNOWN)


def get(name: str) -> Criterion:
    """Return a criterion by name; raise ValueError with the nearest name for an unknown one."""
    if name not in names():
        raise unknown("criterion", name, _KNOWN)
    return _KNOWN[name]
